"""The story `idp demo` tells: a team, an application that is onboarded, an environment that is
provisioned, a database login and a key that are rotated, and proof of it all.
"""

from __future__ import annotations

import secrets
import shlex
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise

from rich.markup import escape

from idp_cli.api import (
    APPLICATION,
    APPLICATIONS,
    ENVIRONMENT_MOVE,
    ENVIRONMENTS,
    ROTATION,
    ROTATION_POLICY,
    TEAM_MOVE,
    TEAMS,
)
from idp_cli.commands.application_environments import get_environment
from idp_cli.commands.applications import provisioning_requests
from idp_cli.commands.requests import follow, say_failure
from idp_cli.demonstration_proof import (
    ACTIVE,
    APP_KEY,
    DATABASE_LOGIN,
    Consumer,
    Proof,
    RotatedCredential,
    moved_revision,
    secret_of,
)
from idp_cli.invocation import Invocation
from idp_cli.observers import EmbeddedObservers
from idp_cli.output import program_word
from idp_cli.step_view import step_table
from idp_kernel.errors import InvariantBroken
from idp_kernel.wire.api import (
    Application,
    ApplicationEnvironment,
    CreateEnvironment,
    CreateTeam,
    DeclareEnvironment,
    DeclareSecret,
    Environment,
    RegisterApplication,
    RequestAccepted,
    RotateSecret,
    Secret,
    SecretSummary,
    SetRotationPolicy,
    Team,
    WorkflowRequest,
)
from idp_kernel.wire.consumer import ConsumedSecret
from idp_kernel.wire.worker import CredentialIssuerName, SecretPurpose, SecretSensitivity
from idp_kernel.workflows import RequestState

ENVIRONMENT = "dev"
APPLICATION_SLUG = "shop"
SECRETS = (
    DeclareSecret(name=APP_KEY),
    DeclareSecret(
        name="payment-gateway",
        purpose=SecretPurpose.EXTERNAL_INTEGRATION,
        sensitivity=SecretSensitivity.HIGH,
    ),
    DeclareSecret(name=DATABASE_LOGIN, issuer=CredentialIssuerName.POSTGRES),
)
GRACE_SECONDS = 2
CONSUMER_WITHIN_SECONDS = 20.0
"""How long the consumer may take to use a version that its binding names."""
LOOK_EVERY_SECONDS = 0.2


class RequestNotSucceeded(Exception):
    """A request of the story ended otherwise; there is no more to tell."""

    def __init__(self, request: WorkflowRequest) -> None:
        super().__init__(request.id)
        self.request = request


