"""One binding's login in use, round by round, on a pretend database."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from idp_kernel.errors import Unavailable
from idp_kernel.wire.consumer import ConsumedSecret
from local_stack.consumer.bindings import BindingKey
from local_stack.consumer.usage import LoginResult, LoginUsage, Pace
from tests.unit.local_stack.consumer.pretend import PretendDatabase, login_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class StandingClock:
    def now(self) -> datetime:
        return NOW


@pytest.fixture
def database() -> PretendDatabase:
    return PretendDatabase()


@pytest.fixture
def usage(database: PretendDatabase) -> LoginUsage:
    return LoginUsage(
        BindingKey("payments", "appenv-1", "orders-db"),
        log_in=database.log_in,
        count_login=database.count,
        clock=StandingClock(),
        pace=Pace(100),
    )


def told(usage: LoginUsage) -> ConsumedSecret:
    return usage.consumed(None)


def test_nothing_happens_before_the_first_version(
    usage: LoginUsage, database: PretendDatabase
) -> None:
    usage.log_in_once()
    assert database.results.total() == 0
    assert (told(usage).version, told(usage).logins, told(usage).last_login_at) == (None, 0, None)


def test_logins_are_counted_and_one_session_always_stands(
    usage: LoginUsage, database: PretendDatabase
) -> None:
    database.known = {"a"}
    usage.move_to(1, login_of("a"))
    for _ in range(3):
        usage.log_in_once()
        assert database.open == ["a"]
    assert database.most_open == 2, "the next one stands before the last one is closed"
    assert database.uses == [("a", True), ("a", False), ("a", False)]
    assert told(usage) == ConsumedSecret(
        owner="payments",
        repository="appenv-1",
        name="orders-db",
        version=1,
        logins=3,
        refused=0,
        last_login_at=NOW,
    )


def test_the_next_login_has_the_new_version_and_the_old_session_ends(
    usage: LoginUsage, database: PretendDatabase
) -> None:
    database.known = {"a", "b"}
    usage.move_to(1, login_of("a"))
    usage.log_in_once()
    usage.move_to(2, login_of("b"))
    assert told(usage).version == 1, "the version in use is the one that logged in"
    usage.log_in_once()
    assert (told(usage).version, database.open) == (2, ["b"])


def test_a_refused_login_counts_and_keeps_the_last_session(
    usage: LoginUsage, database: PretendDatabase
) -> None:
    database.known = {"a"}
    usage.move_to(1, login_of("a"))
    usage.log_in_once()
    usage.move_to(2, login_of("b"))
    usage.log_in_once()
    seen = told(usage)
    assert (seen.version, seen.logins, seen.refused) == (1, 1, 1)
    assert seen.problem == "The database refused the login. Version 2 was used."
    assert (database.results[LoginResult.REFUSED], database.open) == (1, ["a"])
    database.known = {"b"}
    usage.log_in_once()
    assert (told(usage).version, told(usage).problem) == (2, None)


def test_a_database_that_is_away_refuses_nobody(
    usage: LoginUsage, database: PretendDatabase
) -> None:
    database.known, database.away = {"a"}, True
    usage.move_to(1, login_of("a"))
    usage.log_in_once()
    assert (told(usage).refused, database.results[LoginResult.FAILED]) == (0, 1)
    assert told(usage).failed == 1
    assert "cannot be reached" in str(told(usage).problem)


def test_after_a_failed_query_the_table_is_made_sure_of(
    usage: LoginUsage, database: PretendDatabase
) -> None:
    database.known = {"a"}
    usage.move_to(1, login_of("a"))
    usage.log_in_once()
    database.query_error = Unavailable("The table is gone.", code="query_failed")
    usage.log_in_once()
    assert (told(usage).logins, told(usage).failed, database.open) == (1, 1, ["a"])
    database.query_error = None
    usage.log_in_once()
    assert database.uses[-1] == ("a", True)


def test_a_bug_in_use_leaves_no_session_behind(
    usage: LoginUsage, database: PretendDatabase
) -> None:
    database.known = {"a"}
    usage.move_to(1, login_of("a"))
    usage.log_in_once()
    database.query_error = RuntimeError("a bug")
    with pytest.raises(RuntimeError):
        usage.log_in_once()
    assert database.open == ["a"], "the one before, alone"


def test_what_keeps_it_from_the_applied_version_is_told_first(
    usage: LoginUsage, database: PretendDatabase
) -> None:
    database.away = True
    usage.move_to(1, login_of("a"))
    usage.log_in_once()
    assert usage.consumed("The store is away.").problem == "The store is away."


def test_its_thread_logs_in_until_it_is_stopped_and_leaves_no_session(
    usage: LoginUsage, database: PretendDatabase
) -> None:
    database.known = {"a"}
    usage.move_to(1, login_of("a"))
    usage.start()
    while told(usage).logins < 3:
        assert database.results[LoginResult.REFUSED] == 0
    usage.stop()
    usage.join()
    assert database.open == []


def test_the_pace_is_shared_by_all_that_are_in_use() -> None:
    pace = Pace(5)
    assert pace.period_seconds == pytest.approx(0.2)
    for _ in range(10):
        pace.join()
    assert pace.period_seconds == pytest.approx(2)
    for _ in range(9):
        pace.leave()
    assert pace.period_seconds == pytest.approx(0.2)
