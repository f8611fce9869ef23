"""A control plane on a real PostgreSQL, with a clock that tests move."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, Engine, event, text
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.dev import ConsoleRenderer, plain_traceback

from control_plane.adapters.database import new_engine, transaction
from control_plane.adapters.schema import check_migrated, upgrade
from control_plane.adapters.sweeper import Sweeper
from control_plane.adapters.work import beginner
from control_plane.api.app import create_app
from control_plane.api.services import Services
from control_plane.bootstrap import ensure_admin
from control_plane.main import build_housekeeper, build_services
from control_plane.settings import ControlPlaneSettings
from idp_kernel.failpoints import FAILPOINTS_DIR_VARIABLE
from idp_kernel.housekeeping import Housekeeper
from idp_kernel.ids import new_id
from idp_kernel.services import SERVICE_SCOPES, ServiceName
from idp_kernel.tokens import SigningKey, service_assertion
from tests.fixtures.stack import FreshDatabase, PostgresServer
from tests.integration.control_plane.documented import Documented
from tests.integration.control_plane.engine_run import claimed

ADMIN_TOKEN = "idp_pat_" + "a" * 43
LONG_LEASES = {"lease_seconds": 600.0}


class MovableClock:
    """The time it really is, moved on by tests."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)
        self._still: datetime | None = None

    def now(self) -> datetime:
        return (self._still or datetime.now(UTC)) + self._ahead

    def stand_still(self) -> None:
        """From here on only `advance` moves it, however long the calls in between take."""
        self._still = datetime.now(UTC)

    def advance(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Keys:
    """The keys folder of a platform."""

    signing_key_file: Path
    service_keys_file: Path
    services: dict[ServiceName, SigningKey]


@dataclass
class Caller:
    """Somebody with a bearer token."""

    client: TestClient
    token: str

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(path, params=query, headers=self._headers())

    def post(self, path: str, body: Any = None, *, key: str | None = None) -> Any:
        headers = {**self._headers(), "Idempotency-Key": key or new_id()}
        return self.client.post(path, json=body, headers=headers)

    def put(self, path: str, body: Any, **headers: str) -> Any:
        return self.client.put(path, json=body, headers={**self._headers(), **headers})

    def delete(self, path: str) -> Any:
        return self.client.delete(path, headers=self._headers())

    def ok(self, path: str, body: Any = None) -> Any:
        """The decoded answer of a command that must go well."""
        answer = self.post(path, body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def seen(self, path: str, **query: Any) -> Any:
        """The decoded answer of a question that must go well."""
        answer = self.get(path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@dataclass
class Platform:
    """A running control plane and everybody who talks to it."""

    client: TestClient
    app: FastAPI
    engine: Engine
    services: Services
    keys: Keys
    clock: MovableClock
    sweeper: Sweeper
    housekeeper: Housekeeper
    monotonic: list[float]

    @property
    def admin(self) -> Caller:
        return Caller(self.client, ADMIN_TOKEN)

    def service(self, name: ServiceName) -> Caller:
        """A service with a fresh access token."""
        assertion = service_assertion(self.keys.services[name], name, self.clock)
        answer = self.client.post("/internal/tokens", json={"assertion": assertion})
        assert answer.status_code == 200, answer.text
        return Caller(self.client, answer.json()["accessToken"])

    @property
    def engine_service(self) -> Caller:
        return self.service(ServiceName.WORKFLOW_ENGINE)

    def bearer(self, token: str) -> Caller:
        """Whoever holds that token."""
        return Caller(self.client, token)

    def token_for(self, principal: str, **options: Any) -> str:
        made = self.admin.ok("/v1/tokens", {"principal": principal, **options})
        return str(made["token"])

    def member(self, team: str, role: str) -> Caller:
        """A new person with that role in the team."""
        principal = f"p-{new_id()[-12:]}"
        self.admin.ok(f"/v1/teams/{team}/members", {"principal": principal, "role": role})
        return Caller(self.client, self.token_for(principal))

    def new_subject(self) -> Subject:
        """An active team with an application, and an active environment, nobody else's."""
        mark = f"x{new_id()[-10:]}"
        subject = Subject(f"team-{mark}", "shop", "", f"env-{mark}")
        self.admin.ok("/v1/teams", {"slug": subject.team, "displayName": "Team"})
        self.admin.ok(f"/v1/teams/{subject.team}/activate")
        self.admin.ok("/v1/environments", {"slug": subject.environment})
        self.admin.ok(f"/v1/environments/{subject.environment}/activate")
        subject.application_id = self.onboard(subject.team, subject.application)
        return subject

    def onboard(self, team: str, slug: str) -> str:
        """The id of a new application that is active, with no environment."""
        accepted = self.admin.ok("/v1/applications", {"team": team, "slug": slug})
        run = claimed(self, accepted["requestId"])
        assert run.finalize().json()["state"] == "succeeded"
        return str(accepted["applicationId"])

    def provision(self, subject: Subject, *secrets: str) -> str:
        """The id of a new provisioning request."""
        body: dict[str, Any] = {"environment": subject.environment}
        if secrets:
            body["secrets"] = [{"name": name} for name in secrets]
        path = f"/v1/applications/{subject.application_id}/environments"
        return str(self.admin.ok(path, body)["requestId"])

    def request(self, request_id: str) -> Any:
        return self.admin.seen(f"/v1/workflow-requests/{request_id}")

    def environment_of(self, request_id: str) -> Any:
        appenv_id = self.request(request_id)["applicationEnvironmentId"]
        return self.admin.seen(f"/v1/application-environments/{appenv_id}")

    def events(self, **query: Any) -> list[str]:
        """The types of all events, in order."""
        return [
            event["type"] for event in self.admin.seen("/v1/events", limit=200, **query)["items"]
        ]

    def sweep_after(self, seconds: float) -> None:
        """Time passes, then one round of the sweeper."""
        self.clock.advance(seconds)
        self.monotonic[0] += seconds
        self.sweeper.sweep()


@dataclass
class Subject:
    team: str
    application: str
    application_id: str
    environment: str


def eventually(look: Callable[[], bool], *, within_seconds: float = 20) -> None:
    """Waits until the condition holds."""
    give_up_at = time.monotonic() + within_seconds
    while not look():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def somebody_waits_for_a_lock(engine: Engine) -> bool:
    query = text("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with transaction(engine) as connection:
        return connection.execute(query).first() is not None


@pytest.fixture(scope="session", autouse=True)
def short_tracebacks() -> Iterator[None]:
    """The way structlog draws a traceback by itself, with every local value, takes ten seconds."""
    *before, _ = structlog.get_config()["processors"]
    renderer = ConsoleRenderer(exception_formatter=plain_traceback)
    structlog.configure(processors=[*before, renderer])
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    folder = tmp_path_factory.mktemp("keys")
    signing = folder / "control-plane.signing-key.json"
    SigningKey.generate("control-plane").write(signing)
    services = {name: SigningKey.generate(name) for name in SERVICE_SCOPES}
    public = folder / "services.jwks.json"
    public.write_text(json.dumps({"keys": [key.public for key in services.values()]}))
    return Keys(signing, public, services)


@pytest.fixture(scope="session")
def migrated(postgres_server: PostgresServer) -> FreshDatabase:
    """The database that most tests share."""
    return new_database(postgres_server)


def new_database(postgres_server: PostgresServer) -> FreshDatabase:
    """A database with the control plane's tables and its first admin."""
    database = postgres_server.create_database()
    engine = new_engine(database.url)
    upgrade(engine)
    with beginner(engine, MovableClock())() as work:
        ensure_admin(work, ADMIN_TOKEN)
    engine.dispose()
    return database


def settings_for(database: FreshDatabase, keys: Keys, **more: Any) -> ControlPlaneSettings:
    return ControlPlaneSettings(
        database_url=database.url,
        signing_key_file=keys.signing_key_file,
        service_keys_file=keys.service_keys_file,
        **{"rate_limit_burst": 1_000_000, **more},
    )


@pytest.fixture(scope="module")
def engine(migrated: FreshDatabase) -> Iterator[Engine]:
    """One for a module's platforms: statements are compiled and connections made only once."""
    engine = new_engine(migrated.url)
    yield engine
    engine.dispose()


@pytest.fixture
def patience(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever waits for a connection or a row of `platform` does so for as long as it takes: where
    many come at once, or a test says when a row is let go, that may be longer than one may wait.
    """

    def connect(_dialect: object, _record: object, _args: object, options: dict[str, Any]) -> None:
        options["connect_timeout"] = 60

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(
            "SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = '60s'"
        )

    monkeypatch.setattr(engine.pool, "_timeout", 60)
    listeners: list[tuple[str, Callable[..., Any]]] = [("do_connect", connect), ("begin", begin)]
    for name, listener in listeners:
        event.listen(engine, name, listener)
    yield
    for name, listener in listeners:
        event.remove(engine, name, listener)


@pytest.fixture
def leases() -> dict[str, float]:
    """What `platform` is told of them; `LONG_LEASES` where much is said in one run's name, which
    takes longer than a lease on a busy machine.
    """
    return {}


@pytest.fixture
def platform(
    migrated: FreshDatabase, keys: Keys, engine: Engine, leases: dict[str, float]
) -> Iterator[Platform]:
    """A control plane whose sweeper runs when a test says so."""
    with platform_on(engine, settings_for(migrated, keys, **leases), keys) as running:
        yield running


@pytest.fixture
def lone_platform(postgres_server: PostgresServer, keys: Keys) -> Iterator[Platform]:
    """One whose database has seen nothing yet, and nobody else."""
    with running_platform(new_database(postgres_server), keys) as running:
        yield running


@cache
def the_app() -> FastAPI:
    """Every platform's; to make all the routes takes longer than most tests."""
    app: FastAPI = create_app(
        None,
        env="test",
        registry=CollectorRegistry(),
        is_ready=lambda: check_migrated(app.state.engine),
    )
    return app


def standing_on(app: FastAPI, **state: object) -> ASGIApp:
    """The application with that state for each call, one platform's among several."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        for name, value in state.items():
            setattr(app.state, name, value)
        await app(scope, receive, send)

    return serve


@contextmanager
def running_platform(database: FreshDatabase, keys: Keys, **more: Any) -> Iterator[Platform]:
    engine = new_engine(database.url)
    try:
        with platform_on(engine, settings_for(database, keys, **more), keys) as running:
            yield running
    finally:
        engine.dispose()


@contextmanager
def platform_on(engine: Engine, settings: ControlPlaneSettings, keys: Keys) -> Iterator[Platform]:
    clock, monotonic = MovableClock(), [1000.0]
    services = build_services(settings, engine, clock)
    sweeper = Sweeper(
        engine=engine,
        begin=services.begin,
        policy=services.attempts,
        rotations_at_once=services.rotations_at_once,
        interval_seconds=3600,
        monotonic=lambda: monotonic[0],
    )
    monotonic[0] += 60
    housekeeper = build_housekeeper(settings, engine, clock, CollectorRegistry())
    app = the_app()
    documented = Documented(standing_on(app, services=services, engine=engine))
    with TestClient(documented, raise_server_exceptions=False) as client:
        yield Platform(client, app, engine, services, keys, clock, sweeper, housekeeper, monotonic)
    assert documented.wrong == []


@pytest.fixture
def failpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which failpoints are armed."""
    monkeypatch.setenv(FAILPOINTS_DIR_VARIABLE, str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def no_leftover_threads() -> Iterator[None]:
    """Every thread that a test starts ends with it."""
    before = set(threading.enumerate())
    yield
    left = {
        thread.name
        for thread in threading.enumerate()
        if thread not in before and thread.name in ("sweeper", "listener", "feed", "housekeeper")
    }
    assert not left
