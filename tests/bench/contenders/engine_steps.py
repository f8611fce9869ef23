"""The six steps on this platform's engine: `python -m … <code_server|daemon|worker|bootstrap>`.

The engine's own programs, which load these definitions in place of the platform's workflows.
"""

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module

from dagster import in_process_executor

from idp_dagster import bootstrap, code_server, daemon, worker
from idp_dagster.process import process_log
from idp_dagster.resources.io_manager import NoDataIOManager
from tests.bench.contenders.dagster_steps import LOCATION, definitions

MODULE = "tests.bench.contenders.engine_steps"
defs = definitions(
    in_process_executor,
    loggers={"console": process_log},
    resources={"io_manager": NoDataIOManager()},  # type: ignore[dict-item]  # its annotation is of one kind
)


def load() -> None:
    """As a child's run will find them."""
    import_module(MODULE).defs.resolve_all_job_defs()


PROGRAMS: dict[str, Callable[[], None]] = {
    "bootstrap": bootstrap.main,
    "code_server": partial(code_server.main, MODULE, LOCATION),
    "daemon": daemon.main,
    "worker": partial(worker.main, load),
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]]()
