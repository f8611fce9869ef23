"""Bearer tokens of people: 32 random bytes, shown once, kept as their SHA-256."""

from __future__ import annotations

import hashlib
import secrets
import string

TOKEN_PREFIX = "idp_pat_"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_BYTES = 32


def new_bearer_token() -> str:
    """A token nobody can guess; no salt is needed to keep its hash."""
    number = int.from_bytes(secrets.token_bytes(_RANDOM_BYTES))
    digits = []
    while number:
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return TOKEN_PREFIX + "".join(reversed(digits))


def hash_bearer_token(token: str) -> bytes:
    """What the platform keeps of a token."""
    return hashlib.sha256(token.encode()).digest()
