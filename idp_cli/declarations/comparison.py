"""Compares declarations with the platform; asks only, and changes nothing.

What is compared is what stands in the file. The commands of a plan come from what the platform has
at that moment, not from the file alone: after a crash in the middle, whatever was done is there and
makes no command again, and what was undone meanwhile makes one. So every command has a key of its
own; a key derived from the file would replay an answer of yesterday and change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from idp_cli.api import (
    APPLICATION,
    APPLICATION_ENVIRONMENT,
    APPLICATION_ENVIRONMENT_MOVE,
    APPLICATIONS,
    ENVIRONMENT,
    ENVIRONMENT_MOVE,
    ENVIRONMENTS,
    ENVIRONMENTS_OF_APPLICATION,
    ONBOARDING,
    SECRETS_OF_ENVIRONMENT,
)
from idp_cli.declarations.differences import (
    ACTIVE,
    DRAFT,
    FREEZES,
    FROZEN,
    PLANNED,
    SUSPENDED,
    described,
    if_unchanged,
    state_changed,
    state_to_be,
)
from idp_cli.declarations.kinds import (
    DeclaredApplication,
    DeclaredApplicationEnvironment,
    DeclaredEnvironment,
    DeclaredSecret,
    DeclaredTeam,
    Kind,
)
from idp_cli.declarations.plans import Action, Change, Command, FieldChange, Plan, Removal, UnderWay
from idp_cli.declarations.present import Present
from idp_cli.declarations.reading import Declarations, Placed
from idp_cli.declarations.secrets import (
    DECLARED,
    OVER,
    PROVISIONING,
    WantedSecret,
    added_fields,
    missing,
    new_secret_change,
    provisioned_fields,
    secret_change,
    secrets_wanted,
    unchangeable,
    waits_with_its_state,
)
from idp_cli.declarations.teams import team_change
from idp_cli.output import program_word
from idp_kernel.wire.api import (
    AddSecrets,
    Application,
    ApplicationEnvironment,
    CreateEnvironment,
    DeclareEnvironment,
    DescribeApplication,
    DescribeEnvironment,
    Environment,
    ProvisionEnvironment,
    RegisterApplication,
    RequestAccepted,
    Team,
)

PROPOSED, APPROVED, ONBOARDING_STATE = "Proposed", "Approved", "Onboarding"
DECOMMISSIONING = "Decommissioning"
"""What an end and an undo begin with: after an undo it is as before."""
_STANDING = (DECLARED, PROVISIONING, ACTIVE, FROZEN)
"""States of an application environment that can be brought to what is declared."""
_DECLARE_IT = f"declare it with a document of kind {Kind.APPLICATION_ENVIRONMENT}"


def compare(declarations: Declarations, present: Present) -> Plan:
    """What has to be done; nothing, once everything is as declared."""
    plan = Plan()
    comparison = _Comparison(declarations, present, plan)
    for placed, team in declarations.of(DeclaredTeam):
        comparison.team(placed, team)
    for placed, environment in declarations.of(DeclaredEnvironment):
        comparison.environment(placed, environment)
    for placed, application in declarations.of(DeclaredApplication):
        comparison.application(placed, application)
    for placed, appenv in declarations.of(DeclaredApplicationEnvironment):
        comparison.application_environment(placed, appenv)
    for placed, secret in declarations.of(DeclaredSecret):
        comparison.secret(placed, secret)
    return plan


@dataclass(frozen=True)
class _Need:
    """A thing that has to be active, and how it is told that it is not."""

    field: str
    kind: Kind
    elsewhere: str
    cannot: str
    begins_as: str
    goes_on_by: str


_TEAM = _Need(
    field="team",
    kind=Kind.TEAM,
    elsewhere="that your token may see",
    cannot="starts no workflow",
    begins_as=DRAFT,
    goes_on_by="resume",
)
_ENVIRONMENT = _Need(
    field="environment",
    kind=Kind.ENVIRONMENT,
    elsewhere="on the platform",
    cannot="nothing is provisioned in it",
    begins_as=PLANNED,
    goes_on_by="unfreeze",
)


class _Comparison:
    def __init__(self, declarations: Declarations, present: Present, plan: Plan) -> None:
        self._declarations = declarations
        self._present = present
        self._plan = plan
        self._get_their_secrets: set[str] = set()
        """Subjects of the application environments whose secrets this plan asks for."""
        self._compared: set[str] = set()
        """Subjects of those that have secrets in the file and no document of their own."""

    # --------------------------------------------------------------------------------- teams

    def team(self, placed: Placed, declared: DeclaredTeam) -> None:
        present = self._present.team(declared.slug)
        if present is not None and present.state not in (DRAFT, ACTIVE, SUSPENDED):
            self._refuse_gone(placed, present.state)
            return
        self._plan.settle(team_change(self._present, declared))

    # -------------------------------------------------------------------------- environments

    def environment(self, placed: Placed, declared: DeclaredEnvironment) -> None:
        present = self._present.environment(declared.slug)
        if present is not None and present.state not in (PLANNED, ACTIVE, FROZEN):
            self._refuse_gone(placed, present.state)
            return
        action = Action.CREATE if present is None else Action.CHANGE
        fields = tuple(_environment_fields(present, declared))
        tag = self._present.tag(ENVIRONMENT.format(environment=declared.slug))
        commands = tuple(if_unchanged(tag, _environment_commands(present, declared)))
        self._plan.settle(Change(action, Kind.ENVIRONMENT, declared.subject, fields, commands))

    # -------------------------------------------------------------------------- applications

    def application(self, placed: Placed, declared: DeclaredApplication) -> None:
        present = self._present.application(declared.team, declared.slug)
        if present is None:
            self._register(placed, declared)
        elif _is_being_onboarded(present):
            self._describe_what_is_onboarded(declared, present)
        elif present.state in (PROPOSED, APPROVED, ACTIVE):
            self._change_application(placed, declared, present)
        else:
            self._refuse_gone(placed, present.state)

    def _register(self, placed: Placed, declared: DeclaredApplication) -> None:
        if not self._team_starts_workflows(placed, declared.team):
            return
        environments = [
            appenv
            for _placed, appenv in self._declarations.of(DeclaredApplicationEnvironment)
            if appenv.application_subject == declared.subject
        ]
        body = RegisterApplication(
            team=declared.team,
            slug=declared.slug,
            description=declared.description or "",
            environments=tuple(self._with_application(each) for each in environments),
        )
        fields = described(None, declared.description)
        command = Command(APPLICATIONS, RequestAccepted, body)
        self._plan.settle(
            Change(Action.CREATE, Kind.APPLICATION, declared.subject, tuple(fields), (command,))
        )

    def _describe_what_is_onboarded(
        self, declared: DeclaredApplication, present: Application
    ) -> None:
        """At once while it is Proposed, so that what is approved is what the file says; else it is
        compared again afterwards.
        """
        fields, commands = self._description(declared, present)
        is_proposed = present.state == PROPOSED
        if fields and is_proposed:
            self._plan.settle(
                Change(Action.CHANGE, Kind.APPLICATION, declared.subject, fields, commands)
            )
        self._plan.under_way.append(
            UnderWay(
                Kind.APPLICATION,
                declared.subject,
                present.active_request_id,
                is_settled=is_proposed or not fields,
                proposed_id=_proposed_id(present),
            )
        )

    def _description(
        self, declared: DeclaredApplication, present: Application
    ) -> tuple[tuple[FieldChange, ...], tuple[Command, ...]]:
        """What differs in it, and what changes it; nothing twice where it is as declared."""
        fields = tuple(described(present.description, declared.description))
        if not fields:
            return (), ()
        path = APPLICATION.format(application_id=present.id)
        body = DescribeApplication(description=declared.description or "")
        return fields, (Command(path, Application, body, "PUT", if_match=self._present.tag(path)),)

    def _change_application(
        self, placed: Placed, declared: DeclaredApplication, present: Application
    ) -> None:
        fields, commands = self._description(declared, present)
        if present.state in (PROPOSED, APPROVED):
            if not self._team_starts_workflows(placed, declared.team):
                return
            fields += (FieldChange("state", present.state, ACTIVE),)
            path = ONBOARDING.format(application_id=present.id)
            commands += (Command(path, RequestAccepted),)
        self._plan.settle(
            Change(Action.CHANGE, Kind.APPLICATION, declared.subject, fields, commands)
        )

    # --------------------------------------------------------------- application environments

    def application_environment(
        self, placed: Placed, declared: DeclaredApplicationEnvironment
    ) -> None:
        application = self._present.application(declared.team, declared.application)
        if application is None:
            self._with_new_application(placed, declared)
            return
        present = self._present.application_environment(application.id, declared.environment)
        if present is not None:
            self._change_environment(placed, declared, application, present)
        elif application.state == ACTIVE:
            self._provision(placed, declared, application, None)
        elif application.state in (PROPOSED, APPROVED, ONBOARDING_STATE):
            self._after_onboarding(placed, declared, application)
        else:
            self._refuse(
                placed,
                "application",
                f"{declared.application_subject} is {application.state} and gets no environment",
                "take this document out",
            )

    def _with_new_application(
        self, placed: Placed, declared: DeclaredApplicationEnvironment
    ) -> None:
        """Its registration asks for it."""
        known = self._declarations.find(DeclaredApplication, declared.application_subject)
        if known is None:
            self._refuse(
                placed,
                "application",
                f"there is no application {declared.application_subject}, neither in the file nor "
                "that your token may see",
                "declare it with a document of kind Application",
            )
        elif self._may_be_provisioned(placed, declared.environment):
            self._settle_provisioned(declared, None)
            if declared.state == FROZEN:
                self._await(declared, None)

    def _change_environment(
        self,
        placed: Placed,
        declared: DeclaredApplicationEnvironment,
        application: Application,
        present: ApplicationEnvironment,
    ) -> None:
        if present.state not in _STANDING:
            self._refuse_gone(placed, present.state)
            return
        wanted = self._wanted(declared.subject)
        problems = [*unchangeable(wanted, present)]
        self._plan.refusals += problems
        if problems:
            return
        if present.state in (DECLARED, PROVISIONING) and present.active_request_id is not None:
            settled = declared.state != FROZEN and not missing(wanted, present)
            self._await(declared, present.active_request_id, is_settled=settled)
        elif present.state == DECLARED and application.state != ACTIVE:
            self._after_onboarding(placed, declared, application)
        elif present.state in (DECLARED, PROVISIONING):
            self._provision(placed, declared, application, present)
        else:
            self._change_environment_in_use(placed, declared, application, present)

    def _change_environment_in_use(
        self,
        placed: Placed,
        declared: DeclaredApplicationEnvironment,
        application: Application,
        present: ApplicationEnvironment,
    ) -> None:
        """It is changed while nothing is at work on it; else it is compared again afterwards."""
        new = missing(self._wanted(declared.subject), present)
        path = APPLICATION_ENVIRONMENT.format(application_environment_id=present.id)
        frozen_or_not = _frozen_or_not(declared, present, self._present.tag(path))
        if present.active_request_id is not None:
            settled = not new and not frozen_or_not.commands
            self._await(declared, present.active_request_id, is_settled=settled)
        elif new:
            self._add_secrets(placed, declared, application, present)
        else:
            self._plan.settle(frozen_or_not)

    def _add_secrets(
        self,
        placed: Placed,
        declared: DeclaredApplicationEnvironment,
        application: Application,
        present: ApplicationEnvironment,
    ) -> None:
        """All that it is to get, in one request; it is frozen only afterwards."""
        new = missing(self._wanted(declared.subject), present)
        if present.state == FROZEN and declared.state != ACTIVE:
            self._plan.refusals.append(
                f"{new[0].place()}: {declared.subject} is {FROZEN} and gets no secret; declare it "
                f"with `state: {ACTIVE}`, or type `{program_word()} env unfreeze {present.id}`"
            )
            return
        if application.state != ACTIVE:
            self._refuse(
                placed,
                "application",
                f"{declared.application_subject} is {application.state} and its environments get "
                f"no secret {new[0].name}",
                "take the secret out",
            )
            return
        may = self._may_be_provisioned(placed, declared.environment)
        if not self._team_starts_workflows(placed, declared.team) or not may:
            return
        known = {secret.name: secret for secret in present.secrets}
        body = AddSecrets(secrets=tuple(each.beside(known.get(each.name)) for each in new))
        path = SECRETS_OF_ENVIRONMENT.format(application_environment_id=present.id)
        fields = [*added_fields(new, present)]
        commands: list[Command | Removal] = [Command(path, RequestAccepted, body)]
        if present.state == FROZEN:
            path = APPLICATION_ENVIRONMENT.format(application_environment_id=present.id)
            unfrozen = _frozen_or_not(declared, present, self._present.tag(path))
            fields, commands = [*unfrozen.fields, *fields], [*unfrozen.commands, *commands]
        kind = Kind.APPLICATION_ENVIRONMENT
        self._plan.settle(
            Change(Action.CHANGE, kind, declared.subject, tuple(fields), tuple(commands))
        )
        self._get_their_secrets.add(declared.subject)
        if declared.state == FROZEN:
            self._await(declared, None)

    def _provision(
        self,
        placed: Placed,
        declared: DeclaredApplicationEnvironment,
        application: Application,
        present: ApplicationEnvironment | None,
    ) -> None:
        may = self._may_be_provisioned(placed, declared.environment)
        if not may or not self._team_starts_workflows(placed, declared.team):
            return
        known = {secret.name: secret for secret in present.secrets} if present else {}
        wanted = secrets_wanted(self._declarations, declared.subject)
        secrets = None
        if wanted is not None:
            secrets = tuple(each.beside(known.get(each.name)) for each in wanted)
        body = ProvisionEnvironment(environment=declared.environment, secrets=secrets)
        path = ENVIRONMENTS_OF_APPLICATION.format(application_id=application.id)
        command = Command(path, RequestAccepted, body)
        self._settle_provisioned(declared, present, command)
        if declared.state == FROZEN:
            self._await(declared, None)

    def _after_onboarding(
        self, placed: Placed, declared: DeclaredApplicationEnvironment, application: Application
    ) -> None:
        """What an onboarding under way asks for at its end is not known before."""
        known = self._declarations.find(DeclaredApplication, declared.application_subject)
        if known is None and not _is_being_onboarded(application):
            self._refuse(
                placed,
                "application",
                f"{declared.application_subject} is {application.state} and not onboarded yet",
                f"type `{program_word()} app onboard {application.id} --watch` first, or declare "
                "it with a document of kind Application",
            )
            return
        proposed_id = _proposed_id(application)
        self._await(declared, application.active_request_id, proposed_id=proposed_id)

    def _await(
        self,
        declared: DeclaredApplicationEnvironment,
        request_id: str | None,
        *,
        is_settled: bool = False,
        proposed_id: str | None = None,
    ) -> None:
        self._plan.under_way.append(
            UnderWay(
                Kind.APPLICATION_ENVIRONMENT,
                declared.subject,
                request_id,
                is_settled=is_settled,
                proposed_id=proposed_id,
            )
        )

    def _settle_provisioned(
        self,
        declared: DeclaredApplicationEnvironment,
        present: ApplicationEnvironment | None,
        *commands: Command,
    ) -> None:
        """It is provisioned; `present` is there when it was declared before."""
        fields = [
            FieldChange("state", present.state if present else None, ACTIVE),
            *provisioned_fields(self._wanted(declared.subject), present),
        ]
        action = Action.CREATE if present is None else Action.CHANGE
        kind = Kind.APPLICATION_ENVIRONMENT
        self._plan.settle(Change(action, kind, declared.subject, tuple(fields), commands))
        self._get_their_secrets.add(declared.subject)

    def _wanted(self, subject: str) -> tuple[WantedSecret, ...]:
        return secrets_wanted(self._declarations, subject) or ()

    def _with_application(self, declared: DeclaredApplicationEnvironment) -> DeclareEnvironment:
        """As a registration has it: onboarding asks for its provisioning at its end."""
        wanted = secrets_wanted(self._declarations, declared.subject)
        if wanted is None:
            return DeclareEnvironment(environment=declared.environment, provision=True)
        return DeclareEnvironment(
            environment=declared.environment,
            provision=True,
            secrets=tuple(secret.declared for secret in wanted),
        )

    # ------------------------------------------------------------------------------- secrets

    def secret(self, placed: Placed, declared: DeclaredSecret) -> None:
        """Its rotation and its state. That it is there is its environment's matter."""
        environment = self._environment_of(placed, declared)
        known = {} if environment is None else {each.name: each for each in environment.secrets}
        summary = known.get(declared.name)
        found = None if summary is None else self._present.secret(summary.id)
        if found is None or found.state == DECLARED:
            self._await_secret(declared, environment)
            return
        change = secret_change(self._present, found, declared)
        waits = waits_with_its_state(found, declared)
        if waits or found.state == PROVISIONING:
            settled = not waits and not change.commands
            self._plan.under_way.append(
                UnderWay(Kind.SECRET, declared.subject, found.active_request_id, is_settled=settled)
            )
        elif found.state not in OVER:
            self._plan.settle(change)

    def _await_secret(
        self, declared: DeclaredSecret, environment: ApplicationEnvironment | None
    ) -> None:
        """It comes with its environment; its rotation and its suspension come afterwards."""
        if declared.environment_subject in self._get_their_secrets:
            self._plan.settle(new_secret_change(declared))
            if declared.rotation is None and declared.state != SUSPENDED:
                return
        application = self._present.application(declared.team, declared.application)
        around = environment or application
        self._plan.under_way.append(
            UnderWay(
                Kind.SECRET,
                declared.subject,
                None if around is None else around.active_request_id,
                is_settled=False,
                proposed_id=None if application is None else _proposed_id(application),
            )
        )

    def _environment_of(
        self, placed: Placed, declared: DeclaredSecret
    ) -> ApplicationEnvironment | None:
        """Where the secret belongs. Without a document of its own the environment has to be there,
        and gets all its secrets with the first of them.
        """
        application = self._present.application(declared.team, declared.application)
        present = None
        if application is not None:
            present = self._present.application_environment(application.id, declared.environment)
        subject = declared.environment_subject
        around = self._declarations.find(DeclaredApplicationEnvironment, subject)
        if around is None and subject not in self._compared:
            self._compared.add(subject)
            self._compare_secrets_alone(placed, declared, application, present)
        return present

    def _compare_secrets_alone(
        self,
        placed: Placed,
        declared: DeclaredSecret,
        application: Application | None,
        present: ApplicationEnvironment | None,
    ) -> None:
        """What stands in their way, or the secrets that the environment lacks."""
        subject = declared.environment_subject
        if application is None or present is None:
            found = f"there is no application environment {subject}, neither in the file nor that"
            self._refuse(placed, "environment", f"{found} your token may see", _DECLARE_IT)
        elif present.state not in _STANDING:
            found, advice = _gone(present.state)
            self._refuse(placed, "environment", f"{subject} is {found}", advice)
        elif present.state == DECLARED and present.active_request_id is None:
            found = f"{subject} is {DECLARED} and not provisioned"
            self._refuse(placed, "environment", found, _DECLARE_IT)
        else:
            wanted = self._wanted(subject)
            self._plan.refusals += (problems := [*unchangeable(wanted, present)])
            is_idle = present.active_request_id is None
            if not problems and is_idle and missing(wanted, present):
                around = DeclaredApplicationEnvironment(
                    kind=Kind.APPLICATION_ENVIRONMENT,
                    team=declared.team,
                    application=declared.application,
                    environment=declared.environment,
                )
                self._add_secrets(placed, around, application, present)

    # -------------------------------------------------------------------- what stands in the way

    def _team_starts_workflows(self, placed: Placed, slug: str) -> bool:
        declared = self._declarations.find(DeclaredTeam, slug)
        return self._is_or_becomes_active(placed, _TEAM, slug, declared, self._present.team(slug))

    def _may_be_provisioned(self, placed: Placed, slug: str) -> bool:
        declared = self._declarations.find(DeclaredEnvironment, slug)
        return self._is_or_becomes_active(
            placed, _ENVIRONMENT, slug, declared, self._present.environment(slug)
        )

    def _is_or_becomes_active(
        self,
        placed: Placed,
        need: _Need,
        slug: str,
        declared: DeclaredTeam | DeclaredEnvironment | None,
        present: Team | Environment | None,
    ) -> bool:
        """Whether it is active once the file is applied; refuses it if not."""
        if declared is None and present is None:
            self._refuse(
                placed,
                need.field,
                f"there is no {need.field} {slug}, neither in the file nor {need.elsewhere}",
                f"declare it with a document of kind {need.kind}",
            )
            return False
        state = state_to_be(_state_of(declared), _state_of(present))
        if state == ACTIVE:
            return True
        move = "activate" if state == need.begins_as else need.goes_on_by
        command = f"{program_word()} {need.field} {move} {slug}"
        self._refuse(
            placed,
            need.field,
            f"{need.field} {slug} is {state} and {need.cannot}",
            f"declare it with `state: Active`, or type `{command}`",
        )
        return False

    def _refuse_gone(self, placed: Placed, state: str) -> None:
        found, advice = _gone(state)
        self._plan.refusals.append(f"{placed.place()}: it is {found}; {advice}")

    def _refuse(self, placed: Placed, field: str, found: str, advice: str) -> None:
        self._plan.refusals.append(f"{placed.place(field)}: {found}; {advice}")


