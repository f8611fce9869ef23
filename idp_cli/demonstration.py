"""The story `idp demo` tells: a team, an application, an environment, and proof that it stands."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.markup import escape

from idp_cli.api import (
    APPLICATIONS,
    ENVIRONMENT_MOVE,
    ENVIRONMENTS,
    ENVIRONMENTS_OF_APPLICATION,
    TEAM_MOVE,
    TEAMS,
)
from idp_cli.commands.application_environments import get_environment
from idp_cli.commands.requests import follow, say_failure
from idp_cli.invocation import Invocation
from idp_cli.output import facts_table, program_word
from idp_cli.step_view import step_table
from idp_cli.supervision.keys import AGENT_READER_TOKEN
from idp_kernel.services import LOOPBACK, ServiceName
from idp_kernel.wire.agent import RECONCILIATION, Reconciliation
from idp_kernel.wire.api import (
    Application,
    ApplicationEnvironment,
    CreateEnvironment,
    CreateTeam,
    DeclareSecret,
    Environment,
    ProvisionEnvironment,
    RegisterApplication,
    RequestAccepted,
    Team,
    WorkflowRequest,
)
from idp_kernel.wire.worker import SecretPurpose, SecretSensitivity
from idp_kernel.workflows import RequestState, Step

ENVIRONMENT = "dev"
APPLICATION = "shop"
SECRETS = (
    DeclareSecret(name="app-key"),
    DeclareSecret(
        name="payment-gateway",
        purpose=SecretPurpose.EXTERNAL_INTEGRATION,
        sensitivity=SecretSensitivity.HIGH,
    ),
)
ACTIVE = "Active"


@dataclass(frozen=True)
class Proof:
    """What stands after the request, as the platform and the GitOps agent tell it."""

    environment: ApplicationEnvironment
    bindings_revision: str | None
    """The commit that the step `create_secret_bindings` reported."""
    observed_revision: str | None
    """What the GitOps agent itself says; for another machine's platform, the API's word for it."""

    def complaints(self) -> Iterator[str]:
        """What is not as it should be."""
        if self.environment.state != ACTIVE:
            yield f"the environment is {self.environment.state}, not {ACTIVE}"
        if self.bindings_revision is None or self.environment.revision != self.bindings_revision:
            yield "the environment's revision is not the commit with the bindings"
        if self.observed_revision != self.bindings_revision:
            yield "the GitOps agent has not observed the commit with the bindings"
        wanted = {secret.name for secret in SECRETS}
        if {secret.name for secret in self.environment.secrets if secret.version} != wanted:
            yield "not every secret has a version in the store"


class Demonstration:
    """One demo; its team has a new name each time, so it can be repeated."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._api = invocation.api
        self._output = invocation.output
        self._team = f"demo-{secrets.token_hex(3)}"

    def perform(self, *, stays: bool) -> bool:
        """Tells the whole story; answers whether everything is as it should be.

        `stays`: whether the platform goes on after the demo, for the hints at its end.
        """
        self._output.hint("")
        application = self._make_application()
        accepted = self._provision(application)
        request = follow(self._invocation, accepted.request_id, is_passing=True)
        self._show_steps(request)
        if request.state != RequestState.SUCCEEDED:
            say_failure(self._invocation, request)
            return self._conclude(request, [f"the request {request.state}"])
        proof = self._proof(request)
        complaints = list(proof.complaints())
        self._show_proof(proof, request)
        for complaint in complaints:
            self._output.hint(f"[red]✗[/] {complaint}")
        if not complaints:
            self._show_ways_on(proof, request, stays=stays)
        return self._conclude(request, complaints)

    def _conclude(self, request: WorkflowRequest, complaints: list[str]) -> bool:
        if self._output.is_json:
            self._output.document({**request.model_dump(mode="json"), "complaints": complaints})
        return not complaints

    def _make_application(self) -> Application:
        self._api.command(TEAMS, Team, CreateTeam(slug=self._team, display_name="Demo team"))
        self._api.command(TEAM_MOVE.format(team=self._team, move="activate"), Team)
        self._ensure_environment()
        body = RegisterApplication(
            team=self._team, slug=APPLICATION, description="Made by idp demo"
        )
        application = self._api.command(APPLICATIONS, Application, body)
        self._say(f"team [bold]{self._team}[/], application [bold]{APPLICATION}[/]")
        return application

    def _ensure_environment(self) -> None:
        found = {each.slug: each for each in self._api.all(ENVIRONMENTS, Environment)}
        environment = found.get(ENVIRONMENT)
        if environment is None:
            body = CreateEnvironment(slug=ENVIRONMENT, description="For development")
            environment = self._api.command(ENVIRONMENTS, Environment, body)
        if environment.state != ACTIVE:
            path = ENVIRONMENT_MOVE.format(environment=ENVIRONMENT, move="activate")
            self._api.command(path, Environment)

    def _provision(self, application: Application) -> RequestAccepted:
        body = ProvisionEnvironment(environment=ENVIRONMENT, secrets=SECRETS)
        path = ENVIRONMENTS_OF_APPLICATION.format(application_id=application.id)
        accepted = self._api.command(path, RequestAccepted, body)
        names = ", ".join(secret.name for secret in SECRETS)
        self._say(f"environment [bold]{ENVIRONMENT}[/] asked for, with secrets {names}")
        self._output.hint("")
        return accepted

    def _show_steps(self, request: WorkflowRequest) -> None:
        if self._output.is_json:
            return
        if not self._output.console.is_terminal:
            self._output.console.print()  # there the live view leaves an empty line of its own
        self._output.table(step_table(request))
        self._output.console.print()
        ended = request.ended_at or datetime.now(UTC)
        total = (ended - request.created_at).total_seconds()
        first = request.first_step_at
        began = (
            f", first step after {(first - request.created_at).total_seconds():.1f} s"
            if first
            else ""
        )
        good = request.state == RequestState.SUCCEEDED
        mark = "[green]✓[/]" if good else "[red]✗[/]"
        self._output.hint(f"{mark} {request.workflow} {request.state} in {total:.1f} s{began}")

    def _proof(self, request: WorkflowRequest) -> Proof:
        assert request.application_environment_id is not None  # noqa: S101 - this workflow has one
        environment = get_environment(self._invocation, request.application_environment_id)
        return Proof(
            environment=environment,
            bindings_revision=_bindings_revision(request),
            observed_revision=self._observed_revision(environment),
        )

    def _observed_revision(self, environment: ApplicationEnvironment) -> str | None:
        token_file = self._invocation.home.keys / AGENT_READER_TOKEN
        if self._invocation.api_url_given is not None or not token_file.exists():
            return environment.revision
        token = token_file.read_text(encoding="utf-8").strip()
        url = f"http://{LOOPBACK}:{self._invocation.ports.local_gitops_agent}"
        agent = self._invocation.client_with(token, url, ServiceName.LOCAL_GITOPS_AGENT)
        path = RECONCILIATION.format(owner=environment.team, name=environment.repository_name)
        return agent.call("GET", path, Reconciliation).observed_revision

    def _show_proof(self, proof: Proof, request: WorkflowRequest) -> None:
        if self._output.is_json:
            return
        environment = proof.environment
        facts: list[tuple[str, object]] = [
            ("state", environment.state),
            ("repository", environment.repository_url),
            ("bindings commit", proof.bindings_revision),
            ("GitOps agent observed", proof.observed_revision),
        ]
        facts += [
            (f"secret {secret.name}", f"{secret.store_path} version {secret.version}")
            for secret in environment.secrets
        ]
        facts += [
            ("run in Dagster", f"{self._invocation.dagster_url}/runs/{attempt.run_id}")
            for attempt in request.attempts[-1:]
        ]
        self._output.console.print()
        self._output.table(facts_table(facts))
        self._output.console.print()

    def _show_ways_on(self, proof: Proof, request: WorkflowRequest, *, stays: bool) -> None:
        if not stays:
            again = f"[bold]{program_word()} up[/]"
            self._output.hint(f"The platform stops now. After {again} look around with:")
        else:
            self._output.hint("Look around:")
        idp = program_word()
        for command in (
            *self._clone_commands(proof.environment),
            f"{idp} env show {proof.environment.id}",
            f"{idp} events --request {request.id}",
            f"{idp} request show {request.id}",
        ):
            self._output.hint(f"  [cyan]{escape(command)}[/]")
        self._output.hint("")

    def _clone_commands(self, environment: ApplicationEnvironment) -> Iterator[str]:
        """The command, when the token is in a file. Git asks a helper for it, so that neither argv
        nor `.git/config` holds it.
        """
        token_file = self._invocation.token_file or self._invocation.home.admin_token
        if environment.repository_url is not None and token_file.exists():
            read = shlex.join(["cat", str(token_file.absolute())])
            helper = f'!f() {{ echo username=idp; echo "password=$({read})"; }}; f'
            setting = shlex.quote(f"credential.helper={helper}")
            yield f"git -c {setting} clone {shlex.quote(environment.repository_url)}"

    def _say(self, markup: str) -> None:
        self._output.hint(f"[green]✓[/] {markup}")


def _bindings_revision(request: WorkflowRequest) -> str | None:
    """The commit in the latest outcome of the step that commits the bindings."""
    views = [view for view in request.steps if view.step == Step.CREATE_SECRET_BINDINGS]
    for view in reversed(views):
        for item in view.result.items if view.result else ():
            if "revision" in item.references:
                return str(item.references["revision"])
    return None
