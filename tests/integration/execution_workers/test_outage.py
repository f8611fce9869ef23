"""PostgreSQL or a provider is away: a problem that says so, and work goes on afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import httpx
import pytest
from psycopg import sql
from sqlalchemy import make_url

from execution_workers.failpoints import after_provider
from idp_kernel.telemetry.metrics import OWN_DATABASE
from idp_kernel.workflows import Step
from local_stack.postgres_setup import APPLICATIONS_DATABASE, connect_as_superuser
from tests.fixtures.openmetrics import ACCEPT, families_of
from tests.fixtures.stack import PostgresServer
from tests.integration.execution_workers.catalogue import SECRET, assert_effect, assert_problem
from tests.integration.execution_workers.driver import Run, eventually, in_background
from tests.integration.execution_workers.rotating import Rotation, assert_tidy, provisioned


@contextmanager
def database_away(postgres: PostgresServer, name: str) -> Iterator[None]:
    """The database throws everybody out and lets nobody in, as in a restart."""
    with closing(connect_as_superuser(postgres.address, "postgres")) as server:
        allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        server.execute(allow.format(sql.Identifier(name), sql.Literal(False)))
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        server.execute(ended, (name,))
        try:
            yield
        finally:
            server.execute(allow.format(sql.Identifier(name), sql.Literal(True)))


def test_the_ledgers_database_is_away_for_a_while(
    run: Run, postgres_server: PostgresServer
) -> None:
    assert_effect(SECRET.do(run), "created")
    counted = _outages_counted(run)
    with database_away(postgres_server, _ledger(run)):
        assert_problem(SECRET.do(run), 503, "ledger_unavailable")
        assert _readiness(run).status_code == 503
    assert _outages_counted(run) >= counted + 2
    assert _readiness(run).status_code == 200
    assert_effect(SECRET.do(run), "replayed")


def test_the_connection_of_a_waiting_fence_ends(run: Run, postgres_server: PostgresServer) -> None:
    hit = run.world.workers.arm(after_provider(Step.PROVISION_SECRETS))
    with in_background(lambda: SECRET.do(run)) as held:
        eventually(hit.exists, what="a call is in flight")
        with in_background(run.with_(fence=2).raise_fence) as raising:
            eventually(lambda: run.world.lock_waiters() >= 1, what="the fence waits")
            _end_waiting(postgres_server, run)
            hit.unlink()
            assert_problem(raising.result(), 503, "ledger_unavailable")
    assert_effect(held.result(), "created")
    assert run.with_(fence=2).raise_fence().status_code == 200


@pytest.mark.endurance
def test_a_call_that_another_keeps_waiting_is_no_outage(run: Run) -> None:
    counted = _outages_counted(run)
    hit = run.world.workers.arm(after_provider(Step.PROVISION_SECRETS))
    with in_background(lambda: SECRET.do(run)) as held:
        eventually(hit.exists, what="a call is in flight")
        assert_problem(run.with_(fence=2).raise_fence(), 503, "item_busy")
        hit.unlink()
    assert_effect(held.result(), "created")
    assert _outages_counted(run) == counted


def _outages_counted(run: Run) -> float:
    wanted = {"target": OWN_DATABASE, "code": "ledger_unavailable"}
    return sum(
        sample.value
        for family in families_of(run.world.metrics(ACCEPT))
        for sample in family.samples
        if sample.name == "downstream_errors_total" and wanted.items() <= sample.labels.items()
    )


def _ledger(run: Run) -> str:
    return make_url(run.world.database_url).database or ""


def _end_waiting(postgres: PostgresServer, run: Run) -> None:
    name = make_url(run.world.database_url).database
    with closing(connect_as_superuser(postgres.address, "postgres")) as server:
        server.execute(
            "SELECT pg_terminate_backend(l.pid, 5000) FROM pg_locks l"
            " JOIN pg_database d ON d.oid = l.database"
            " WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = %s",
            (name,),
        )


def _readiness(run: Run) -> httpx.Response:
    return httpx.get(f"{run.world.workers.url}/readyz", trust_env=False)


def test_the_applications_database_is_away_for_a_while(
    run: Run, postgres_server: PostgresServer
) -> None:
    appenv = provisioned(run.world, replace(run.appenv, issuer="postgres"))
    rotation = Rotation(run.world.new_run(appenv))
    with database_away(postgres_server, APPLICATIONS_DATABASE):
        assert_problem(rotation.ask_to_issue(), 503, "postgres_unreachable")
        assert _readiness(run).status_code == 200, "only what needs it fails"
    assert run.world.store.live_versions(appenv.secret_path) == [1]
    assert_tidy(run.world, appenv, rotation.complete().version)