class Demonstration:
    """One demo; its team has a new name each time, so it can be repeated."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._api = invocation.api
        self._output = invocation.output
        self._observers = EmbeddedObservers(invocation)
        self._team = f"demo-{secrets.token_hex(3)}"
        self._requests: list[WorkflowRequest] = []

    def perform(self, *, stays: bool) -> bool:
        """Tells the whole story; answers whether everything is as it should be.

        `stays`: whether the platform goes on after the demo, for the hints at its end.
        """
        self._output.hint("")
        try:
            proof = self._live_through()
        except RequestNotSucceeded as ended:
            say_failure(self._invocation, ended.request)
            complaint = f"{ended.request.workflow} {ended.request.state}"
            return self._conclude([complaint], None)
        complaints = list(proof.complaints())
        self._show_proof(proof)
        for complaint in complaints:
            self._output.hint(f"[red]✗[/] {complaint}")
        if not complaints:
            self._show_ways_on(proof, stays=stays)
        return self._conclude(complaints, proof)

    def _live_through(self) -> Proof:
        """The story itself; raises `RequestNotSucceeded`."""
        application_id = self._onboard()
        before = self._provision(application_id)
        login, key = _needed(before, DATABASE_LOGIN), _needed(before, APP_KEY)
        first, consumer = self._rotate_under_use(before, login)
        self._say(
            f"[bold]{APP_KEY}[/] may have been seen by others: an emergency, without a grace period"
        )
        last = self._rotate(key, RotateSecret(emergency=True, reason="A copy was seen in a chat"))
        after = get_environment(self._invocation, before.id)
        return Proof(
            application=self._application(application_id),
            before=before,
            after=after,
            secret_names=frozenset(secret.name for secret in SECRETS),
            rotations=(
                RotatedCredential.told_by(first, DATABASE_LOGIN),
                RotatedCredential.told_by(last, APP_KEY),
            ),
            bindings_revision=moved_revision(last),
            observed_revision=self._observed_revision(after),
            consumer=consumer,
        )

    # ------------------------------------------------------------------ onboarding, provisioning

    def _onboard(self) -> str:
        """The application's id, once it is onboarded."""
        self._api.command(TEAMS, Team, CreateTeam(slug=self._team, display_name="Demo team"))
        self._api.command(TEAM_MOVE.format(team=self._team, move="activate"), Team)
        self._ensure_environment()
        self._say(f"team [bold]{self._team}[/], environment [bold]{ENVIRONMENT}[/]")
        declared = DeclareEnvironment(environment=ENVIRONMENT, provision=True, secrets=SECRETS)
        body = RegisterApplication(
            team=self._team,
            slug=APPLICATION_SLUG,
            description="Made by idp demo",
            environments=(declared,),
        )
        accepted = self._api.command(APPLICATIONS, RequestAccepted, body)
        names = ", ".join(secret.name for secret in SECRETS)
        self._say(
            f"application [bold]{APPLICATION_SLUG}[/] asked for, in {ENVIRONMENT} with secrets "
            f"{names}"
        )
        self._await(accepted.request_id)
        return accepted.application_id

    def _ensure_environment(self) -> None:
        found = {each.slug: each for each in self._api.all(ENVIRONMENTS, Environment)}
        environment = found.get(ENVIRONMENT)
        if environment is None:
            body = CreateEnvironment(slug=ENVIRONMENT, description="For development")
            environment = self._api.command(ENVIRONMENTS, Environment, body)
        if environment.state != ACTIVE:
            path = ENVIRONMENT_MOVE.format(environment=ENVIRONMENT, move="activate")
            self._api.command(path, Environment)

    def _provision(self, application_id: str) -> ApplicationEnvironment:
        """The environment, once what onboarding asked for at its end is done."""
        asked = provisioning_requests(self._api, application_id)
        if not asked:
            raise InvariantBroken("Onboarding ended without asking for the environment.")
        self._say(f"onboarding itself asked for [bold]{ENVIRONMENT}[/]")
        request = self._await(asked[0].id)
        assert request.application_environment_id is not None  # noqa: S101 - this workflow has one
        return get_environment(self._invocation, request.application_environment_id)

    # ---------------------------------------------------------------------------------- rotation

    def _rotate_under_use(
        self, environment: ApplicationEnvironment, login: SecretSummary
    ) -> tuple[WorkflowRequest, Consumer | None]:
        """The database login is rotated while somebody uses it."""
        body = SetRotationPolicy(grace_seconds=GRACE_SECONDS)
        self._api.put(ROTATION_POLICY.format(secret_id=login.id), Secret, body)
        before = self._consumed(environment, login.version)
        used = f" while in use ({before.logins} logins so far)" if before is not None else ""
        self._say(
            f"[bold]{DATABASE_LOGIN}[/] is rotated{used}; both logins work for {GRACE_SECONDS} s"
        )
        rotation = self._rotate(login, RotateSecret(reason="Shown by idp demo"))
        if not self._observers.can_be_asked:
            return rotation, None
        present = _needed(get_environment(self._invocation, environment.id), DATABASE_LOGIN)
        consumer = Consumer(before=before, after=self._consumed(environment, present.version))
        self._say(f"consumer of [bold]{DATABASE_LOGIN}[/]: {consumer.told}")
        return rotation, consumer

    def _rotate(self, secret: SecretSummary, body: RotateSecret) -> WorkflowRequest:
        path = ROTATION.format(secret_id=secret.id)
        return self._await(self._api.command(path, RequestAccepted, body).request_id)

    def _consumed(
        self, environment: ApplicationEnvironment, version: int | None
    ) -> ConsumedSecret | None:
        """What the consumer says once it uses `version`, or when that takes too long."""
        give_up_at = time.monotonic() + CONSUMER_WITHIN_SECONDS
        while self._observers.can_be_asked:
            found = self._consumed_now(environment)
            is_there = found is not None and found.version == version
            if is_there or time.monotonic() > give_up_at:
                return found
            time.sleep(LOOK_EVERY_SECONDS)
        return None

    def _consumed_now(self, environment: ApplicationEnvironment) -> ConsumedSecret | None:
        wanted = (environment.team, environment.repository_name, DATABASE_LOGIN)
        for each in self._observers.consumed():
            if (each.owner, each.repository, each.name) == wanted:
                return each
        return None

    # ------------------------------------------------------------------------------------- proof

    def _application(self, application_id: str) -> Application:
        return self._api.get(APPLICATION.format(application_id=application_id), Application)

    def _observed_revision(self, environment: ApplicationEnvironment) -> str | None:
        if not self._observers.can_be_asked:
            return environment.revision
        return self._observers.observed_revision(environment.team, environment.repository_name)

    # ---------------------------------------------------------------------------- what is shown

    def _await(self, request_id: str) -> WorkflowRequest:
        """The request with its steps shown, once it succeeded; raises `RequestNotSucceeded`."""
        self._output.hint("")
        request = follow(self._invocation, request_id, is_passing=True)
        self._requests.append(request)
        self._show_steps(request)
        if request.state != RequestState.SUCCEEDED:
            raise RequestNotSucceeded(request)
        return request

    def _show_steps(self, request: WorkflowRequest) -> None:
        if self._output.is_for_programs:
            return
        if not self._output.console.is_terminal:
            self._output.console.print()  # there the live view leaves an empty line of its own
        self._output.table(step_table(request, width=self._output.console.width))
        self._output.console.print()
        good = request.state == RequestState.SUCCEEDED
        mark = "[green]✓[/]" if good else "[red]✗[/]"
        self._output.hint(f"{mark} {request.workflow} {request.state} {_timing(request)}")
        self._output.console.print()

    def _show_proof(self, proof: Proof) -> None:
        if self._output.is_for_programs:
            return
        runs = ("runs in Dagster", f"{self._invocation.dagster_url}/runs")
        self._output.facts([*proof.facts(), runs])
        self._output.console.print()

    def _show_ways_on(self, proof: Proof, *, stays: bool) -> None:
        if not stays:
            again = f"[bold]{program_word()} up[/]"
            self._output.hint(f"The platform stops now. After {again} look around with:")
        else:
            self._output.hint("Look around:")
        idp = program_word()
        where = f"{self._team}/{APPLICATION_SLUG}/{ENVIRONMENT}"
        for command in (
            *self._clone_commands(proof.after.repository_url),
            f"{idp} app show {APPLICATION_SLUG} --team {self._team}",
            f"{idp} env show {proof.after.id}",
            f"{idp} secret show {where}/{DATABASE_LOGIN}",
            f"{idp} events --request {self._requests[-1].id}",
            f"{idp} request show {self._requests[-1].id}",
        ):
            self._output.hint(f"  [cyan]{escape(command)}[/]")
        self._output.hint("")

    def _clone_commands(self, url: str | None) -> Iterator[str]:
        """The command, when the token is in a file. Git asks a helper for it, so that neither argv
        nor `.git/config` holds it.
        """
        token_file = self._invocation.token_file or self._invocation.home.admin_token
        if url is not None and token_file.exists():
            read = shlex.join(["cat", str(token_file.absolute())])
            helper = f'!f() {{ echo username=idp; echo "password=$({read})"; }}; f'
            setting = shlex.quote(f"credential.helper={helper}")
            yield f"git -c {setting} clone {shlex.quote(url)}"

    def _conclude(self, complaints: list[str], proof: Proof | None) -> bool:
        if self._output.is_for_programs:
            consumer = proof.consumer.after if proof and proof.consumer else None
            self._output.document(
                {
                    "requests": [each.model_dump(mode="json") for each in self._requests],
                    "application": proof and proof.application.model_dump(mode="json"),
                    "environment": proof and proof.after.model_dump(mode="json"),
                    "consumer": consumer and consumer.model_dump(mode="json"),
                    "complaints": complaints,
                }
            )
        return not complaints

    def _say(self, markup: str) -> None:
        self._output.hint(f"[green]✓[/] {markup}")


def _needed(environment: ApplicationEnvironment, name: str) -> SecretSummary:
    secret = secret_of(environment, name)
    if secret is None:
        raise InvariantBroken(f"The environment was provisioned without the secret {name}.")
    return secret


def _timing(request: WorkflowRequest) -> str:
    """How long it took, when it began, and how much of it was waiting between phases."""
    ended = request.ended_at or datetime.now(UTC)
    told = f"in {(ended - request.created_at).total_seconds():.1f} s"
    if request.first_step_at is not None:
        began = (request.first_step_at - request.created_at).total_seconds()
        told += f", first step after {began:.1f} s"
    waited = _waited_seconds(request)
    return told if waited < GRACE_SECONDS else f"{told}, grace period {waited:.1f} s"


def _waited_seconds(request: WorkflowRequest) -> float:
    """Between the end of a phase and the run of the next."""
    return sum(
        (later.claimed_at - earlier.ended_at).total_seconds()
        for earlier, later in pairwise(request.attempts)
        if earlier.ended_at is not None and later.phase > earlier.phase
    )
