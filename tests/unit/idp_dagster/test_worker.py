"""What a warm worker's children know before their first task."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from celery import signals

from idp_dagster import worker
from idp_dagster.settings import EngineSettings
from idp_dagster.worker import connect_signals


@pytest.fixture
def own_signals() -> Iterator[None]:
    """What a test connects is gone after it."""
    used = (
        signals.setup_logging,
        signals.worker_process_init,
        signals.worker_process_shutdown,
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
