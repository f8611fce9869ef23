"""The service as a run sees it: a process of its own, real providers, signed run tokens."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from typing import IO, Any, LiteralString, TypeVar

import httpx
import psycopg
import pytest
from psycopg import sql
from sqlalchemy import create_engine, text

from idp_kernel.clock import SystemClock
from idp_kernel.failpoints import FAILPOINTS_DIR_VARIABLE
from idp_kernel.ids import new_id
from idp_kernel.services import LOOPBACK, SERVICE_SCOPES, Scope, ServiceName
from idp_kernel.tokens import SigningKey, issue_run_token, issue_service_token
from idp_kernel.wire.worker import UNDO_SUFFIX, appenv_repository_name
from idp_kernel.workflows import Step
from local_stack.postgres_setup import (
    APPLICATIONS_DATABASE,
    ISSUER_ROLE,
    PostgresAddress,
    connect_as_superuser,
)
from tests.fixtures.stack import STOP_TIMEOUT_SECONDS, OpenBaoServer, free_port
from tests.fixtures.vendors.harbor import Harbor

INSTALLATION = "test-installation"
READY_WITHIN_SECONDS = 90
Found = TypeVar("Found")
_NO_TLS = SSLContext(PROTOCOL_TLS_CLIENT)
"""Made once, as making one for each call takes longer than most calls."""
Json = dict[str, Any]


def eventually(look: Callable[[], Found | None], *, what: str, within_seconds: float = 20) -> Found:
    """The first true thing `look` finds."""
    give_up_at = time.monotonic() + within_seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < give_up_at, f"not within {within_seconds:g} s: {what}"
        time.sleep(0.02)


def ask(method: str, url: str, **more: Any) -> httpx.Response:
    """One call, without what the surroundings say of proxies, and without TLS."""
    return httpx.request(method, url, verify=_NO_TLS, trust_env=False, **more)


@contextmanager
def published_keys(key: SigningKey) -> Iterator[str]:
    """The one thing these tests need of a control plane: its keys at their address."""
    with answering(json.dumps({"keys": [key.public]}).encode()) as url:
        yield url


@contextmanager
def answering(document: bytes) -> Iterator[str]:
    """The address of a server that has the same answer for everybody."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(document)

        def log_message(self, *_arguments: object) -> None:
            """The workers' own log tells enough."""

    with ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{LOOPBACK}:{server.server_port}"
        server.shutdown()


