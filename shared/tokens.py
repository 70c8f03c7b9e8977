"""Form of a token: `obs_` + 43 characters of secret (256 random bits, base 62) + 6 of checksum (CRC-32), so that a typo is refused without a look-up.

Only the SHA-256 of a token is stored or cached. A slow hash would add nothing: nobody guesses 256 random bits.
"""

import re
import secrets
from datetime import timedelta
from hashlib import sha256
from zlib import crc32

_PREFIX = "obs_"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET, _CHECK, _HINT = 43, 6, 4
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=3650)


def create() -> str:
    """A new token; show it once, store `digest(token)`."""
    secret = _PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET))
    return secret + _checksum(secret)


def is_wellformed(token: str) -> bool:
    """Whether prefix, length and checksum are right."""
    return len(token) == len(_PREFIX) + _SECRET + _CHECK and token.startswith(_PREFIX) and token.isascii() and token[-_CHECK:] == _checksum(token[:-_CHECK])


def digest(token: str) -> bytes:
    """What is stored of a token: 32 bytes.

    A secret is never compared itself. Looking a digest up in a dict or an index may tell by its time how far it agrees with a stored one, but nobody can
    choose digests: whoever found a token whose SHA-256 begins as wanted would learn nothing about another token, whose bits it doesn't contain.
    """
    return sha256(token.encode(errors="replace")).digest()


def hint(token: str) -> str:
    """The part that lists show: 24 of 256 random bits."""
    return token[: len(_PREFIX) + _HINT]


def lifetime(text: str) -> timedelta:
    """`90d`, `12h`, `30m`, `45s` → how long. Raises ValueError: another form, nothing, or over ten years."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    length = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta()
    if not timedelta() < length <= _LONGEST:
        raise ValueError(f"{text[:20]!r} is no time such as 90d, 12h, 30m or 45s, of at most ten years")
    return length


def _checksum(text: str) -> str:
    number, digits = crc32(text.encode()), ""
    for _ in range(_CHECK):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
