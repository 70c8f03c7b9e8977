"""Passwords of the laptop's users: bcrypt, as the query function checks them."""

import secrets

import bcrypt

COST = 12
LONGEST, SHORTEST = 72, 10
"""Bytes. bcrypt reads no further; the query function refuses what is longer."""


def create() -> str:
    """One that nobody guesses: 96 random bits."""
    return secrets.token_urlsafe(12)


def hashed(password: str) -> str:
    """What is stored. Raises ValueError, with what to do, for one that could never be entered, or be guessed."""
    given = password.encode(errors="replace")
    if not SHORTEST <= len(given) <= LONGEST or b"\0" in given:
        raise ValueError(f"A password has {SHORTEST} to {LONGEST} bytes.")
    return bcrypt.hashpw(given, bcrypt.gensalt(COST)).decode()


def matches(password: str, stored: str) -> bool:
    """Whether the hash is this password's."""
    return bcrypt.checkpw(password.encode(), stored.encode())
