"""execution-workers over real PostgreSQL, OpenBao and the local forge, once for the directory."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from execution_workers.ledger.migrate import migrate
from idp_kernel.services import LOOPBACK, ServiceName
from idp_kernel.tokens import SigningKey, write_private_file
from tests.fixtures.stack import (
    OpenBaoServer,
    PostgresServer,
    child,
    free_port,
    private_directory,
)
from tests.fixtures.vendors.harbor import ACCOUNT, Harbor
from tests.integration.execution_workers.driver import (
    AppEnv,
    Applications,
    Forge,
    Run,
    Store,
    WorkersProcess,
    World,
    ask,
    eventually,
    published_keys,
    workers_environment,
)


@pytest.fixture(scope="package")
def home() -> Iterator[Path]:
    """A folder with the platform's own tokens."""
    with private_directory("idp-workers-") as folder:
        for name in ("forge-bot", "forge-agent", "gitops-agent-reader"):
            write_private_file(folder / f"{name}.token", secrets.token_urlsafe(32))
        yield folder


@pytest.fixture(scope="package")
def forge(home: Path) -> Iterator[Forge]:
    port = free_port()
    SigningKey.generate(ServiceName.LOCAL_FORGE).write(home / "local-forge.key.json")
    environment = {
        "IDP_LOCAL_FORGE_DATA_DIR": str(home / "forge"),
        "IDP_LOCAL_FORGE_PORT": str(port),
        "IDP_LOCAL_FORGE_SERVICE_KEY_FILE": str(home / "local-forge.key.json"),
        "IDP_LOCAL_FORGE_BOT_TOKEN_FILE": str(home / "forge-bot.token"),
        "IDP_LOCAL_FORGE_AGENT_TOKEN_FILE": str(home / "forge-agent.token"),
    }
    with child("local_stack.forge", environment, home):
        forge = Forge(f"http://{LOOPBACK}:{port}", (home / "forge-bot.token").read_text())
        eventually(lambda: _is_ready(forge.url), what="forge ready", within_seconds=90)
        yield forge


@pytest.fixture(scope="package")
def agent_url(home: Path, forge: Forge) -> Iterator[str]:
    """The real GitOps agent, looking at the forge: each time at all repositories of all tests, so
    not too often.
    """
    port = free_port()
    environment = {
        "IDP_LOCAL_GITOPS_AGENT_DATA_DIR": str(home / "agent"),
        "IDP_LOCAL_GITOPS_AGENT_PORT": str(port),
        "IDP_LOCAL_GITOPS_AGENT_FORGE_URL": forge.url,
        "IDP_LOCAL_GITOPS_AGENT_FORGE_TOKEN_FILE": str(home / "forge-agent.token"),
        "IDP_LOCAL_GITOPS_AGENT_READER_TOKEN_FILE": str(home / "gitops-agent-reader.token"),
        "IDP_LOCAL_GITOPS_AGENT_INTERVAL_SECONDS": "0.5",
    }
    with child("local_stack.agent", environment, home):
        url = f"http://{LOOPBACK}:{port}"
        eventually(lambda: _is_ready(url), what="agent ready", within_seconds=90)
        yield url


def _is_ready(url: str) -> bool:
    try:
        return ask("GET", f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="package")
def store(openbao_server: OpenBaoServer) -> Store:
    return Store(openbao_server)


@pytest.fixture(scope="package")
def harbor(home: Path) -> Iterator[Harbor]:
    write_private_file(home / "harbor.json", json.dumps(ACCOUNT))
    with Harbor() as harbor:
        yield harbor


@pytest.fixture(scope="package")
def world(
    home: Path,
    forge: Forge,
    store: Store,
    agent_url: str,
    postgres_server: PostgresServer,
    harbor: Harbor,
) -> Iterator[World]:
    key = SigningKey.generate("control-plane")
    database = postgres_server.create_database()
    migrate(database.url)
    applications = Applications(postgres_server.ensure_platform())
    (home / "failpoints").mkdir()
    with published_keys(key) as control_plane_url:
        environment, port = workers_environment(
            home=home,
            database_url=database.url,
            control_plane_url=control_plane_url,
            forge=forge,
            store=store,
            agent_url=agent_url,
            applications=applications,
            harbor_url=harbor.url,
        )
        workers = WorkersProcess(environment, port, home / "workers.log", home / "failpoints")
        try:
            workers.start()
            yield World(workers, key, forge, store, database.url, applications, harbor)
        finally:
            workers.stop()


@pytest.fixture
def appenv() -> AppEnv:
    return AppEnv()


@pytest.fixture
def run(world: World, appenv: AppEnv) -> Run:
    """A first run of a new request for the application environment."""
    return world.new_run(appenv)
