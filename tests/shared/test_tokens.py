"""A token's form tells a typo from a token."""

import pytest

from shared import tokens


def test_new_tokens_are_wellformed_and_differ() -> None:
    made = {tokens.create() for _ in range(50)}
    assert len(made) == 50
    assert all(tokens.is_wellformed(token) and token.startswith("obs_") for token in made)


def test_every_single_typo_is_found() -> None:
    token = tokens.create()
    for position in range(len(token)):
        typo = token[:position] + ("x" if token[position] != "x" else "y") + token[position + 1 :]
        assert not tokens.is_wellformed(typo)


@pytest.mark.parametrize("text", ["", "obs_", "obs_" + "é" * 49, "x" * 53, "obs_" + "0" * 10_000])
def test_other_text_is_no_token(text: str) -> None:
    assert not tokens.is_wellformed(text)


def test_digest_is_sha256() -> None:
    assert len(tokens.digest(tokens.create())) == 32


def test_hint_is_a_small_part() -> None:
    token = tokens.create()
    assert token.startswith(tokens.hint(token))
    assert len(tokens.hint(token)) == 8


@pytest.mark.parametrize(("text", "seconds"), [("45s", 45), ("30m", 1800), ("12h", 43_200), ("90d", 7_776_000), ("3650d", 315_360_000)])
def test_lifetimes(text: str, seconds: int) -> None:
    assert tokens.lifetime(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "0d", "1.5h", "1 d", "1D", "3651d", "9999999999d", "\u0661d", "1d\n"])
def test_other_text_is_no_lifetime(text: str) -> None:
    with pytest.raises(ValueError, match="no time such as"):
        tokens.lifetime(text)
