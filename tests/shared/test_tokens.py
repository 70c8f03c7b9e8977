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
