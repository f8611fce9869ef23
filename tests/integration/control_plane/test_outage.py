"""PostgreSQL is killed and comes back; the control plane says so, and goes on by itself."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from control_plane.adapters.database import transaction
from control_plane.failpoints import (
    COMMAND_AFTER_COMMIT,
    END_PHASE_AFTER_COMMIT,
    END_PHASE_BEFORE_COMMIT,
    FAILPOINTS,
    FINALIZE_AFTER_COMMIT,
    FINALIZE_BEFORE_COMMIT,
)
from control_plane.main import build_app
from idp_kernel.errors import Unavailable
from idp_kernel.ids import new_id
from tests.fixtures.stack import PostgresServer, free_port, private_directory
from tests.integration.control_plane.conftest import (
    ADMIN_TOKEN,
    Caller,
    Keys,
    Platform,
    eventually,
    settings_for,
)
from tests.integration.control_plane.engine_run import STEPS, claimed
from tests.integration.control_plane.held import arm
from tests.integration.control_plane.own_postgres import OwnPostgres


def test_an_outage_is_told_as_such_and_survived(keys: Keys) -> None:
    with private_directory("idp-outage-") as home:
        own = OwnPostgres(home, free_port())
        with own.running() as kill:
            database = own.new_database()
            app = build_app(settings_for(database, keys))
            with TestClient(app, raise_server_exceptions=False) as client:
                admin = Caller(client, ADMIN_TOKEN)
                admin.ok("/v1/teams", {"slug": "before", "displayName": "A"})
                assert client.get("/readyz").status_code == 200
                kill()
                eventually(lambda: client.get("/readyz").status_code == 503)
                for answer in (
                    admin.get("/v1/teams"),
                    admin.get("/v1/whoami"),
                    admin.post("/v1/teams", {"slug": "during", "displayName": "A"}),
                    admin.get(f"/v1/applications/{new_id()}"),
                    admin.delete(f"/v1/tokens/{new_id()}"),
                ):
                    assert answer.status_code == 503, answer.text
                    assert answer.json()["code"] == "database_unavailable"
                    assert int(answer.headers["Retry-After"]) >= 1
                assert client.get("/healthz").status_code == 200
                with own.running():
                    eventually(lambda: client.get("/readyz").status_code == 200)
                    slugs = [each["slug"] for each in admin.seen("/v1/teams")["items"]]
                    assert slugs == ["before"]
                    admin.ok("/v1/teams", {"slug": "after", "displayName": "A"})


def test_a_server_without_its_tables_is_not_ready(
    postgres_server: PostgresServer, keys: Keys
) -> None:
    app = build_app(settings_for(postgres_server.create_database(), keys))
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_migrated")
    assert "control_plane.bootstrap" in answer.json()["detail"]


def test_a_row_that_is_held_too_long_is_told_as_unavailable(platform: Platform) -> None:
    subject = platform.new_subject()
    query = text("SELECT 1 FROM teams WHERE slug = :slug FOR UPDATE")
    with transaction(platform.engine) as holder:
        holder.execute(query, {"slug": subject.team})
        with pytest.raises(Unavailable) as told:
            lock_impatiently(platform, subject.team)
    assert told.value.code == "database_unavailable"
    assert told.value.retry_after_seconds == 1


def lock_impatiently(platform: Platform, team: str) -> None:
    with transaction(platform.engine) as connection:
        connection.execute(text("SET LOCAL statement_timeout = '100ms'"))
        query = text("SELECT 1 FROM teams WHERE slug = :slug FOR UPDATE")
        connection.execute(query, {"slug": team})


@pytest.mark.usefixtures("patience")
def test_a_deadlock_is_told_as_unavailable(platform: Platform) -> None:
    one, two = platform.new_subject().team, platform.new_subject().team
    query = text("SELECT 1 FROM teams WHERE slug = :slug FOR UPDATE")
    meet = threading.Barrier(2)

    def lock(first: str, second: str) -> str:
        try:
            with transaction(platform.engine) as connection:
                connection.execute(query, {"slug": first})
                meet.wait()
                connection.execute(query, {"slug": second})
        except Unavailable as error:
            return error.code
        return "locked"

    with ThreadPoolExecutor(2) as pool:
        ends = [
            each.result() for each in (pool.submit(lock, one, two), pool.submit(lock, two, one))
        ]
    assert sorted(ends) == ["database_unavailable", "locked"]


@pytest.mark.parametrize(
    ("name", "seen_meanwhile"),
    [(FINALIZE_BEFORE_COMMIT, "running"), (FINALIZE_AFTER_COMMIT, "succeeded")],
)
def test_finalize_can_be_held_on_both_sides_of_its_commit(
    platform: Platform, failpoints: Path, name: str, seen_meanwhile: str
) -> None:
    run = claimed(platform, platform.provision(platform.new_subject()))
    run.do_all(STEPS[:2])
    held = arm(failpoints, name)
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(run.finalize().status_code))
    thread.start()
    held.wait()
    assert platform.request(run.request_id)["state"] == seen_meanwhile
    held.let_go()
    thread.join()
    assert answers == [200]
    assert platform.request(run.request_id)["state"] == "succeeded"


def test_a_command_can_be_held_after_its_commit(platform: Platform, failpoints: Path) -> None:
    held = arm(failpoints, COMMAND_AFTER_COMMIT)
    slug = f"t-{new_id()[-10:]}"
    body = {"slug": slug, "displayName": "A"}
    thread = threading.Thread(target=lambda: platform.admin.post("/v1/teams", body))
    thread.start()
    held.wait()
    assert platform.admin.seen(f"/v1/teams/{slug}")["state"] == "Draft"
    held.let_go()
    thread.join()


def test_every_failpoint_is_tested() -> None:
    phases = {END_PHASE_BEFORE_COMMIT, END_PHASE_AFTER_COMMIT}  # in test_phases.py
    ends = {FINALIZE_BEFORE_COMMIT, FINALIZE_AFTER_COMMIT}
    assert set(FAILPOINTS) == {COMMAND_AFTER_COMMIT, *phases, *ends}
