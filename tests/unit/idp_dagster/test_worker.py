"""What a warm worker's children know before their first task."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from celery import Celery, signals

from idp_dagster import worker
from idp_dagster.launcher import LOG_FIELDS_HEADER
from idp_dagster.settings import EngineSettings
from idp_dagster.tags import REQUEST_ID, TRACEPARENT, log_fields_of
from idp_dagster.worker import connect_signals, name_run

StartWorker = Callable[[Callable[[], None], Callable[[], None]], None]
"""Of what loads, and what is done where the children would be forked."""


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


FORKED = 7
"""The exit status of the stood-in worker, which nothing else has."""


class Definitions:
    """Something that is loaded."""


@pytest.fixture
def start(settings: EngineSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartWorker]:
    """Starts a worker in this process, up to where its children would be forked."""

    class Forks:
        """Celery's application, whose worker does what the test says instead of forking."""

        exitcode = FORKED

        def __init__(self, do: Callable[[], None]) -> None:
            self.start = do

        def Worker(self, **_named: Any) -> Forks:  # noqa: N802 - Celery's name
            return self

    def started(load: Callable[[], None], at_fork: Callable[[], None]) -> None:
        monkeypatch.setattr(worker, "worker_app", lambda _settings: Forks(at_fork))
        with pytest.raises(SystemExit, match=str(FORKED)):
            worker.main(load)

    settings.service_key_file.write_text("{}")
    monkeypatch.setattr(worker, "start_process", lambda *_, **__: None)
    monkeypatch.setattr(worker, "use_quick_transport", lambda: None)
    yield started
    gc.unfreeze()


@pytest.mark.usefixtures("own_signals")
def test_children_are_forked_when_what_they_share_is_out_of_the_collectors_reach(
    start: StartWorker,
) -> None:
    shared: list[Definitions] = []
    looked_through: list[object] = []

    def load() -> None:
        shared.append(Definitions())
        looked_through.extend(each for each in gc.get_objects() if each is shared[0])

    def at_fork() -> None:
        looked_through.extend(each for each in gc.get_objects() if each is shared[0])

    start(load, at_fork)
    assert looked_through == shared, "before it is kept, and not again where children begin"


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
