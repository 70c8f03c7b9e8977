"""Form of a token: `obs_` + 43 characters of secret (256 random bits, base 62) + 6 of checksum (CRC-32), so that a typo is refused without a look-up.

Only the SHA-256 of a token is stored or cached. A slow hash would add nothing: nobody guesses 256 random bits.
"""

import secrets
from hashlib import sha256
from zlib import crc32

_PREFIX = "obs_"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET, _CHECK = 43, 6


def create() -> str:
    """A new token; show it once, store `digest(token)`."""
    secret = _PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET))
    return secret + _checksum(secret)


def is_wellformed(token: str) -> bool:
    """Whether prefix, length and checksum are right."""
    return len(token) == len(_PREFIX) + _SECRET + _CHECK and token.startswith(_PREFIX) and token.isascii() and token[-_CHECK:] == _checksum(token[:-_CHECK])


def digest(token: str) -> bytes:
    """What is stored of a token: 32 bytes."""
    return sha256(token.encode()).digest()


def _checksum(text: str) -> str:
    number, digits = crc32(text.encode()), ""
    for _ in range(_CHECK):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
