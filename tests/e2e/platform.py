"""The whole platform as its users have it: `idp up` in a folder of its own, seen from outside.

Nothing here imports a service: commands go over HTTP, git and the command line, and what became of
them is asked of the forge, the secret store and the GitOps agent, not of the platform's tables. Who
the processes are is asked of their supervisor.
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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import pytest

from idp_cli.commands.platform import shown_state
from idp_cli.supervision.embedded import Embedded
from idp_cli.supervision.home import Home
from idp_cli.supervision.ports import shifted_ports
from idp_cli.supervision.remote import ProcessState, SupervisorRemote
from idp_kernel.failpoints import FAILPOINTS_DIR_VARIABLE
from idp_kernel.ids import new_id
from idp_kernel.services import DEFAULT_PORTS, LOOPBACK
from idp_kernel.wire.agent import RECONCILIATION
from idp_kernel.workflows import Step, Workflow
from tests.fixtures.otlp import OtlpSink, otlp_sink

IDP = Path(sys.executable).with_name("idp")
READY_WITHIN_SECONDS = 400
"""On a machine that has much else to do; else it takes less than a tenth of that."""
STOPPED_WITHIN_SECONDS = 180
"""It may take 55 until it kills what does not end."""
ENDS_WITHIN_SECONDS = 180
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 0.5
"""Between two looks, at first and in the end."""
SERVER_PORTS = (
    DEFAULT_PORTS.control_plane_api,
    DEFAULT_PORTS.execution_workers,
    DEFAULT_PORTS.metrics_exporter,
    DEFAULT_PORTS.local_forge,
    DEFAULT_PORTS.local_gitops_agent,
    DEFAULT_PORTS.local_consumer,
)
"""The platform's own servers; each has health, readiness and metrics."""
ENDED = {"succeeded", "failed", "cancelled", "timed_out"}
STORE_HEALTH = (DEFAULT_PORTS.openbao, "/v1/sys/health")
"""Answers 200 once it is unsealed."""

Found = TypeVar("Found")


def eventually(
    look: Callable[[], Found | None], *, within_seconds: float = ENDS_WITHIN_SECONDS, what: str
) -> Found:
    """The first true thing `look` finds; fails with `what` when the time is over."""
    began = time.monotonic()
    while True:
        found = look()
        if found:
            return found
        passed = time.monotonic() - began
        if passed > within_seconds:
            raise AssertionError(f"not within {within_seconds:g} s: {what}")
        # What takes longer may be seen later, and the platform has the machine meanwhile.
        time.sleep(min(_LONGEST_PAUSE_SECONDS, _PAUSE_SECONDS + passed / 20))


def all_but_one_for_long(workflow: Workflow, often: Step) -> list[Any]:
    """Every step of a workflow as a parameter: `often` where the others of the file are, the others
    in the longest run, `make nightly`.
    """
    return [
        pytest.param(step, marks=() if step is often else pytest.mark.nightly)
        for step in workflow.steps
    ]


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


def _mark() -> str:
    return new_id().replace("-", "")[-10:]


