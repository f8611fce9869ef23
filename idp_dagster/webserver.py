"""`python -m idp_dagster.webserver`: Dagster's UI.

It has no authentication. On loopback it may do everything; bound to any other address it only
shows.
"""

from __future__ import annotations

from ipaddress import ip_address

from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._utils.interrupts import setup_interrupt_handlers
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__

from idp_dagster.process import start_process, wait_for_code_server
from idp_dagster.settings import EngineSettings
from idp_kernel.http.serving import serve
from idp_kernel.settings import read_settings


def main() -> None:
    """Serves until SIGTERM or SIGINT."""
    settings = read_settings(EngineSettings)
    start_process(settings)
    wait_for_code_server(settings)
    setup_interrupt_handlers()
    with (
        DagsterInstance.get() as instance,
        WorkspaceProcessContext(
            instance,
            version=__version__,
            read_only=must_be_read_only(settings.webserver_host),
            workspace_load_target=WorkspaceFileTarget(paths=[str(settings.workspace_file)]),
        ) as workspace,
    ):
        serve(
            create_app_from_workspace_process_context(workspace),
            host=settings.webserver_host,
            port=settings.webserver_port,
        )


def must_be_read_only(host: str) -> bool:
    """Whether others than this machine's own people can reach `host`."""
    if host == "localhost":
        return False
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return True


if __name__ == "__main__":
    main()
