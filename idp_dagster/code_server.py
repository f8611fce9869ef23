"""`python -m idp_dagster.code_server`: serves the definitions to daemon and web server over gRPC.

One process, which evaluates the sensors itself; nothing is left behind when it is killed.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import suppress

from dagster._core.origin import get_python_environment_entry_point
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.utils import FuturesAwareThreadPoolExecutor
from dagster._grpc.server import DagsterApiServer, DagsterGrpcServer
from dagster._utils.interrupts import setup_interrupt_handlers

from idp_dagster.process import prompt_end, start_process
from idp_dagster.settings import ROOT, EngineSettings
from idp_kernel.settings import read_settings

DEFINITIONS_MODULE = "idp_dagster.definitions"
LOCATION_NAME = "idp"
THREADS = 16
"""More than there are sensors, most of which wait."""
SHUTDOWN_GRACE_SECONDS = 2
"""How long calls may go on after SIGTERM: until a daemon that is stopped as well has gone."""


def main(module: str = DEFINITIONS_MODULE, location_name: str = LOCATION_NAME) -> None:
    """Serves until SIGTERM or SIGINT; ends with an error when the definitions do not load."""
    settings = read_settings(EngineSettings)
    start_process(settings)
    # Dagster's own is that of its longest call, a minute.
    os.environ.setdefault("DAGSTER_GRPC_SHUTDOWN_GRACE_PERIOD", str(SHUTDOWN_GRACE_SECONDS))
    setup_interrupt_handlers()
    server = grpc_server(settings, module, location_name)
    with prompt_end(), suppress(KeyboardInterrupt):
        server.serve()  # type: ignore[no-untyped-call]


def grpc_server(settings: EngineSettings, module: str, location_name: str) -> DagsterGrpcServer:
    """The server, its definitions loaded."""
    log = logging.getLogger("dagster.code_server")
    termination = threading.Event()
    threads = FuturesAwareThreadPoolExecutor(max_workers=THREADS)
    servicer = DagsterApiServer(
        server_termination_event=termination,
        logger=log,
        server_threadpool_executor=threads,
        loadable_target_origin=LoadableTargetOrigin(
            executable_path=sys.executable,
            module_name=module,
            working_directory=str(ROOT),
        ),
        entry_point=get_python_environment_entry_point(sys.executable),
        location_name=location_name,
    )
    return DagsterGrpcServer(
        server_termination_event=termination,
        dagster_api_servicer=servicer,
        logger=log,
        threadpool_executor=threads,
        host=settings.code_server_host,
        port=settings.code_server_port,
    )


if __name__ == "__main__":
    main()
