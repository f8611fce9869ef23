"""What a provider lets the platform do, as execution-workers find out: they have its credential.

The command line imports no service: it runs their command, with the settings that it gives them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

from pydantic import ValidationError

from idp_cli.invocation import Invocation
from idp_cli.supervision.embedded import Embedded
from idp_cli.supervision.preflight import Finding
from idp_cli.supervision.programs import inherited_environment, python_module
from idp_kernel.errors import InvalidInput
from idp_kernel.services import ServiceName
from idp_kernel.wire.worker import ProviderPermission, ProviderPermissions

MODULE = "execution_workers.doctor"
TOLD_WITHIN_SECONDS = 60
_SLOW = "See whether the provider answers; CALL_TIMEOUT_SECONDS bounds one call to it."


def provider_findings(invocation: Invocation, provider: str) -> Iterator[Finding]:
    """One for each permission that the platform needs there.

    Raises `InvalidInput` for a platform that is not of this home, and for what the workers' command
    refuses, such as an unknown name or missing settings.
    """
    if not invocation.is_of_this_home:
        raise InvalidInput(
            "The credentials of providers are where execution-workers run, and nowhere else. Type "
            f"there: python -m {MODULE} --provider {provider}",
            code="not_of_this_home",
        )
    try:
        found = _asked(invocation, provider)
    except subprocess.TimeoutExpired:
        yield Finding(
            provider, False, f"{MODULE} told nothing within {TOLD_WITHIN_SECONDS} seconds", _SLOW
        )
        return
    if found.complaint is not None:
        yield Finding(provider, False, found.complaint)
    for each in found.permissions:
        yield _finding(provider, each)


def _asked(invocation: Invocation, provider: str) -> ProviderPermissions:
    (workers,) = [
        program
        for program in Embedded(invocation.home, invocation.ports).programs()
        if program.name == ServiceName.EXECUTION_WORKERS
    ]
    ran = subprocess.run(
        [*python_module(MODULE), "--json", "--provider", provider],
        env={**inherited_environment(os.environ), **workers.environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TOLD_WITHIN_SECONDS,
        check=False,
    )
    try:
        return ProviderPermissions.model_validate_json(ran.stdout)
    except ValidationError as error:
        said = (ran.stderr.strip().splitlines() or [f"status {ran.returncode}"])[-1]
        raise InvalidInput(said, code="provider_not_examined") from error


def _finding(provider: str, permission: ProviderPermission) -> Finding:
    words = {True: "granted", False: "missing", None: "whether it is granted is not told"}
    return Finding(
        provider,
        permission.granted is not False,
        f"{permission.name}: {words[permission.granted]}",
        permission.how_to_grant,
    )