@dataclass
class Platform:
    """A running platform."""

    home: Path
    port_offset: int
    failpoints: Path
    process: subprocess.Popen[str]
    otlp: OtlpSink
    """The collector that every process sends its spans to."""
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
                **({"Idempotency-Key": key or new_id()} if method in ("POST", "PUT") else {}),
            },
        )

    def ok(self, method: str, path: str, body: object = None, **options: Any) -> Any:
        """The decoded answer of a call that must go well."""
        answer = self.api(method, path, body, **options)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def new_subject(self, team: str | None = None) -> Subject:
        """A team with an onboarded application, and an environment, that no other test has; the
        team of that name, where the platform is told something of it.
        """
        mark = _mark()
        team = team or f"team-x{mark}"
        self.ok("POST", "/v1/teams", {"slug": team, "displayName": "A team"})
        self.ok("POST", f"/v1/teams/{team}/activate")
        application = {"team": team, "slug": f"shop-x{mark}"}
        accepted = self.ok("POST", "/v1/applications", application)
        assert self.ended(accepted["requestId"])["state"] == "succeeded"
        onboarded = Subject(team, application["slug"], accepted["applicationId"], "")
        return self.with_new_environment(onboarded)

    def with_new_environment(self, subject: Subject) -> Subject:
        """The same application, to be given an environment that no other test has."""
        return replace(subject, environment=self.new_environment())

    def new_environment(self) -> str:
        """The slug of an active environment that no other test has."""
        slug = f"dev-x{_mark()}"
        self.ok("POST", "/v1/environments", {"slug": slug})
        self.ok("POST", f"/v1/environments/{slug}/activate")
        return slug

    def new_member(self, subject: Subject, role: str) -> str:
        """A token of a new person with that role in the subject's team."""
        principal = f"{role}-{new_id()[-12:]}"
        member = {"principal": principal, "role": role}
        self.ok("POST", f"/v1/teams/{subject.team}/members", member)
        token = self.ok("POST", "/v1/tokens", {"principal": principal})
        return str(token["token"])

    def provision(self, subject: Subject, *secrets: dict[str, str]) -> dict[str, Any]:
        """The `202` of a provisioning; with the default secret unless others are named."""
        body = {"environment": subject.environment, **({"secrets": secrets} if secrets else {})}
        path = f"/v1/applications/{subject.application_id}/environments"
        accepted: dict[str, Any] = self.ok("POST", path, body)
        return accepted

    def provisioned(self, subject: Subject, *secrets: dict[str, str]) -> dict[str, Any]:
        """The application environment once it is there."""
        request = self.ended(self.provision(subject, *secrets)["requestId"])
        assert request["state"] == "succeeded", request
        appenv_id = request["applicationEnvironmentId"]
        appenv: dict[str, Any] = self.ok("GET", f"/v1/application-environments/{appenv_id}")
        return appenv

    def rotate(self, secret_id: str, **body: Any) -> dict[str, Any]:
        """The `202` of a rotation."""
        accepted: dict[str, Any] = self.ok("POST", f"/v1/secrets/{secret_id}/rotation", body)
        return accepted

    def set_grace(self, secret_id: str, seconds: int) -> None:
        self.ok("PUT", f"/v1/secrets/{secret_id}/rotation-policy", {"graceSeconds": seconds})

    def secret(self, secret_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ok("GET", f"/v1/secrets/{secret_id}")
        return found

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

        try:
            return eventually(
                look, within_seconds=within_seconds, what=f"request {request_id} ended"
            )
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self._account_of(request_id)}") from None

    def _account_of(self, request_id: str) -> str:
        """All that tells why a request does not get on."""
        asked = (("request", "show", request_id), ("status",), ("doctor",))
        armed = sorted(each.name for each in self.failpoints.iterdir())
        told = [f"$ idp {' '.join(each)}\n{_said(self.idp(*each))}" for each in asked]
        return "\n".join([*told, f"failpoints: {armed}"])

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

    def disarm(self) -> None:
        """Lets go on whatever stands still, and all that comes after it."""
        for each in self.failpoints.iterdir():
            each.unlink(missing_ok=True)

    def kill_at(self, failpoint: str, within_seconds: float = ENDS_WITHIN_SECONDS) -> int:
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

    def pids(self) -> dict[str, int | None]:
        """Every program with its process id; none while the supervisor starts it again."""
        told = SupervisorRemote(Home.at(self.home).socket).processes()
        return {name: each.pid for name, each in told.items()}

    def pid_of(self, program: str) -> int:
        """The process id the supervisor knows a running program by."""
        pid = self.pids()[program]
        assert pid is not None, f"{program} does not run"
        return pid

    def kill(self, program: str) -> None:
        os.kill(self.pid_of(program), signal.SIGKILL)

    def await_ready(self) -> None:
        """Until every program can do its work again, whatever was killed before."""
        ways = [*((port, "/readyz") for port in SERVER_PORTS), STORE_HEALTH]
        eventually(lambda: all(self._is_ready(*way) for way in ways), what="every server is ready")
        eventually(self._runs, what="every program runs")

    def _runs(self) -> bool:
        """As `idp status` sees it."""
        home = Home.at(self.home)
        infos = SupervisorRemote(home.socket).processes()
        states = {
            each.name: shown_state(each, infos[each.name])
            for each in Embedded(home, shifted_ports(self.port_offset)).programs()
            if not each.is_one_shot
        }
        given_up = [name for name, state in states.items() if state is ProcessState.FATAL]
        assert not given_up, f"{given_up} of {self.home} were given up"
        return all(state is ProcessState.RUNNING for state in states.values())

    def _is_ready(self, port: int, path: str) -> bool:
        try:
            return self.client.get(self.url(port, path)).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> int:
        """Ctrl-C, and the exit code it leads to."""
        self.client.close()
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOPPED_WITHIN_SECONDS)


def _said(ran: subprocess.CompletedProcess[str]) -> str:
    return ran.stdout + ran.stderr


def _belongs_to(process: psutil.Process, home: Path) -> bool:
    try:
        told = " ".join([*process.cmdline(), *process.environ().values(), process.cwd()])
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False
    return process.pid != os.getpid() and str(home) in told


@contextmanager
def running_platform(folder: Path, port_offset: int, **settings: str) -> Iterator[Platform]:
    """`idp up`, ready, and stopped at the end, with nothing left; repeatable in one folder.

    `settings` are variables that the platform itself leaves to whoever starts it.
    """
    home, failpoints, log = folder / "idp", folder / "failpoints", folder / "up.log"
    failpoints.mkdir(parents=True, exist_ok=True)
    with otlp_sink() as otlp:
        with log.open("w") as output:
            process = subprocess.Popen(
                [
                    *(str(IDP), "up", "--home", str(home), "--port-offset", str(port_offset)),
                    *("--otlp-endpoint", otlp.url),
                ],
                env=minimal_environment(**{FAILPOINTS_DIR_VARIABLE: str(failpoints), **settings}),
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        platform = Platform(home, port_offset, failpoints, process, otlp)
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