@dataclass
class WorkersProcess:
    """execution-workers as a process that can be killed and started again at once; see
    `preloaded`.
    """

    environment: dict[str, str]
    port: int
    log: Path
    failpoints: Path
    loader: subprocess.Popen[bytes] | None = None
    process_id: int | None = None
    """None while it does not run."""

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        if self.loader is None:
            self.loader = self._load()
        assert self.loader.stdin is not None
        self.loader.stdin.write(b"\n")
        self.process_id = self._next_line()
        eventually(self._is_ready, what="workers ready", within_seconds=READY_WITHIN_SECONDS)

    def _load(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.integration.execution_workers.preloaded"],
                env={
                    "PATH": os.environ["PATH"],
                    FAILPOINTS_DIR_VARIABLE: str(self.failpoints),
                    **self.environment,
                },
                cwd=Path(__file__).parents[3],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
            )

    def _is_ready(self) -> bool:
        assert not self._has_ended_within(0), self.log.read_text()[-3000:]
        try:
            return ask("GET", f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        assert self.process_id is not None
        os.kill(self.process_id, signal.SIGKILL)
        self._next_line()
        self.process_id = None

    def restart(self) -> None:
        """Kills it where it stands."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """For good."""
        if self.process_id is not None:
            os.kill(self.process_id, signal.SIGTERM)
            if not self._has_ended_within(STOP_TIMEOUT_SECONDS):
                self.kill()
        if self.loader is not None:
            self.loader.communicate()

    def _has_ended_within(self, seconds: float) -> bool:
        """Whether its status is there to read."""
        return bool(select.select([self._loader_output], [], [], seconds)[0])

    def _next_line(self) -> int:
        line = self._loader_output.readline()
        assert line, self.log.read_text()[-3000:]
        return int(line)

    @property
    def _loader_output(self) -> IO[bytes]:
        assert self.loader is not None
        assert self.loader.stdout is not None
        return self.loader.stdout

    def arm(self, failpoint: str) -> Path:
        """The file that is there while the process stands still at the failpoint."""
        (self.failpoints / failpoint).touch()
        return self.failpoints / f"{failpoint}.hit"


@dataclass(frozen=True)
class Forge:
    """The forge as the platform's bot sees it."""

    url: str
    bot_token: str

    def request(self, method: str, path: str, body: Json | None = None) -> httpx.Response:
        return ask(
            method,
            f"{self.url}{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.bot_token}"},
        )

    def repository(self, owner: str, name: str) -> Json | None:
        answer = self.request("GET", f"/api/v1/repositories/{owner}/{name}")
        return answer.json() if answer.status_code == 200 else None

    def git(self, *arguments: str, cwd: Path | None = None) -> str:
        """Git with the bot's token, as the platform itself; raises when it fails."""
        ran = subprocess.run(
            [
                "git",
                "-c", f"http.extraHeader=Authorization: Bearer {self.bot_token}",
                "-c", "user.name=Somebody",
                "-c", "user.email=somebody@example.test",
                *arguments,
            ],
            cwd=cwd,
            env={"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1",
                 "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def clone(self, owner: str, name: str, folder: Path) -> Path:
        target = folder / new_id()
        self.git("clone", "--quiet", f"{self.url}/{owner}/{name}.git", str(target))
        return target

    def push_file(self, owner: str, name: str, folder: Path, path: str, content: str) -> str:
        """A commit on main that is not the platform's, such as a merged change; its revision."""
        clone = self.clone(owner, name, folder)
        (clone / path).parent.mkdir(parents=True, exist_ok=True)
        (clone / path).write_text(content)
        self.git("add", "-A", cwd=clone)
        self.git("commit", "--quiet", "-m", "A person's change", cwd=clone)
        self.git("push", "--quiet", "origin", "HEAD:refs/heads/main", cwd=clone)
        return self.git("rev-parse", "HEAD", cwd=clone).strip()


@dataclass(frozen=True)
class Store:
    """OpenBao as its root sees it."""

    server: OpenBaoServer

    def request(
        self, method: str, path: str, body: Json | None = None, *, token: str | None = None
    ) -> httpx.Response:
        return ask(
            method,
            f"{self.server.url}/v1/{path}",
            json=body,
            headers={"X-Vault-Token": token or self.server.root_token},
        )

    def metadata(self, path: str) -> Json | None:
        answer = self.request("GET", f"kv/metadata/{path}")
        return answer.json()["data"] if answer.status_code == 200 else None

    def value(self, path: str) -> str:
        return str(self.content(path)["value"])

    def content(self, path: str, version: int = 0) -> Json:
        """What a version holds, the newest for 0."""
        answer = self.request("GET", f"kv/data/{path}?version={version}")
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()["data"]["data"]
        return found

    def live_versions(self, path: str) -> list[int]:
        metadata = self.metadata(path)
        return [
            int(number)
            for number, facts in ({} if metadata is None else metadata["versions"]).items()
            if not facts["destroyed"] and not facts["deletion_time"]
        ]

    def log_in(self, role: str, jwt: str) -> httpx.Response:
        """A person's login, as the control plane signed it, for a token of the store."""
        return self.request("POST", "auth/jwt/login", {"role": role, "jwt": jwt})

    def token_of_team(self, team: str) -> str:
        """What a member of the team would hold."""
        body = {"policies": [f"team-{team}"], "ttl": "5m", "no_default_policy": True}
        answer = self.request("POST", "auth/token/create", body)
        return str(answer.json()["auth"]["client_token"])


@dataclass(frozen=True)
class Applications:
    """The database with the applications' logins, as its superuser and as its users see it."""

    address: PostgresAddress

    @property
    def issuer_url(self) -> str:
        return self.address.url(ISSUER_ROLE, APPLICATIONS_DATABASE)

    def roles(self, secret_id: str) -> dict[str, bool]:
        """The login roles of a secret, and whether each can log in."""
        query = "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname LIKE %s"
        pattern = f"idp\\_{secret_id.replace('-', '')}\\__"
        with closing(connect_as_superuser(self.address, APPLICATIONS_DATABASE)) as connection:
            return {str(name): bool(can) for name, can in connection.execute(query, [pattern])}

    def execute(self, statement: LiteralString, role: str) -> None:
        """What somebody does to a role by hand."""
        with closing(connect_as_superuser(self.address, APPLICATIONS_DATABASE)) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(role)))

    def log_in(self, value: Json) -> psycopg.Connection[Any]:
        """A session of whoever has this version of a secret; raises when it is refused."""
        return psycopg.connect(
            host=value["host"], port=value["port"], dbname=value["database"],
            user=value["username"], password=value["password"],
            connect_timeout=5, autocommit=True,
        )  # fmt: skip

    def lets_in(self, value: Json) -> bool:
        try:
            self.log_in(value).close()
        except psycopg.OperationalError:
            return False
        return True


