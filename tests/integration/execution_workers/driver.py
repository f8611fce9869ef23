"""The service as a run sees it: a process of its own, real providers, signed run tokens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import httpx
from sqlalchemy import create_engine, text

from idp_kernel.clock import SystemClock
from idp_kernel.failpoints import FAILPOINTS_DIR_VARIABLE
from idp_kernel.ids import new_id
from idp_kernel.services import LOOPBACK
from idp_kernel.tokens import SigningKey, issue_run_token
from idp_kernel.wire.worker import UNDO_SUFFIX, appenv_repository_name
from idp_kernel.workflows import Step
from tests.fixtures.stack import OpenBaoServer, end, free_port

INSTALLATION = "test-installation"
READY_WITHIN_SECONDS = 30
Found = TypeVar("Found")
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
    """execution-workers as a child process that can be killed and started again."""

    environment: dict[str, str]
    port: int
    log: Path
    failpoints: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "execution_workers.main"],
                env={
                    "PATH": os.environ["PATH"],
                    FAILPOINTS_DIR_VARIABLE: str(self.failpoints),
                    **self.environment,
                },
                cwd=Path(__file__).parents[3],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        eventually(self._is_ready, what="workers ready", within_seconds=READY_WITHIN_SECONDS)

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None:
            end(self.process, signal.SIGTERM)

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
        return httpx.request(
            method,
            f"{self.url}{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.bot_token}"},
            trust_env=False,
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
        return httpx.request(
            method,
            f"{self.server.url}/v1/{path}",
            json=body,
            headers={"X-Vault-Token": token or self.server.root_token},
            trust_env=False,
        )

    def metadata(self, path: str) -> Json | None:
        answer = self.request("GET", f"kv/metadata/{path}")
        return answer.json()["data"] if answer.status_code == 200 else None

    def value(self, path: str) -> str:
        return str(self.request("GET", f"kv/data/{path}").json()["data"]["data"]["value"])

    def token_of_team(self, team: str) -> str:
        """What a member of the team would hold."""
        body = {"policies": [f"team-{team}"], "ttl": "5m", "no_default_policy": True}
        answer = self.request("POST", "auth/token/create", body)
        return str(answer.json()["auth"]["client_token"])


@dataclass(frozen=True)
class World:
    """The workers and what stands around them."""

    workers: WorkersProcess
    key: SigningKey
    forge: Forge
    store: Store
    database_url: str

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

    def metrics(self) -> str:
        return httpx.get(f"{self.workers.url}/metrics", trust_env=False).text


@dataclass(frozen=True)
class AppEnv:
    """An application environment that no other test has, and what it shall have."""

    id: str = field(default_factory=new_id)
    repository_id: str = field(default_factory=new_id)
    secret_id: str = field(default_factory=new_id)
    binding_id: str = field(default_factory=new_id)
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
            "name": "app-key",
            "purpose": "runtime",
            "sensitivity": "medium",
        }

    @property
    def secret_path(self) -> str:
        return f"teams/{self.team}/appenv/{self.id}/app-key"

    def binding(self, version: int = 1) -> Json:
        return {
            "bindingId": self.binding_id,
            "secretId": self.secret_id,
            "name": "app-key",
            "storePath": self.secret_path,
            "version": version,
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
        return httpx.post(
            f"{self.world.workers.url}{path}",
            json=body,
            headers=headers,
            timeout=60,
            trust_env=False,
        )

    def raise_fence(self) -> httpx.Response:
        return self.post("/fences", {}, None)


@contextmanager
def in_background(call: Callable[[], httpx.Response]) -> Iterator[Future[httpx.Response]]:
    """The call's answer, later; whatever it is, the block waits for it."""
    with ThreadPoolExecutor(1) as executor:
        yield executor.submit(call)


def workers_environment(
    *,
    home: Path,
    database_url: str,
    control_plane_url: str,
    forge: Forge,
    store: Store,
    agent_url: str,
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
        "GITOPS_AGENT_URL": agent_url,
        "GITOPS_AGENT_TOKEN_FILE": str(home / "gitops-agent-reader.token"),
        "ITEM_WAIT_SECONDS": "20",
        "DRAIN_WAIT_SECONDS": "20",
    }
    return {prefix + name: value for name, value in settings.items()}, port
