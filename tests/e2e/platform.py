"""The whole platform as its users have it: `idp up` in a folder of its own, seen from outside.

Nothing here imports a service: commands go over HTTP, git and the command line, and what became of
them is asked of the forge, the secret store and the GitOps agent, not of the platform's tables.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from idp_kernel.failpoints import FAILPOINTS_DIR_VARIABLE
from idp_kernel.ids import new_id
from idp_kernel.services import DEFAULT_PORTS, LOOPBACK
from idp_kernel.wire.agent import RECONCILIATION

IDP = Path(sys.executable).with_name("idp")
READY_WITHIN_SECONDS = 90
STOPPED_WITHIN_SECONDS = 60
ENDS_WITHIN_SECONDS = 60
ENDED = {"succeeded", "failed", "cancelled", "timed_out"}

Found = TypeVar("Found")


def eventually(
    look: Callable[[], Found | None], *, within_seconds: float = ENDS_WITHIN_SECONDS, what: str
) -> Found:
    """The first true thing `look` finds; fails with `what` when the time is over."""
    give_up_at = time.monotonic() + within_seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > give_up_at:
            raise AssertionError(f"not within {within_seconds:g} s: {what}")
        time.sleep(0.05)


def minimal_environment(**more: str) -> dict[str, str]:
    """What a bare shell has, so that nothing of the tests' own surroundings helps."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "LANG": "C.UTF-8", **more}


@dataclass
class Subject:
    """An application in an active team, ready to be given environments."""

    team: str
    application: str
    application_id: str
    environment: str


