"""The thread that deletes what is too old."""

from __future__ import annotations

import threading

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from idp_kernel.errors import Unavailable
from idp_kernel.housekeeping import Chore, Housekeeper
from idp_kernel.telemetry.metrics import HOUSEKEEPING, HOUSEKEEPING_AGE


class Rows:
    """A table with some rows that are too old."""

    def __init__(self, *batches: int | Exception) -> None:
        self.batches = list(batches)

    def delete_batch(self) -> int:
        batch = self.batches.pop(0) if self.batches else 0
        if isinstance(batch, Exception):
            raise batch
        return batch


def housekeeper(registry: CollectorRegistry, **tables: Rows) -> Housekeeper:
    chores = [Chore(name, rows.delete_batch) for name, rows in tables.items()]
    return Housekeeper(chores, registry, every_seconds=0.01)


def counted(registry: CollectorRegistry, table: str) -> float | None:
    return registry.get_sample_value(HOUSEKEEPING.name, {"table": table})


def test_a_round_goes_on_until_nothing_is_left_and_tells_how_much_went() -> None:
    registry = CollectorRegistry()
    keeper = housekeeper(registry, keys=Rows(1000, 1000, 3), events=Rows())
    with capture_logs() as logs:
        assert keeper.keep_house() == {"keys": 2003, "events": 0}
    assert logs == [
        {"event": "old_rows_deleted", "log_level": "info", "table": "keys", "rows": 2003}
    ]
    assert (counted(registry, "keys"), counted(registry, "events")) == (2003, 0)


def test_what_is_wrong_with_one_table_keeps_no_other_from_its_turn() -> None:
    registry = CollectorRegistry()
    away, bug = Unavailable("away", code="database_unavailable"), ValueError("a bug")
    keeper = housekeeper(registry, keys=Rows(5, away), events=Rows(bug), ticks=Rows(2))
    with capture_logs() as logs:
        assert keeper.keep_house() == {"keys": 5, "events": 0, "ticks": 2}
    told = [(each["event"], each["log_level"], each["table"]) for each in logs]
    assert ("old_rows_not_deleted", "warning", "keys") in told
    assert ("old_rows_not_deleted", "error", "events") in told
    assert counted(registry, "keys") == 5


def test_a_table_ages_until_nothing_is_left_of_it() -> None:
    registry, now = CollectorRegistry(), [0.0]
    keeper = Housekeeper(
        [Chore("keys", Rows(5).delete_batch), Chore("events", Rows(ValueError()).delete_batch)],
        registry,
        every_seconds=0.01,
        monotonic=lambda: now[0],
    )

    def ages() -> list[float | None]:
        return [
            registry.get_sample_value(HOUSEKEEPING_AGE.name, {"table": each})
            for each in ("keys", "events")
        ]

    now[0] = 7.0
    assert ages() == [7, 7]
    keeper.keep_house()
    assert ages() == [0, 7]
    keeper.keep_house()
    assert ages() == [0, 0]


def test_it_ends_between_two_batches_however_many_are_left() -> None:
    at_work, stopping = threading.Event(), threading.Event()

    def delete_batch() -> int:
        at_work.set()
        stopping.wait(10)
        return 1

    keeper = Housekeeper([Chore("keys", delete_batch)], CollectorRegistry(), every_seconds=0.01)
    keeper.start()
    assert at_work.wait(10)
    threading.Timer(0.05, stopping.set).start()
    keeper.stop()
    assert "housekeeper" not in {each.name for each in threading.enumerate()}
