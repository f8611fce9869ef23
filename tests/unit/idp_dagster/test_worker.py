"""What a warm worker's children know before their first task."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import structlog
from celery import Celery, signals

from idp_dagster import worker
from idp_dagster.launcher import LOG_FIELDS_HEADER
from idp_dagster.settings import EngineSettings
from idp_dagster.tags import REQUEST_ID, TRACEPARENT, log_fields_of
from idp_dagster.worker import connect_signals, name_run


@pytest.fixture
def own_signals() -> Iterator[None]:
    """What a test connects is gone after it."""
    used = (
        signals.setup_logging,
        signals.worker_process_init,
        signals.worker_process_shutdown,
        signals.task_prerun,
        signals.task_postrun,
        signals.task_failure,
    )
    before = [list(signal.receivers or ()) for signal in used]
    yield
    for signal, receivers in zip(used, before, strict=True):
        signal.receivers = receivers
        signal.sender_receivers_cache.clear()


@pytest.mark.usefixtures("own_signals")
def test_children_watch_the_process_that_forked_them_even_if_it_is_gone_by_then(
    settings: EngineSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[int] = []

    def watch(parent_pid: int) -> None:
        watched.append(parent_pid)
        raise AssertionError  # the rest of the warm-up needs a database

    monkeypatch.setattr(worker, "end_with_parent", watch)
    connect_signals(settings)
    monkeypatch.setattr(os, "getppid", lambda: 1)
    signals.worker_process_init.send(sender=None)
    assert watched == [os.getpid()]


def test_log_lines_of_a_run_say_whose_work_it_is_before_it_claims_anything() -> None:
    def execute() -> None: ...

    task = Celery("test", set_as_current=False).task(execute, shared=False)
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    fields = log_fields_of({REQUEST_ID: "r-1", TRACEPARENT: traceparent, "other": "x"})
    task.push_request(**{LOG_FIELDS_HEADER: fields})
    try:
        name_run(task)
        assert structlog.contextvars.get_contextvars() == {
            "idp.workflow_request_id": "r-1",
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
        }
    finally:
        task.pop_request()
    name_run(task)
    assert structlog.contextvars.get_contextvars() == {}, "the next run is another's"
