"""What every process of the engine does first, and some do last."""

from __future__ import annotations

import logging
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import structlog
from dagster import InitLoggerContext, logger
from dagster_shared.utils.warnings import BetaWarning
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from idp_dagster.settings import EngineSettings
from idp_kernel.errors import Unavailable
from idp_kernel.services import ServiceName
from idp_kernel.telemetry.export import configure_traces
from idp_kernel.telemetry.logs import configure_logs

CODE_SERVER_START_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 0.1

_log = structlog.get_logger(__name__)

_DAGSTER_LOGGERS = ("dagster", "dagster-webserver")


def start_process(settings: EngineSettings, *, traces: bool = True) -> None:
    """Gives Dagster its environment, and logs and traces their form.

    Without `traces` for a process that forks: its children start their own.
    """
    settings.export()
    configure_logs(ServiceName.WORKFLOW_ENGINE, settings.log_level)
    logging.captureWarnings(capture=True)
    # Dagster warns of a parameter that only Dagster itself passes.
    warnings.filterwarnings("ignore", "Parameter `owners`", BetaWarning)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if traces:
        trace_process(settings)


def trace_process(settings: EngineSettings) -> None:
    """Begins to trace; in a process that was forked, too."""
    configure_traces(
        ServiceName.WORKFLOW_ENGINE,
        settings.otlp_endpoint,
        ratio=settings.trace_ratio,
        env=settings.env,
    )


def send_spans() -> None:
    """Sends what this process has not sent yet, before it ends."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        provider.shutdown()


@contextmanager
def prompt_end() -> Iterator[None]:
    """Ends this process with the block: with status 0, or with 1 and the error in the log. Python
    itself would wait for every thread, and threads that ask for work may wait long. What one of
    them was at is found as after a kill.
    """
    try:
        yield
    except Exception:  # noqa: BLE001 - whatever it is, whoever supervises starts another process
        _log.exception("process_failed")
        _end(1)
    _end(0)


def _end(status: int) -> NoReturn:
    send_spans()
    logging.shutdown()
    os._exit(status)


def take_over_dagster_logs() -> None:
    """Sends Dagster's records through the platform's formatter, after Dagster set up its own."""
    for name in _DAGSTER_LOGGERS:
        logging.getLogger(name).handlers[:] = []
    logging.captureWarnings(capture=True)


def wait_for_code_server(
    settings: EngineSettings, seconds: float = CODE_SERVER_START_SECONDS
) -> None:
    """Until the code server listens. Dagster, started before it, would look again only later.

    Raises `Unavailable` after `seconds`.
    """
    address = (settings.code_server_host, settings.code_server_port)
    give_up_at = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(address, timeout=1).close()
        except OSError as error:
            if time.monotonic() > give_up_at:
                raise Unavailable(
                    f"No code server listens at {address[0]}:{address[1]} after {seconds:g} s. "
                    "Look at its log.",
                    code="code_server_away",
                ) from error
            time.sleep(_LOOK_EVERY_SECONDS)
        else:
            return


@logger
def process_log(_: InitLoggerContext) -> logging.Logger:
    """A run's events, to the log of the process that executes it, formatted as all else is."""
    run_log = logging.getLogger("idp_dagster.run")
    run_log.setLevel(logging.INFO)
    return run_log