@dataclass(frozen=True)
class World:
    """The workers and what stands around them."""

    workers: WorkersProcess
    key: SigningKey
    forge: Forge
    store: Store
    database_url: str
    applications: Applications
    harbor: Harbor

    def lets_in(self, content: Json) -> bool:
        """Whether whoever has this version of a secret gets in with it."""
        if "registry" in content:
            return self.harbor.lets_in(content["username"], content["password"])
        return bool(content.get("value")) or self.applications.lets_in(content)

    def new_run(self, appenv: AppEnv) -> Run:
        return Run(self, appenv)

    def lock_waiters(self) -> int:
        """How many calls wait for another."""
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        engine = create_engine(self.database_url)
        try:
            with engine.connect() as connection:
                return int(connection.execute(text(waiting)).scalar_one())
        finally:
            engine.dispose()

    def service_token(self, *scopes: Scope) -> str:
        now = SystemClock().now()
        service = ServiceName.WORKFLOW_ENGINE
        return issue_service_token(
            self.key,
            service,
            frozenset(scopes) or SERVICE_SCOPES[service],
            now=now,
            until=now + timedelta(minutes=5),
        )

    def metrics(self, accept: str = "*/*") -> str:
        return ask("GET", f"{self.workers.url}/metrics", headers={"Accept": accept}).text


@dataclass(frozen=True)
class AppEnv:
    """An application environment that no other test has, and what it shall have."""

    id: str = field(default_factory=new_id)
    repository_id: str = field(default_factory=new_id)
    secret_id: str = field(default_factory=new_id)
    binding_id: str = field(default_factory=new_id)
    application_id: str = field(default_factory=new_id)
    code_repository_id: str = field(default_factory=new_id)
    deployment_repository_id: str = field(default_factory=new_id)
    issuer: str = "openbao"
    """Of the secret."""
    secret_name: str = "app-key"
    store_path: str = ""
    """Of the secret, if it is another application environment's."""
    team: str = field(default_factory=lambda: f"team-x{new_id()[-12:]}")

    @property
    def subject(self) -> Json:
        return {
            "applicationEnvironmentId": self.id,
            "team": self.team,
            "application": "shop",
            "environment": "dev",
        }

    @property
    def application_subject(self) -> Json:
        return {
            "applicationId": self.application_id,
            "team": self.team,
            "application": "shop",
        }

    @property
    def code_repository(self) -> Json:
        return {
            "repositoryId": self.code_repository_id,
            "kind": "code",
            "owner": self.team,
            "name": "shop",
        }

    @property
    def deployment_repository(self) -> Json:
        return {
            "repositoryId": self.deployment_repository_id,
            "kind": "deployment",
            "owner": self.team,
            "name": "shop-deploy",
        }

    @property
    def repository_name(self) -> str:
        return appenv_repository_name(self.id)

    @property
    def repository(self) -> Json:
        return {
            "repositoryId": self.repository_id,
            "owner": self.team,
            "name": self.repository_name,
            "description": "The shop in dev",
            "defaultBranch": "main",
        }

    @property
    def secret(self) -> Json:
        return {
            "secretId": self.secret_id,
            "name": self.secret_name,
            "purpose": "runtime",
            "sensitivity": "medium",
            "issuer": self.issuer,
        }

    @property
    def secret_path(self) -> str:
        return self.store_path or f"teams/{self.team}/appenv/{self.id}/{self.secret_name}"

    def binding(self, version: int = 1) -> Json:
        return {
            "bindingId": self.binding_id,
            "secretId": self.secret_id,
            "name": self.secret_name,
            "issuer": self.issuer,
            "storePath": self.secret_path,
            "version": version,
        }

    def rotated(self, **more: object) -> Json:
        """What every call of a rotation says, and what one says beside it."""
        target = {
            "bindingId": self.binding_id,
            "name": self.secret_name,
            "subject": self.subject,
            "repository": self.repository,
        }
        return {
            "subject": self.subject,
            "secret": self.secret,
            "storePath": self.secret_path,
            "bindings": [target],
            **more,
        }


