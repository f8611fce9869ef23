"""Whether the platform's credential at a provider is allowed what it needs; only reads.

`python -m execution_workers.doctor --provider NAME`, where execution-workers run and with their
settings. One line for each permission, and what to do for those that are missing. Ends with status
0 when none is known to be missing, with 1 otherwise, with 2 for wrong settings or arguments.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from contextlib import ExitStack

from prometheus_client import CollectorRegistry

from execution_workers.ports import Permission
from execution_workers.providers.limits import LimitMetrics
from execution_workers.providers.registry import Surroundings, parties_named, provider_names
from execution_workers.settings import ExecutionWorkersSettings
from idp_kernel.clock import SystemClock
from idp_kernel.errors import PlatformError
from idp_kernel.services import ServiceName
from idp_kernel.settings import read_settings
from idp_kernel.telemetry.logs import configure_logs
from idp_kernel.telemetry.metrics import downstream_errors
from idp_kernel.wire.worker import ProviderPermission, ProviderPermissions

_WORDS = {True: "granted", False: "MISSING", None: "not told"}


def main() -> int:
    """Asks the provider that the arguments name; the exit status."""
    parser = ArgumentParser(prog="python -m execution_workers.doctor", description=__doc__)
    parser.add_argument("--provider", required=True, choices=provider_names())
    parser.add_argument("--json", action="store_true", help="say it as JSON")
    arguments = parser.parse_args()
    configure_logs(ServiceName.EXECUTION_WORKERS, "ERROR")
    found = examined(arguments.provider, read_settings(ExecutionWorkersSettings))
    sys.stdout.write(f"{found.model_dump_json() if arguments.json else as_text(found)}\n")
    missing = [each for each in found.permissions if each.granted is False]
    return 1 if missing or found.complaint is not None else 0


def examined(provider: str, settings: ExecutionWorkersSettings) -> ProviderPermissions:
    """What the provider says of the credential that the settings name."""
    registry = CollectorRegistry()
    needed: list[Permission] = []
    complaint: str | None = None
    with ExitStack() as resources:
        surroundings = Surroundings(
            settings,
            SystemClock(),
            downstream_errors(registry),
            LimitMetrics(registry),
            resources,
        )
        try:
            for party in parties_named(provider, surroundings):
                needed += party.permissions()
        except PlatformError as error:
            complaint = error.message
    return ProviderPermissions(
        provider=provider, permissions=tuple(map(_told, needed)), complaint=complaint
    )


def as_text(found: ProviderPermissions) -> str:
    """A line for each permission, and one more for each that is not known to be granted."""
    lines = [f"{found.provider}: {found.complaint}"] if found.complaint else []
    for each in found.permissions:
        lines.append(f"{_WORDS[each.granted]:<8}  {each.name}")
        if not each.granted:
            lines.append(f"{'':<8}  {each.how_to_grant}")
    return "\n".join(lines) or f"{found.provider} needs no permission."


def _told(permission: Permission) -> ProviderPermission:
    return ProviderPermission(
        name=permission.name,
        granted=permission.granted,
        how_to_grant=permission.how_to_grant,
    )


if __name__ == "__main__":
    sys.exit(main())