@dataclass
class Platform:
    """A running platform."""

    home: Path
    port_offset: int
    failpoints: Path
    process: subprocess.Popen[str]
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30))

    def url(self, port: int, path: str = "") -> str:
        return f"http://{LOOPBACK}:{port + self.port_offset}{path}"

    @property
    def forge_url(self) -> str:
        return self.url(DEFAULT_PORTS.local_forge)

    @property
    def admin_token(self) -> str:
        return (self.home / "keys" / "admin.token").read_text().strip()

    # ---------------------------------------------------------------- the API

    def api(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        key: str | None = None,
    ) -> httpx.Response:
        """One call of the public API, as the first admin unless a token is given."""
        return self.client.request(
            method,
            self.url(DEFAULT_PORTS.control_plane_api, path),
            json=body,
            headers={
                "Authorization": f"Bearer {token or self.admin_token}",
                **({"Idempotency-Key": key or new_id()} if method == "POST" else {}),
            },
        )

    def ok(self, method: str, path: str, body: object = None, **options: Any) -> Any:
        """The decoded answer of a call that must go well."""
        answer = self.api(method, path, body, **options)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def new_subject(self) -> Subject:
        """A team, an environment and an application that no other test has."""
        mark = new_id().replace("-", "")[-10:]
        subject = Subject(f"team-x{mark}", f"shop-x{mark}", "", f"dev-x{mark}")
        self.ok("POST", "/v1/teams", {"slug": subject.team, "displayName": "A team"})
        self.ok("POST", f"/v1/teams/{subject.team}/activate")
        self.ok("POST", "/v1/environments", {"slug": subject.environment})
        self.ok("POST", f"/v1/environments/{subject.environment}/activate")
        application = {"team": subject.team, "slug": subject.application}
        subject.application_id = self.ok("POST", "/v1/applications", application)["id"]
        return subject

    def new_member(self, subject: Subject, role: str) -> str:
        """A token of a new person with that role in the subject's team."""
        principal = f"{role}-{new_id()[-12:]}"
        member = {"principal": principal, "role": role}
        self.ok("POST", f"/v1/teams/{subject.team}/members", member)
        token = self.ok("POST", "/v1/tokens", {"principal": principal})
        return str(token["token"])

    def provision(self, subject: Subject) -> dict[str, Any]:
        """The `202` of a provisioning."""
        answer = self.api(
            "POST",
            f"/v1/applications/{subject.application_id}/environments",
            {"environment": subject.environment},
        )
        assert answer.status_code == 202, answer.text
        accepted: dict[str, Any] = answer.json()
        return accepted

    def request(self, request_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ok("GET", f"/v1/workflow-requests/{request_id}")
        return found

    def ended(self, request_id: str, within_seconds: float = ENDS_WITHIN_SECONDS) -> dict[str, Any]:
        """The request once it has ended, outages of the API on the way notwithstanding."""

        def look() -> dict[str, Any] | None:
            try:
                answer = self.api("GET", f"/v1/workflow-requests/{request_id}")
            except httpx.TransportError:
                return None
            if answer.status_code != 200 or answer.json()["state"] not in ENDED:
                return None
            request: dict[str, Any] = answer.json()
            return request

        return eventually(look, within_seconds=within_seconds, what=f"request {request_id} ended")

    # ------------------------------------------------------- what it stands on

    def openbao(self, path: str, token: str) -> httpx.Response:
        return self.client.get(
            self.url(DEFAULT_PORTS.openbao, f"/v1/{path}"), headers={"X-Vault-Token": token}
        )

    @property
    def openbao_root_token(self) -> str:
        document = json.loads((self.home / "keys" / "openbao-init.json").read_text())
        return str(document["root_token"])

    def openbao_team_token(self, team: str) -> str:
        """A store token with one team's policy, as a member of that team would hold."""
        answer = self.client.post(
            self.url(DEFAULT_PORTS.openbao, "/v1/auth/token/create"),
            json={"policies": [f"team-{team}"], "ttl": "5m", "no_default_policy": True},
            headers={"X-Vault-Token": self.openbao_root_token},
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["auth"]["client_token"])

    def reconciliation(self, owner: str, name: str) -> dict[str, Any]:
        token = (self.home / "keys" / "gitops-agent-reader.token").read_text().strip()
        answer = self.client.get(
            self.url(
                DEFAULT_PORTS.local_gitops_agent, RECONCILIATION.format(owner=owner, name=name)
            ),
            headers={"Authorization": f"Bearer {token}"},
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def git(
        self, *arguments: str, token: str, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Real git as a developer types it, with a platform token as the password."""
        return subprocess.run(
            [
                "git",
                "-c",
                'credential.helper=!f() { echo username=dev; echo "password=$IDP_TOKEN"; }; f',
                "-c", "user.name=Dev",
                "-c", "user.email=dev@example.test",
                *arguments,
            ],
            cwd=cwd,
            env=minimal_environment(
                IDP_TOKEN=token, GIT_TERMINAL_PROMPT="0", GIT_CONFIG_NOSYSTEM="1"
            ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )  # fmt: skip

    def idp(self, *arguments: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
        """The command line, from a bare shell."""
        return subprocess.run(
            [str(IDP), *arguments],
            env=minimal_environment(
                IDP_HOME=str(self.home),
                IDP_API_URL=self.url(DEFAULT_PORTS.control_plane_api),
                IDP_FORGE_URL=self.forge_url,
                **({"IDP_TOKEN": token} if token else {}),
            ),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    # ------------------------------------------------------------- breaking it

    def arm(self, failpoint: str) -> Path:
        """The next process to reach the failpoint stands still there."""
        (self.failpoints / failpoint).touch()
        return self.failpoints / f"{failpoint}.hit"

    def kill_at(self, failpoint: str, within_seconds: float = 30) -> int:
        """Kills, with no chance to say anything, whoever stands at an armed failpoint."""
        hit = self.failpoints / f"{failpoint}.hit"
        eventually(hit.exists, within_seconds=within_seconds, what=f"failpoint {failpoint} hit")
        pid = int(hit.read_text())
        os.kill(pid, signal.SIGKILL)
        hit.unlink()
        return pid

    def processes(self) -> list[psutil.Process]:
        """Everything this platform has running, however it was started."""
        return [each for each in psutil.process_iter() if _belongs_to(each, self.home)]

    def pid_of(self, program: str) -> int:
        """The process id the supervisor knows a program by."""
        ran = self.idp("status", "--output", "json")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return next(int(each["pid"]) for each in json.loads(ran.stdout) if each["name"] == program)

    def kill(self, program: str) -> None:
        os.kill(self.pid_of(program), signal.SIGKILL)

    def stop(self) -> int:
        """Ctrl-C, and the exit code it leads to."""
        self.client.close()
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOPPED_WITHIN_SECONDS)


def _belongs_to(process: psutil.Process, home: Path) -> bool:
    try:
        told = " ".join([*process.cmdline(), *process.environ().values(), process.cwd()])
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False
    return process.pid != os.getpid() and str(home) in told


@contextmanager
def running_platform(folder: Path, port_offset: int) -> Iterator[Platform]:
    """`idp up`, ready, and stopped at the end, with nothing left; repeatable in one folder."""
    home, failpoints, log = folder / "idp", folder / "failpoints", folder / "up.log"
    failpoints.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(IDP), "up", "--home", str(home), "--port-offset", str(port_offset)],
            env=minimal_environment(**{FAILPOINTS_DIR_VARIABLE: str(failpoints)}),
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    platform = Platform(home, port_offset, failpoints, process)
    try:
        _wait_ready(platform, log)
        yield platform
    finally:
        ended = platform.stop()
    assert ended == 0, log.read_text()
    assert platform.processes() == []


def _wait_ready(platform: Platform, log: Path) -> None:
    def look() -> bool:
        assert platform.process.poll() is None, f"`idp up` ended:\n{log.read_text()}"
        return log.read_text().rpartition("\n")[0].rpartition("\n")[2].startswith("Ready in ")

    eventually(look, within_seconds=READY_WITHIN_SECONDS, what=f"`idp up` ready; see {log}")
