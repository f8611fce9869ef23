"""Secrets as they are declared on the command line: `db:postgres:high`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum

from idp_kernel.errors import InvalidInput
from idp_kernel.ids import SLUG_PATTERN
from idp_kernel.wire.api import DeclareSecret
from idp_kernel.wire.worker import CredentialIssuerName, SecretPurpose, SecretSensitivity

SECRET_FORM = "NAME[:ISSUER][:PURPOSE][:SENSITIVITY]"
SECRET_METAVAR = "NAME[:WORD]…"
SECRET_HELP = (
    "A secret it shall have, such as db:postgres or pay:external_integration:high; can be given "
    "several times. "
    f"Issuers: {', '.join(CredentialIssuerName)} (a generated value, a database login, a registry "
    "login). "
    f"Purposes: {', '.join(SecretPurpose)}. Sensitivities: {', '.join(SecretSensitivity)}."
)

_KINDS: dict[str, type[StrEnum]] = {
    "issuer": CredentialIssuerName,
    "purpose": SecretPurpose,
    "sensitivity": SecretSensitivity,
}
"""No word belongs to two of them, so each is known by itself and the order is free."""


def parse_secrets(texts: Iterable[str]) -> tuple[DeclareSecret, ...]:
    """Each of another name."""
    secrets = tuple(parse_secret(text) for text in texts)
    names = Counter(secret.name for secret in secrets)
    twice = sorted(name for name, count in names.items() if count > 1)
    if twice:
        raise InvalidInput(f"The secret {', '.join(twice)} is declared twice.")
    return secrets


def parse_secret(text: str) -> DeclareSecret:
    """`NAME[:ISSUER][:PURPOSE][:SENSITIVITY]`; raises `InvalidInput` with what there is.

    What is left out, or empty between two colons, is as the wire model has it.
    """
    name, *words = text.split(":")
    if not re.fullmatch(SLUG_PATTERN, name):
        raise InvalidInput(
            f"{name!r} cannot name a secret: lower case, digits and single hyphens, a letter "
            "first, such as app-key."
        )
    chosen: dict[str, str] = {}
    for word in filter(None, words):
        kind = _kind_of(word, text)
        if kind in chosen:
            raise InvalidInput(f"{text!r} gives two of a kind ({kind}): {chosen[kind]}, {word}.")
        chosen[kind] = word
    return DeclareSecret.model_validate({"name": name, **chosen})


def _kind_of(word: str, text: str) -> str:
    for kind, words in _KINDS.items():
        if word in list(words):
            return kind
    known = [each for words in _KINDS.values() for each in words]
    close = get_close_matches(word, known, n=1)
    meant = f" Did you mean {close[0]}?" if close else ""
    choices = "; ".join(f"{kind}: {', '.join(words)}" for kind, words in _KINDS.items())
    raise InvalidInput(
        f"{word!r} in {text!r} says nothing about a secret.{meant} A secret is {SECRET_FORM}; "
        f"there are {choices}."
    )