@dataclass(frozen=True)
class Run:
    """A run of one request, with a token of its own."""

    world: World
    appenv: AppEnv
    request_id: str = field(default_factory=new_id)
    generation: int = 1
    fence: int = 1
    lifetime: timedelta = timedelta(minutes=5)
    age: timedelta = timedelta(0)
    deadline: datetime | None = None
    """None: as far away as that of a request that has just begun."""

    def with_(self, **changes: Any) -> Run:
        return replace(self, **changes)

    @property
    def token(self) -> str:
        now = SystemClock().now() - self.age
        return issue_run_token(
            self.world.key,
            request_id=self.request_id,
            run_id=new_id(),
            attempt=1,
            generation=self.generation,
            fence=self.fence,
            team_id=new_id(),
            team=self.appenv.team,
            now=now,
            until=now + self.lifetime,
            deadline=self.deadline or now + timedelta(minutes=30),
        )

    def key(self, step: Step, *, undo: bool = False) -> str:
        return f"{self.request_id}/{self.generation}/{step}" + (UNDO_SUFFIX if undo else "")

    def post(
        self, path: str, body: Any, key: str | None, *, token: str | None = None
    ) -> httpx.Response:
        """A call as it stands; `key=None` sends none."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        return ask(
            "POST",
            f"{self.world.workers.url}{path}",
            json=body,
            headers=headers,
            timeout=60,
        )

    def check(self, path: str, items: list[Json], *, token: str | None = None) -> httpx.Response:
        """A check, which belongs to no request, as the engine asks for it."""
        return ask(
            "POST",
            f"{self.world.workers.url}{path}",
            json={"items": items},
            headers={"Authorization": f"Bearer {token or self.world.service_token()}"},
            timeout=60,
        )

    def raise_fence(self) -> httpx.Response:
        return self.post("/fences", {}, None)

    def close_fence(self) -> httpx.Response:
        """As a run does that ends before its work is done."""
        return self.post("/fences", {"closing": True}, None)


@contextmanager
def in_background(call: Callable[[], httpx.Response]) -> Iterator[Future[httpx.Response]]:
    """The call's answer, later; whatever it is, the block waits for it."""
    with ThreadPoolExecutor(1) as executor:
        yield executor.submit(call)


def killed_at(
    world: World,
    place: str,
    call: Callable[[], httpx.Response],
    while_it_stands: Callable[[], None] = lambda: None,
) -> None:
    """The call, ended by kill -9 at the failpoint; the workers run again then."""
    hit = world.workers.arm(place)
    with in_background(call) as without_answer:
        eventually(hit.exists, what=f"{place} reached")
        while_it_stands()
        world.workers.restart()
    hit.unlink()
    assert isinstance(without_answer.exception(), httpx.TransportError)


def for_long(*values: object) -> Any:
    """A parameter of the longest run, `make nightly`: one more of what is tried with others in each
    run of the tests.
    """
    return pytest.param(*values, marks=pytest.mark.nightly)


def workers_environment(
    *,
    home: Path,
    database_url: str,
    control_plane_url: str,
    forge: Forge,
    store: Store,
    agent_url: str,
    applications: Applications,
    harbor_url: str,
) -> tuple[dict[str, str], int]:
    """The settings of a workers process, and its port."""
    port = free_port()
    prefix = "IDP_EXECUTION_WORKERS_"
    settings = {
        "PORT": str(port),
        "DATABASE_URL": database_url,
        "CONTROL_PLANE_URL": control_plane_url,
        "INSTALLATION_ID": INSTALLATION,
        "FORGE_URL": forge.url,
        "FORGE_TOKEN_FILE": str(home / "forge-bot.token"),
        "OPENBAO_URL": store.server.url,
        "OPENBAO_APPROLE_FILE": str(store.server.workers_file),
        "POSTGRES_ISSUER_URL": applications.issuer_url,
        "HARBOR_URL": harbor_url,
        "HARBOR_CREDENTIALS_FILE": str(home / "harbor.json"),
        "GITOPS_AGENT_URL": agent_url,
        "GITOPS_AGENT_TOKEN_FILE": str(home / "gitops-agent-reader.token"),
        "ITEM_WAIT_SECONDS": "20",
        "DRAIN_WAIT_SECONDS": "20",
    }
    return {prefix + name: value for name, value in settings.items()}, port
