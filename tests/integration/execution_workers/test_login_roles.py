"""Login roles at the database itself: what is read of them and what is changed is one thing."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from execution_workers.ports import Attempt, Marker
from execution_workers.providers.calls import ProviderCalls
from execution_workers.providers.postgres.client import PostgresClient
from execution_workers.providers.postgres.issuer import PostgresIssuer, group_role, login_roles
from idp_kernel.errors import ProviderRejected, Unavailable
from idp_kernel.ids import new_id
from idp_kernel.telemetry.metrics import downstream_errors
from local_stack.postgres_setup import (
    connect_as_superuser,
    ensure_roles_and_databases,
)
from tests.integration.execution_workers.driver import World, eventually

ATTEMPT = Attempt("ours", new_id(), lambda: None)


@pytest.fixture
def client(world: World) -> PostgresClient:
    registry = CollectorRegistry()
    calls = ProviderCalls(
        "postgres", concurrency=4, wait_seconds=1, errors=downstream_errors(registry)
    )
    return PostgresClient(world.applications.issuer_url, None, calls, timeout_seconds=10)


@pytest.fixture
def issuer(client: PostgresClient) -> PostgresIssuer:
    return PostgresIssuer(client)


def test_an_elder_credential_does_not_take_a_laters_login(issuer: PostgresIssuer) -> None:
    secret_id = new_id()
    late, later = (
        issuer.draft(secret_id, {}, team="payments"),
        issuer.draft(secret_id, {}, team="payments"),
    )
    assert late["username"] == later["username"]
    issuer.install(secret_id, later, 3, ATTEMPT, team="payments")
    for emergency in (False, True):
        with pytest.raises(ProviderRejected) as refused:
            issuer.install(secret_id, late, 2, ATTEMPT, emergency=emergency, team="payments")
        assert refused.value.code == "login_replaced"
        assert "version 3" in refused.value.message
    issuer.install(secret_id, later, 3, ATTEMPT, team="payments")
    assert issuer.verify(later, team="payments") is None


def test_a_retirement_ends_no_later_login(issuer: PostgresIssuer) -> None:
    secret_id = new_id()
    kept = issuer.draft(secret_id, {}, team="payments")
    issuer.install(secret_id, kept, 2, ATTEMPT, team="payments")
    later = issuer.draft(secret_id, {2: kept}, team="payments")
    issuer.install(secret_id, later, 3, ATTEMPT, team="payments")
    with pytest.raises(ProviderRejected) as refused:
        issuer.retire_others(secret_id, kept, 2, ATTEMPT, team="payments")
    assert refused.value.code == "login_replaced"
    assert issuer.verify(later, team="payments") is None
    assert issuer.retire_others(secret_id, later, 3, ATTEMPT, team="payments") == 0
    assert issuer.verify(kept, team="payments") is not None


def test_a_login_that_was_replaced_since_it_was_seen_is_not_disabled(
    client: PostgresClient,
) -> None:
    secret_id = new_id()
    (role, _), group = login_roles(secret_id), group_role(secret_id)
    marker = Marker("ours", secret_id, new_id())
    client.set_login(group, role, "secret-2", version=2, marker=marker)
    client.set_login(group, role, "secret-3", version=3, marker=marker)
    for seen in (2, None):
        with pytest.raises(ProviderRejected) as refused:
            client.disable_login(group, role, seen, marker)
        assert refused.value.code == "login_replaced"
    assert client.refusal_of(role, "secret-3") is None
    for _ in range(2):
        client.disable_login(group, role, 3, marker)
    assert client.refusal_of(role, "secret-3") is not None


def test_many_at_once_leave_the_latest_version(client: PostgresClient) -> None:
    secret_id = new_id()
    (role, _), group = login_roles(secret_id), group_role(secret_id)
    marker = Marker("ours", secret_id, new_id())

    def set_to(version: int) -> bool:
        try:
            client.set_login(group, role, f"secret-{version}", version=version, marker=marker)
        except ProviderRejected:
            return False
        return True

    client.set_login(group, role, "secret-1", version=1, marker=marker)
    with ThreadPoolExecutor(4) as executor:
        done = list(executor.map(set_to, (9, 5, 8, 3, 7, 2, 6, 4)))
    assert done[0]
    assert client.logins(group)[role].version == 9
    assert client.refusal_of(role, "secret-9") is None


def test_a_session_that_does_not_end_is_told(
    world: World, issuer: PostgresIssuer, client: PostgresClient
) -> None:
    secret_id = new_id()
    credential = issuer.draft(secret_id, {}, team="payments")
    issuer.install(secret_id, credential, 1, ATTEMPT, team="payments")
    with closing(world.applications.log_in(dict(credential))) as session:
        pid = session.info.backend_pid
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable) as left:
                client.end_sessions(credential["username"])
        finally:
            os.kill(pid, signal.SIGCONT)
        assert left.value.code == "postgres_busy"
        assert "1 sessions" in left.value.message
        eventually(lambda: not client.sessions(credential["username"]), what="the session is over")
    assert client.end_sessions(credential["username"]) == 0


def test_the_issuer_ends_sessions_of_no_role_but_those_it_made(
    world: World, issuer: PostgresIssuer, client: PostgresClient
) -> None:
    secret_id = new_id()
    credential = issuer.draft(secret_id, {}, team="payments")
    issuer.install(secret_id, credential, 1, ATTEMPT, team="payments")
    address = world.applications.address
    with closing(connect_as_superuser(address, "postgres")) as server:
        server.execute("GRANT pg_signal_backend, pg_read_all_stats TO credential_issuer")
    ensure_roles_and_databases(address)
    own = world.applications.log_in(dict(credential))
    other = psycopg.connect(_libpq(address.url("ledger", "idp")), autocommit=True)
    with closing(own), closing(other):
        with (
            closing(
                psycopg.connect(_libpq(world.applications.issuer_url), autocommit=True)
            ) as as_issuer,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            as_issuer.execute("SELECT pg_terminate_backend(%s)", [other.info.backend_pid])
        assert other.execute("SELECT 1").fetchone() == (1,)
        assert client.sessions(credential["username"]) == 1
        assert client.end_sessions(credential["username"]) == 1


def _libpq(url: str) -> str:
    """The same address without SQLAlchemy's name for the driver."""
    return url.replace("postgresql+psycopg://", "postgresql://")
