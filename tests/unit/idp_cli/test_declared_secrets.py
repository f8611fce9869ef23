from __future__ import annotations

import pytest

from idp_cli.declared_secrets import parse_secret, parse_secrets
from idp_kernel.errors import InvalidInput
from idp_kernel.wire.api import DeclareSecret
from idp_kernel.wire.worker import CredentialIssuerName, SecretPurpose, SecretSensitivity


@pytest.mark.parametrize(
    ("typed", "purpose", "sensitivity", "issuer"),
    [
        ("app-key", "runtime", "medium", "openbao"),
        ("db:postgres", "runtime", "medium", "postgres"),
        ("db:postgres:runtime:high", "runtime", "high", "postgres"),
        ("db:high:postgres", "runtime", "high", "postgres"),
        ("pull:container_registry", "container_registry", "medium", "openbao"),
        ("pay:vcs_access:high", "vcs_access", "high", "openbao"),
        ("app-key::low", "runtime", "low", "openbao"),
    ],
)
def test_a_secret_is_typed_in_one_word(
    typed: str, purpose: str, sensitivity: str, issuer: str
) -> None:
    assert parse_secret(typed) == DeclareSecret(
        name=typed.partition(":")[0],
        purpose=SecretPurpose(purpose),
        sensitivity=SecretSensitivity(sensitivity),
        issuer=CredentialIssuerName(issuer),
    )


def test_no_word_can_mean_two_things() -> None:
    words = [*SecretPurpose, *SecretSensitivity, *CredentialIssuerName]
    assert len(words) == len(set(words))


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("key:password", "there are issuer: openbao, postgres, harbor; purpose: "),
        ("db:postgre", "Did you mean postgres?"),
        ("key:low:high", "two of a kind (sensitivity): low, high"),
        ("Key", "'Key' cannot name a secret"),
        ("", "'' cannot name a secret"),
        ("a_b:low", "'a_b' cannot name a secret"),
    ],
)
def test_what_is_no_secret_is_told_with_what_there_is(typed: str, told: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_secret(typed)
    assert told in refused.value.message


def test_two_secrets_have_two_names() -> None:
    assert [secret.name for secret in parse_secrets(["db:postgres", "key"])] == ["db", "key"]
    with pytest.raises(InvalidInput, match="db is declared twice"):
        parse_secrets(["db:postgres", "key", "db"])
