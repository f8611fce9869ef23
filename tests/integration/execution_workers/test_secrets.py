"""Where secret values are, and where they are not."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest
from sqlalchemy import create_engine, text

from idp_kernel.clock import SystemClock
from idp_kernel.services import ServiceName
from idp_kernel.tokens import (
    SigningKey,
    StoreAccess,
    issue_service_token,
    issue_store_login,
    store_role,
)
from tests.integration.execution_workers.catalogue import (
    BINDINGS,
    REPOSITORY,
    SECRET,
    assert_effect,
)
from tests.integration.execution_workers.driver import AppEnv, Run


def test_the_value_is_in_the_store_and_nowhere_else(run: Run) -> None:
    assert_effect(REPOSITORY.do(run), "created")
    answers = [SECRET.do(run), SECRET.do(run), BINDINGS.do(run)]
    value = run.world.store.value(run.appenv.secret_path)
    assert len(value) >= 43, "32 bytes of randomness"
    assert all(value not in answer.text for answer in answers)
    assert value not in run.world.workers.log.read_text()
    assert value not in _ledger_of(run)


def _ledger_of(run: Run) -> str:
    engine = create_engine(run.world.database_url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM ledger.effects")).all()
    engine.dispose()
    assert rows
    return str(rows)


def test_two_secrets_have_two_values(run: Run) -> None:
    other = run.world.new_run(AppEnv(team=run.appenv.team))
    assert_effect(SECRET.do(run), "created")
    assert_effect(SECRET.do(other), "created")
    values = [run.world.store.value(each.appenv.secret_path) for each in (run, other)]
    assert values[0] != values[1]


def test_the_store_refuses_to_overwrite_without_check_and_set(run: Run) -> None:
    assert_effect(SECRET.do(run), "created")
    body = {"data": {"value": "other"}}
    answer = run.world.store.request("POST", f"kv/data/{run.appenv.secret_path}", body)
    assert answer.status_code == 400


def test_a_team_reads_its_own_secrets_and_no_others(run: Run) -> None:
    other = run.world.new_run(AppEnv())
    for each in (run, other):
        assert_effect(SECRET.do(each), "created")
    store, own = run.world.store, run.world.store.token_of_team(run.appenv.team)
    path, foreign = run.appenv.secret_path, other.appenv.secret_path
    folder = path.rpartition("/")[0]
    assert store.request("GET", f"kv/data/{path}", token=own).status_code == 200
    assert store.request("GET", f"kv/metadata/{path}", token=own).status_code == 200
    assert store.request("LIST", f"kv/metadata/{folder}", token=own).status_code == 200
    assert store.request("GET", f"kv/data/{foreign}", token=own).status_code == 403
    assert store.request("GET", f"kv/metadata/{foreign}", token=own).status_code == 403
    body = {"options": {"cas": 1}, "data": {"value": "x"}}
    assert store.request("POST", f"kv/data/{path}", body, token=own).status_code == 403
    assert store.request("DELETE", f"kv/metadata/{path}", token=own).status_code == 403


def test_a_value_somebody_deleted_is_born_again(run: Run) -> None:
    assert_effect(SECRET.do(run), "created")
    before = run.world.store.value(run.appenv.secret_path)
    gone = run.world.store.request("DELETE", f"kv/data/{run.appenv.secret_path}")
    assert gone.status_code == 204
    answer = assert_effect(SECRET.do(run.world.new_run(run.appenv)), "created")
    assert answer["items"][0]["references"]["version"] == 2
    assert run.world.store.value(run.appenv.secret_path) != before


def test_workers_log_in_again_when_their_token_was_revoked(run: Run) -> None:
    assert_effect(SECRET.do(run), "created")
    prefix = {"prefix": "auth/approle/login"}
    revoked = run.world.store.request("POST", "sys/leases/revoke-prefix/auth/approle/login", prefix)
    assert revoked.is_success, revoked.text
    assert_effect(SECRET.do(run.world.new_run(AppEnv())), "created")


def test_several_secrets_have_a_row_each(run: Run) -> None:
    """The second fails, so only the first is replayed; then both are there."""
    other = AppEnv(id=run.appenv.id, team=run.appenv.team)
    two = [run.appenv.secret, {**other.secret, "name": "second-key"}]
    body = {"subject": run.appenv.subject, "secrets": two}
    taken = {"data": {"value": "somebody-else-s"}}
    path = run.appenv.secret_path.replace("app-key", "second-key")
    run.world.store.request("POST", f"kv/data/{path}", taken)
    refused = run.post(SECRET.path, body, run.key(SECRET.step))
    assert refused.json()["code"] == "foreign_owner"
    run.world.store.request("DELETE", f"kv/metadata/{path}")
    answer = run.post(SECRET.path, body, run.key(SECRET.step)).json()
    assert [item["effect"] for item in answer["items"]] == ["replayed", "created"]
    undone = run.post(f"{SECRET.path}/undo", body, run.key(SECRET.step, undo=True)).json()
    names = [item["item"] for item in undone["items"]]
    assert names == [f"secret/{other.secret_id}", f"secret/{run.appenv.secret_id}"], "newest first"


def login(
    run: Run,
    access: StoreAccess,
    *,
    team: str | None = None,
    key: SigningKey | None = None,
    role: str | None = None,
) -> httpx.Response:
    """A person of the run's team at the store, with what the control plane signed."""
    now = SystemClock().now()
    signed = issue_store_login(
        key or run.world.store.server.login_key,
        "ada",
        team=team or run.appenv.team,
        access=access,
        now=now,
        until=now + timedelta(minutes=5),
    )
    return run.world.store.log_in(role or store_role(run.appenv.team, access), signed)


