from __future__ import annotations

import pytest

from idp_cli.commands.application_environments import parse_secret
from idp_kernel.errors import InvalidInput
from idp_kernel.wire.worker import SecretPurpose, SecretSensitivity


@pytest.mark.parametrize(
    ("typed", "purpose", "sensitivity"),
    [
        ("app-key", SecretPurpose.RUNTIME, SecretSensitivity.MEDIUM),
        ("pull:container_registry", SecretPurpose.CONTAINER_REGISTRY, SecretSensitivity.MEDIUM),
        ("pay:vcs_access:high", SecretPurpose.VCS_ACCESS, SecretSensitivity.HIGH),
        ("app-key::low", SecretPurpose.RUNTIME, SecretSensitivity.LOW),
    ],
)  # fmt: skip
def test_a_secret_is_typed_in_one_word(
    typed: str, purpose: SecretPurpose, sensitivity: SecretSensitivity
) -> None:
    secret = parse_secret(typed)
    assert secret.name == typed.partition(":")[0]
    assert (secret.purpose, secret.sensitivity) == (purpose, sensitivity)


@pytest.mark.parametrize("typed", ["key:password", "key:runtime:top"])
def test_the_choices_are_told_when_there_is_no_such_one(typed: str) -> None:
    with pytest.raises(InvalidInput, match="there are"):
        parse_secret(typed)
