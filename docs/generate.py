"""Writes the pages of `docs/` that are made from the code: `make docs`.

With `--check` it writes nothing and ends with status 1 when a page differs from what it would be.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from control_plane import settings as control_plane
from control_plane.domain_reference import domain_page
from control_plane.reference import reference_page
from execution_workers import settings as workers
from idp_cli.reference import reference_text
from idp_cli.settings_reference import cli_settings_page
from idp_dagster import settings as engine
from idp_kernel.settings_reference import SettingsSection, settings_page
from idp_kernel.telemetry.metrics_reference import metrics_page
from local_stack import store_settings as stores
from local_stack.agent.settings import AgentSettings
from local_stack.consumer.settings import ConsumerSettings
from local_stack.forge.settings import ForgeSettings
from observability.reference import alerts_page

DOCS = Path(__file__).parent
READ_BY = (
    "Read once, from the environment, when the program starts. Anything wrong or missing, also"
    " what a choice needs, ends it with status 2, after one line that names the variable."
)


def control_plane_page() -> str:
    """Server and bootstrap of the control plane."""
    return settings_page(
        "Settings of the control plane",
        READ_BY,
        [
            SettingsSection("Server and bootstrap", control_plane.DatabaseSettings),
            SettingsSection(
                "`python -m control_plane.main`",
                control_plane.ControlPlaneSettings,
                without=(control_plane.DatabaseSettings,),
                text="The process `control-plane-api`.",
            ),
            SettingsSection(
                "`python -m control_plane.bootstrap`",
                control_plane.BootstrapSettings,
                without=(control_plane.DatabaseSettings,),
                text="Migrates the database and makes the first platform-admin; run it before the"
                " server, as often as you like.",
            ),
        ],
    )


def engine_page() -> str:
    """All processes of the workflow engine."""
    return settings_page(
        "Settings of the workflow engine",
        READ_BY,
        [
            SettingsSection("All of them", engine.DagsterSettings),
            SettingsSection(
                "Daemon, code server, worker, web server, bootstrap",
                engine.EngineSettings,
                without=(engine.DagsterSettings,),
                text="`python -m idp_dagster.daemon`, `python -m idp_dagster.code_server`,"
                " `python -m idp_dagster.worker`, `python -m idp_dagster.webserver` and"
                " `python -m idp_dagster.bootstrap`. Give all five the same.",
            ),
            SettingsSection(
                "`python -m idp_dagster.exporter`",
                engine.ExporterSettings,
                without=(engine.DagsterSettings,),
                text="Run it once: two would show each number twice.",
            ),
        ],
    )


def workers_page() -> str:
    """execution-workers and their ledger."""
    return settings_page(
        "Settings of execution-workers",
        READ_BY,
        [
            SettingsSection("Server and bootstrap", workers.LedgerSettings),
            SettingsSection(
                "`python -m execution_workers.main`",
                workers.ExecutionWorkersSettings,
                without=(workers.LedgerSettings,),
                text="`python -m execution_workers.bootstrap` migrates the ledger and needs none"
                " of these.",
            ),
        ],
    )


def local_stack_page() -> str:
    """What the embedded default starts beside the services."""
    return settings_page(
        "Settings of the local stack",
        f"What stands where other parties stand elsewhere. {READ_BY}",
        [
            SettingsSection("Forge: `python -m local_stack.forge`", ForgeSettings),
            SettingsSection("GitOps agent: `python -m local_stack.agent`", AgentSettings),
            SettingsSection("Consumer: `python -m local_stack.consumer`", ConsumerSettings),
            SettingsSection(
                "PostgreSQL: `python -m local_stack.postgres`",
                stores.PostgresSettings,
                text="Its set-up, `python -m local_stack.postgres_setup`, needs no data folder.",
            ),
            SettingsSection("OpenBao: `python -m local_stack.openbao`", stores.OpenBaoSettings),
            SettingsSection(
                "OpenBao's set-up: `python -m local_stack.openbao_setup`",
                stores.OpenBaoSetupSettings,
                without=(stores.OpenBaoAddressSettings,),
                text="Takes the server's port and keys as well.",
            ),
        ],
    )


PAGES: dict[str, Callable[[], str]] = {
    "alerts.md": alerts_page,
    "api.md": reference_page,
    "cli.md": reference_text,
    "domain.md": domain_page,
    "metrics.md": metrics_page,
    "settings/cli.md": cli_settings_page,
    "settings/control-plane.md": control_plane_page,
    "settings/execution-workers.md": workers_page,
    "settings/local-stack.md": local_stack_page,
    "settings/workflow-engine.md": engine_page,
}
"""Every page that is made, below `docs/`, and what makes it."""


def main() -> None:
    """Write every page, or compare them."""
    stale = [name for name, make in PAGES.items() if _differs(name, make())]
    if "--check" in sys.argv[1:]:
        for name in stale:
            sys.stdout.write(f"docs/{name} is not what the code says; write it with: make docs\n")
        sys.exit(1 if stale else 0)
    for name in stale:
        page = DOCS / name
        page.parent.mkdir(exist_ok=True)
        page.write_text(PAGES[name](), encoding="utf-8")
        sys.stdout.write(f"docs/{name}\n")


def _differs(name: str, content: str) -> bool:
    page = DOCS / name
    return not page.exists() or page.read_text(encoding="utf-8") != content


if __name__ == "__main__":
    main()