def _gone(state: str) -> tuple[str, str]:
    """What is wrong with a state in which nothing can be changed any more, and what to do."""
    if state == DECOMMISSIONING:
        return f"{state} or undone just now", "apply the file again when that request has ended"
    return f"{state}, which is for good", "take this document out, or declare another one"


def _is_being_onboarded(application: Application) -> bool:
    """Whether a request does it, or waits for somebody to approve it."""
    is_asked_for = application.state == PROPOSED and application.active_request_id is not None
    return is_asked_for or application.state == ONBOARDING_STATE


def _proposed_id(application: Application) -> str | None:
    return application.id if application.state == PROPOSED else None


def _state_of(
    thing: DeclaredTeam | DeclaredEnvironment | Team | Environment | None,
) -> str | None:
    return None if thing is None else thing.state


def _environment_fields(
    present: Environment | None, declared: DeclaredEnvironment
) -> Iterator[FieldChange]:
    if present is None:
        yield from described(None, declared.description)
        yield FieldChange("state", None, declared.state or ACTIVE)
        return
    yield from described(present.description, declared.description)
    yield from state_changed(present.state, state_to_be(declared.state, present.state))


def _environment_commands(
    present: Environment | None, declared: DeclaredEnvironment
) -> Iterator[Command]:
    slug, description = declared.slug, declared.description
    if present is None:
        yield Command(
            ENVIRONMENTS, Environment, CreateEnvironment(slug=slug, description=description or "")
        )
    elif description not in (None, present.description):
        body = DescribeEnvironment(description=str(description))
        yield Command(ENVIRONMENT.format(environment=slug), Environment, body, "PUT")
    state = PLANNED if present is None else present.state
    if state == PLANNED:
        yield Command(ENVIRONMENT_MOVE.format(environment=slug, move="activate"), Environment)
        state = ACTIVE
    move = FREEZES.get((state, declared.state or state))
    if move is not None:
        yield Command(ENVIRONMENT_MOVE.format(environment=slug, move=move), Environment)


def _frozen_or_not(
    declared: DeclaredApplicationEnvironment, present: ApplicationEnvironment, tag: str | None
) -> Change:
    move = FREEZES.get((present.state, declared.state or present.state))
    kind, subject = Kind.APPLICATION_ENVIRONMENT, declared.subject
    if move is None:
        return Change(Action.CHANGE, kind, subject)
    path = APPLICATION_ENVIRONMENT_MOVE.format(application_environment_id=present.id, move=move)
    fields = (FieldChange("state", present.state, str(declared.state)),)
    commands = (Command(path, ApplicationEnvironment, if_match=tag),)
    return Change(Action.CHANGE, kind, subject, fields, commands)