def token_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["auth"]["client_token"])


def test_a_person_reads_their_own_teams_secret_and_no_others(run: Run) -> None:
    other = run.world.new_run(AppEnv())
    for each in (run, other):
        assert_effect(SECRET.do(each), "created")
    store, token = run.world.store, token_of(login(run, StoreAccess.READ))
    own, foreign = run.appenv.secret_path, other.appenv.secret_path
    assert store.request("GET", f"kv/data/{own}", token=token).status_code == 200
    assert store.request("GET", f"kv/data/{foreign}", token=token).status_code == 403
    body = {"options": {"cas": 1}, "data": {"value": "x"}}
    assert store.request("POST", f"kv/data/{own}", body, token=token).status_code == 403


def test_a_maintainer_also_writes_and_does_no_more(run: Run) -> None:
    other = run.world.new_run(AppEnv())
    for each in (run, other):
        assert_effect(SECRET.do(each), "created")
    store, token = run.world.store, token_of(login(run, StoreAccess.WRITE))
    own, foreign = run.appenv.secret_path, other.appenv.secret_path
    body = {"options": {"cas": 1}, "data": {"value": "x"}}
    assert store.request("POST", f"kv/data/{own}", body, token=token).status_code == 200
    assert store.value(own) == "x"
    assert store.request("GET", f"kv/metadata/{own}", token=token).status_code == 200
    for method, path in (
        ("POST", f"kv/data/{foreign}"),
        ("GET", f"kv/data/{foreign}"),
        ("DELETE", f"kv/data/{own}"),
        ("DELETE", f"kv/metadata/{own}"),
        ("POST", f"kv/metadata/{own}"),
        ("PUT", f"kv/destroy/{own}"),
        ("GET", f"sys/policies/acl/team-{run.appenv.team}"),
    ):
        answer = store.request(method, path, body if method != "GET" else None, token=token)
        assert answer.status_code == 403, (method, path)


def test_a_login_lasts_a_quarter_of_an_hour(run: Run) -> None:
    assert_effect(SECRET.do(run), "created")
    for access in StoreAccess:
        auth = login(run, access).json()["auth"]
        assert auth["lease_duration"] == 15 * 60
        renewed = run.world.store.request(
            "POST", "auth/token/renew-self", {"increment": "1h"}, token=auth["client_token"]
        )
        assert not renewed.is_success or renewed.json()["auth"]["lease_duration"] <= 15 * 60


def test_a_login_opens_only_what_it_was_signed_for(run: Run) -> None:
    other = run.world.new_run(AppEnv())
    for each in (run, other):
        assert_effect(SECRET.do(each), "created")
    writing = store_role(run.appenv.team, StoreAccess.WRITE)
    refused = [
        login(run, StoreAccess.READ, role=writing),
        login(run, StoreAccess.READ, team=other.appenv.team),
        login(run, StoreAccess.READ, key=SigningKey.generate("logins")),
    ]
    now = SystemClock().now()
    for_services = issue_service_token(
        run.world.store.server.login_key,
        ServiceName.WORKFLOW_ENGINE,
        frozenset(),
        now=now,
        until=now + timedelta(minutes=5),
    )
    role = store_role(run.appenv.team, StoreAccess.READ)
    refused.append(run.world.store.log_in(role, for_services))
    assert all(answer.status_code in (400, 403) for answer in refused), refused


@pytest.mark.parametrize("suffix", ["read", "write"])
def test_a_teams_name_leads_to_no_other_teams_rights(run: Run, suffix: str) -> None:
    """A team called like another with an access behind it."""
    alike = run.world.new_run(AppEnv(team=f"{run.appenv.team}-{suffix}"))
    for each in (run, alike):
        assert_effect(SECRET.do(each), "created")
    store = run.world.store
    for access in StoreAccess:
        own, foreign = token_of(login(run, access)), token_of(login(alike, access))
        for token, path in ((own, alike.appenv.secret_path), (foreign, run.appenv.secret_path)):
            assert store.request("GET", f"kv/data/{path}", token=token).status_code == 403
