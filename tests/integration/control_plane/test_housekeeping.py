"""What the control plane deletes, what it keeps, and that nobody misses what went."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from control_plane.adapters.database import transaction
from control_plane.adapters.housekeeping import KEEP_ANSWERS_FOR, KEEP_ROTATION_RECORDS_FOR
from idp_kernel.housekeeping import BATCH_ROWS
from idp_kernel.ids import new_id
from idp_kernel.retention import REPEATABLE_FOR
from tests.fixtures.stack import PostgresServer
from tests.integration.control_plane.conftest import (
    Keys,
    Platform,
    new_database,
    running_platform,
)
from tests.integration.control_plane.engine_run import STEPS, ask_claim, claimed, launch, offers
from tests.integration.control_plane.rotations import secret_in_use
from tests.integration.control_plane.rows import counts

DAY_SECONDS = 24 * 3600
KEPT_EVENTS_SECONDS = 90 * DAY_SECONDS
MANY = BATCH_ROWS + 500


@pytest.fixture
def platform(postgres_server: PostgresServer, keys: Keys) -> Iterator[Platform]:
    """One whose days go by in moments, and whose rows nobody else counts."""
    with running_platform(new_database(postgres_server), keys) as running:
        with transaction(running.engine) as connection:
            connection.execute(text("UPDATE tokens SET expires_at = now() + interval '9 years'"))
            connection.execute(text("DELETE FROM outbox_events"))
        yield running


def write(platform: Platform, statement: str, count: int = MANY) -> None:
    """So many rows, all of the present moment."""
    with transaction(platform.engine) as connection:
        connection.execute(text(statement), {"count": count, "now": platform.clock.now()})


KEYS = """
    INSERT INTO idempotency_keys (principal, method, path, key, body_hash, status, created_at)
    SELECT 'p', 'POST', '/x', n::text, 'x', 202, :now FROM generate_series(1, :count) n"""
ASSERTIONS = """
    INSERT INTO used_assertions (jti, expires_at)
    SELECT 'jti-' || n, :now + interval '60 seconds' FROM generate_series(1, :count) n"""
EVENTS = """
    INSERT INTO outbox_events (id, type, occurred_at, subject, actor, data)
    SELECT gen_random_uuid(), 'team_changed', :now, 'x', 'p', '{}'
    FROM generate_series(1, :count) n"""
AUDIT = """
    INSERT INTO audit_log (occurred_at, actor, action, subject, reason)
    SELECT :now, 'p', 'team_changed', 'x', '' FROM generate_series(1, :count) n"""
TICKS = """
    INSERT INTO rotation_ticks (scheduled_at, enqueued, put_off, acted_at)
    SELECT :now + n * interval '1 second', '[]', 0, :now FROM generate_series(1, :count) n"""


@pytest.mark.parametrize(
    ("table", "statement", "kept_seconds"),
    [
        ("idempotency_keys", KEYS, KEEP_ANSWERS_FOR.total_seconds()),
        ("used_assertions", ASSERTIONS, 60),
        ("rotation_ticks", TICKS, KEEP_ROTATION_RECORDS_FOR.total_seconds()),
    ],
)
def test_rows_go_once_they_are_too_old_and_not_before(
    platform: Platform, table: str, statement: str, kept_seconds: float
) -> None:
    write(platform, statement)
    platform.clock.advance(kept_seconds - 30)
    assert platform.housekeeper.keep_house().get(table) == 0
    assert counts(platform)[table] == MANY
    platform.clock.advance(60)
    assert platform.housekeeper.keep_house()[table] == MANY
    assert counts(platform)[table] == 0
    assert platform.housekeeper.keep_house()[table] == 0


def test_events_go_but_for_the_last_that_is_too_old(platform: Platform) -> None:
    write(platform, EVENTS)
    newest = platform.services.queries.newest_sequence()
    platform.clock.advance(KEPT_EVENTS_SECONDS - 30)
    assert platform.housekeeper.keep_house()["outbox_events"] == 0
    platform.clock.advance(60)
    assert platform.housekeeper.keep_house()["outbox_events"] == MANY - 1
    assert platform.services.queries.newest_sequence() == newest
    write(platform, EVENTS, count=2)
    platform.clock.advance(KEPT_EVENTS_SECONDS + 60)
    assert platform.housekeeper.keep_house()["outbox_events"] == 2
    assert platform.services.queries.newest_sequence() == newest + 2
    assert counts(platform)["outbox_events"] == 1


def test_nothing_is_locked_while_nothing_is_old(platform: Platform) -> None:
    """Whoever locks a row writes it."""
    write(platform, EVENTS)
    locked = "SELECT count(*) FROM outbox_events WHERE xmax <> 0"
    platform.housekeeper.keep_house()
    with transaction(platform.engine) as connection:
        assert connection.execute(text(locked)).scalar_one() == 0


def test_who_comes_back_after_events_went_is_told_and_where_to_go_on(platform: Platform) -> None:
    write(platform, EVENTS, count=4)
    seen = [each["sequence"] for each in platform.admin.seen("/v1/events", limit=200)["items"]]
    first_page = platform.admin.seen("/v1/events", limit=1)
    platform.clock.advance(KEPT_EVENTS_SECONDS + 60)
    platform.housekeeper.keep_house()
    for query in ({"after": seen[0]}, {"cursor": first_page["nextCursor"]}):
        gone = platform.admin.get("/v1/events", **query)
        assert (gone.status_code, gone.json()["code"]) == (410, "events_gone")
        assert gone.json()["continueAfter"] == seen[-1] - 1
    for start in (0, seen[-1] - 1):
        items = platform.admin.seen("/v1/events", after=start)["items"]
        assert [each["sequence"] for each in items] == [seen[-1]]
    assert platform.admin.seen("/v1/events", after=seen[-1])["items"] == []


def test_the_audit_log_is_kept_unless_it_is_told_how_long(
    platform: Platform, postgres_server: PostgresServer, keys: Keys
) -> None:
    write(platform, AUDIT)
    platform.clock.advance(3000 * DAY_SECONDS)
    platform.housekeeper.keep_house()
    assert counts(platform)["audit_log"] >= MANY
    with running_platform(new_database(postgres_server), keys, keep_audit_days=400) as other:
        write(other, AUDIT)
        other.clock.advance(400 * DAY_SECONDS - 60)
        assert other.housekeeper.keep_house()["audit_log"] == 0
        other.clock.advance(120)
        assert other.housekeeper.keep_house()["audit_log"] >= MANY
        assert counts(other)["audit_log"] == 0


def test_causes_of_rotations_go_only_once_they_are_settled(platform: Platform) -> None:
    secret = secret_in_use(platform)
    platform.admin.ok(f"/v1/secrets/{secret.id}/compromised", {"reason": "seen in a log"})
    platform.clock.advance(KEEP_ROTATION_RECORDS_FOR.total_seconds() + 60)
    assert platform.housekeeper.keep_house()["rotation_causes"] == 0
    assert counts(platform)["rotation_causes"] == 1
    with transaction(platform.engine) as connection:
        settled = text("UPDATE rotation_causes SET settled_at = raised_at")
        connection.execute(settled)
    assert platform.housekeeper.keep_house()["rotation_causes"] == 1


def test_a_row_that_somebody_is_at_work_on_stays_for_a_later_round(platform: Platform) -> None:
    write(platform, KEYS, count=2)
    platform.clock.advance(KEEP_ANSWERS_FOR.total_seconds() + 60)
    with transaction(platform.engine) as connection:
        connection.execute(text("SELECT 1 FROM idempotency_keys WHERE key = '1' FOR UPDATE"))
        assert platform.housekeeper.keep_house()["idempotency_keys"] == 1
    assert platform.housekeeper.keep_house()["idempotency_keys"] == 1


def test_two_replicas_take_each_row_once(platform: Platform) -> None:
    write(platform, EVENTS, count=5 * BATCH_ROWS)
    platform.clock.advance(KEPT_EVENTS_SECONDS + 60)
    with ThreadPoolExecutor(2) as replicas:
        rounds = [replicas.submit(platform.housekeeper.keep_house) for _ in range(2)]
    gone = sum(each.result()["outbox_events"] for each in rounds)
    assert gone + counts(platform)["outbox_events"] == 5 * BATCH_ROWS
    assert gone + platform.housekeeper.keep_house()["outbox_events"] == 5 * BATCH_ROWS - 1


def test_an_ended_request_outlives_all_that_was_told_of_it_and_can_still_come_back(
    platform: Platform,
) -> None:
    run = claimed(platform, platform.provision(platform.new_subject()))
    run.do_all(STEPS[:2])
    assert run.fail(STEPS[2], retryable=False) == "failed"
    before = platform.request(run.request_id)
    platform.clock.advance(REPEATABLE_FOR.total_seconds() - 60)
    with transaction(platform.engine) as connection:  # as if events were kept for a day
        connection.execute(text("UPDATE outbox_events SET occurred_at = '2000-01-01'"))
    assert platform.housekeeper.keep_house()["outbox_events"] > 0
    assert len(platform.events()) == 1
    assert platform.request(run.request_id) == before
    platform.admin.ok(f"/v1/workflow-requests/{run.request_id}/retry", {})
    again = claimed(platform, run.request_id, attempt=2)
    assert set(again.claim["outcomes"]) == {*STEPS[:2]}
    again.do_all(STEPS[2:-1])
    assert again.finalize().json()["state"] == "succeeded"


def test_who_took_a_stream_up_where_nothing_is_left_hears_what_comes(platform: Platform) -> None:
    platform.new_subject()
    last = platform.admin.seen("/v1/events", limit=200)["items"][-1]["sequence"]
    platform.clock.advance(KEPT_EVENTS_SECONDS + 60)
    platform.housekeeper.keep_house()
    assert platform.services.queries.newest_sequence() == last
    platform.admin.ok("/v1/teams", {"slug": f"team-{new_id()[-10:]}", "displayName": "Team"})
    assert platform.events(after=last) == ["team_created"]


def test_a_deleted_run_cannot_make_an_old_request_start_again(platform: Platform) -> None:
    """Dagster forgets a run's key with the run; whoever then starts it once more is refused."""
    run = claimed(platform, platform.provision(platform.new_subject()))
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    platform.clock.advance(REPEATABLE_FOR.total_seconds() + 60)
    platform.sweep_after(60)
    assert run.request_id not in offers(platform)
    again = ask_claim(platform, run.request_id, new_id(), attempt=1)
    assert (again.status_code, again.json()["code"]) == (409, "request_ended")
    rerun = launch(platform, parentRunId=run.run_id)
    assert (rerun.status_code, rerun.json()["code"]) == (409, "request_succeeded")
