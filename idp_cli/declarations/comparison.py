"""Compares declarations with the platform; asks only, and changes nothing.

What is compared is what stands in the file. The commands of a plan come from what the platform has
at that moment, not from the file alone: after a crash in the middle, whatever was done is there and
makes no command again, and what was undone meanwhile makes one. So every command has a key of its
own; a key derived from the file would replay an answer of yesterday and change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from idp_cli.api import (
    APPLICATION,
    APPLICATION_ENVIRONMENT,
    APPLICATION_ENVIRONMENT_MOVE,
    APPLICATIONS,
    ENVIRONMENT,
    ENVIRONMENT_MOVE,
    ENVIRONMENTS,
    ENVIRONMENTS_OF_APPLICATION,
    MEMBERS,
    ONBOARDING,
    TEAM,
    TEAM_MOVE,
    TEAMS,
)
from idp_cli.declarations.kinds import (
    DeclaredApplication,
    DeclaredApplicationEnvironment,
    DeclaredEnvironment,
    DeclaredTeam,
    Kind,
)
from idp_cli.declarations.plans import Action, Change, Command, FieldChange, Plan, UnderWay
from idp_cli.declarations.present import Present
from idp_cli.declarations.reading import Declarations, Placed
from idp_cli.output import program_word
from idp_kernel.wire.api import (
    Application,
    ApplicationEnvironment,
    CreateEnvironment,
    CreateTeam,
    DeclareEnvironment,
    DeclareSecret,
    DescribeApplication,
    DescribeEnvironment,
    DescribeTeam,
    Environment,
    Member,
    ProvisionEnvironment,
    RegisterApplication,
    RequestAccepted,
    SecretSummary,
    Team,
)

ACTIVE, DRAFT, PLANNED, SUSPENDED, FROZEN = "Active", "Draft", "Planned", "Suspended", "Frozen"
PROPOSED, APPROVED, ONBOARDING_STATE, DECLARED, PROVISIONING = (
    "Proposed",
    "Approved",
    "Onboarding",
    "Declared",
    "Provisioning",
)

_TEAM_MOVES = {(SUSPENDED, ACTIVE): "resume", (ACTIVE, SUSPENDED): "suspend"}
_FREEZES = {(FROZEN, ACTIVE): "unfreeze", (ACTIVE, FROZEN): "freeze"}


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

    # --------------------------------------------------------------------------------- teams

    def team(self, placed: Placed, declared: DeclaredTeam) -> None:
        present = self._present.team(declared.slug)
        if present is not None and present.state not in (DRAFT, ACTIVE, SUSPENDED):
            self._refuse_gone(placed, present.state)
            return
        fields = [*_team_fields(present, declared)]
        tag = self._present.tag(TEAM.format(team=declared.slug))
        commands = [*_if_unchanged(tag, _team_commands(present, declared))]
        roles = self._present.roles(declared.slug) if present is not None else {}
        for member in declared.members:
            role = roles.get(member.principal)
            if role != member.role:
                fields.append(FieldChange(f"member {member.principal}", role, member.role))
                commands.append(Command(MEMBERS.format(team=declared.slug), Member, member))
        action = Action.CREATE if present is None else Action.CHANGE
        self._plan.settle(
            Change(action, Kind.TEAM, declared.subject, tuple(fields), tuple(commands))
        )

    # -------------------------------------------------------------------------- environments

    def environment(self, placed: Placed, declared: DeclaredEnvironment) -> None:
        present = self._present.environment(declared.slug)
        if present is not None and present.state not in (PLANNED, ACTIVE, FROZEN):
            self._refuse_gone(placed, present.state)
            return
        action = Action.CREATE if present is None else Action.CHANGE
        fields = tuple(_environment_fields(present, declared))
        tag = self._present.tag(ENVIRONMENT.format(environment=declared.slug))
        commands = tuple(_if_unchanged(tag, _environment_commands(present, declared)))
        self._plan.settle(Change(action, Kind.ENVIRONMENT, declared.subject, fields, commands))

    # -------------------------------------------------------------------------- applications

    def application(self, placed: Placed, declared: DeclaredApplication) -> None:
        present = self._present.application(declared.team, declared.slug)
        if present is None:
            self._register(placed, declared)
        elif _is_being_onboarded(present):
            self._plan.under_way.append(
                UnderWay(
                    Kind.APPLICATION,
                    declared.subject,
                    present.active_request_id,
                    is_settled=True,
                    proposed_id=_proposed_id(present),
                )
            )
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
            environments=tuple(_with_application(each) for each in environments),
        )
        fields = _described(None, declared.description)
        command = Command(APPLICATIONS, RequestAccepted, body)
        self._plan.settle(
            Change(Action.CREATE, Kind.APPLICATION, declared.subject, tuple(fields), (command,))
        )

    def _change_application(
        self, placed: Placed, declared: DeclaredApplication, present: Application
    ) -> None:
        fields = [*_described(present.description, declared.description)]
        commands = []
        if fields:
            body = DescribeApplication(description=declared.description or "")
            path = APPLICATION.format(application_id=present.id)
            tag = self._present.tag(path)
            commands.append(Command(path, Application, body, "PUT", if_match=tag))
        if present.state in (PROPOSED, APPROVED):
            if not self._team_starts_workflows(placed, declared.team):
                return
            fields.append(FieldChange("state", present.state, ACTIVE))
            path = ONBOARDING.format(application_id=present.id)
            commands.append(Command(path, RequestAccepted))
        self._plan.settle(
            Change(
                Action.CHANGE, Kind.APPLICATION, declared.subject, tuple(fields), tuple(commands)
            )
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
            self._plan.settle(_provisioned(declared, None))
            if declared.state == FROZEN:
                self._await(declared, None)

    def _change_environment(
        self,
        placed: Placed,
        declared: DeclaredApplicationEnvironment,
        application: Application,
        present: ApplicationEnvironment,
    ) -> None:
        if present.state in (DECLARED, PROVISIONING) and present.active_request_id is not None:
            if self._has_its_secrets(placed, declared, present, "while it is being provisioned"):
                settled = declared.state != FROZEN
                self._await(declared, present.active_request_id, is_settled=settled)
        elif present.state == DECLARED and application.state != ACTIVE:
            self._after_onboarding(placed, declared, application)
        elif present.state in (DECLARED, PROVISIONING):
            self._provision(placed, declared, application, present)
        elif present.state in (ACTIVE, FROZEN):
            if self._has_its_secrets(placed, declared, present, "once it is provisioned"):
                path = APPLICATION_ENVIRONMENT.format(application_environment_id=present.id)
                self._plan.settle(_frozen_or_not(declared, present, self._present.tag(path)))
        else:
            self._refuse_gone(placed, present.state)

    def _provision(
        self,
        placed: Placed,
        declared: DeclaredApplicationEnvironment,
        application: Application,
        present: ApplicationEnvironment | None,
    ) -> None:
        problems = [*self._other_issuers(placed, declared, present)]
        self._plan.refusals += problems
        may = self._may_be_provisioned(placed, declared.environment)
        if problems or not may or not self._team_starts_workflows(placed, declared.team):
            return
        secrets = None if declared.secrets is None else tuple(_whole_secrets(declared, present))
        body = ProvisionEnvironment(environment=declared.environment, secrets=secrets)
        path = ENVIRONMENTS_OF_APPLICATION.format(application_id=application.id)
        command = Command(path, RequestAccepted, body)
        self._plan.settle(_provisioned(declared, present, command))
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

    def _has_its_secrets(
        self,
        placed: Placed,
        declared: DeclaredApplicationEnvironment,
        present: ApplicationEnvironment,
        when: str,
    ) -> bool:
        """Whether nothing of its secrets would have to change, which cannot be any more."""
        problems = [*_other_secrets(placed, declared, present, when)]
        self._plan.refusals += problems
        return not problems

    def _other_issuers(
        self,
        placed: Placed,
        declared: DeclaredApplicationEnvironment,
        present: ApplicationEnvironment | None,
    ) -> Iterator[str]:
        """What is declared already keeps its issuer, even before it is provisioned."""
        known = {secret.name: secret for secret in present.secrets} if present else {}
        for number, secret in enumerate(_whole_secrets(declared, present)):
            found = known.get(secret.name)
            if found is not None and found.issuer != secret.issuer:
                yield _fixed(placed, number, "issuer", found.issuer, secret.issuer)

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
        state = _state_to_be(_state_of(declared), _state_of(present))
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
        self._plan.refusals.append(
            f"{placed.place()}: it is {state}, which is for good; take this document out, or "
            "declare another one"
        )

    def _refuse(self, placed: Placed, field: str, found: str, advice: str) -> None:
        self._plan.refusals.append(f"{placed.place(field)}: {found}; {advice}")


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


def _state_to_be(declared: str | None, present: str | None) -> str:
    """What it is once the file is applied: what is new, or was only begun, becomes active."""
    if declared is not None:
        return declared
    return ACTIVE if present in (None, DRAFT, PLANNED) else str(present)


def _team_fields(present: Team | None, declared: DeclaredTeam) -> Iterator[FieldChange]:
    if present is None:
        yield FieldChange("displayName", None, declared.display_name or declared.slug)
        yield FieldChange("state", None, declared.state or ACTIVE)
        return
    if declared.display_name not in (None, present.display_name):
        yield FieldChange("displayName", present.display_name, str(declared.display_name))
    yield from _state_changed(present.state, _state_to_be(declared.state, present.state))


def _team_commands(present: Team | None, declared: DeclaredTeam) -> Iterator[Command]:
    slug, name = declared.slug, declared.display_name
    if present is None:
        body = CreateTeam(slug=slug, display_name=name or slug)
        yield Command(TEAMS, Team, body)
    elif name not in (None, present.display_name):
        path = TEAM.format(team=slug)
        yield Command(path, Team, DescribeTeam(display_name=str(name)), "PUT")
    state = DRAFT if present is None else present.state
    if state == DRAFT:
        yield Command(TEAM_MOVE.format(team=slug, move="activate"), Team)
        state = ACTIVE
    move = _TEAM_MOVES.get((state, declared.state or state))
    if move is not None:
        yield Command(TEAM_MOVE.format(team=slug, move=move), Team)


def _environment_fields(
    present: Environment | None, declared: DeclaredEnvironment
) -> Iterator[FieldChange]:
    if present is None:
        yield from _described(None, declared.description)
        yield FieldChange("state", None, declared.state or ACTIVE)
        return
    yield from _described(present.description, declared.description)
    yield from _state_changed(present.state, _state_to_be(declared.state, present.state))


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
    move = _FREEZES.get((state, declared.state or state))
    if move is not None:
        yield Command(ENVIRONMENT_MOVE.format(environment=slug, move=move), Environment)


def _if_unchanged(tag: str | None, commands: Iterator[Command]) -> Iterator[Command]:
    """The first only if the thing is as it was compared; the others follow from what it made."""
    for number, command in enumerate(commands):
        yield replace(command, if_match=tag) if number == 0 else command


def _described(present: str | None, declared: str | None) -> Iterator[FieldChange]:
    if declared is not None and declared != (present or ""):
        yield FieldChange("description", present, declared)


def _state_changed(present: str, wanted: str) -> Iterator[FieldChange]:
    if present != wanted:
        yield FieldChange("state", present, wanted)


def _with_application(declared: DeclaredApplicationEnvironment) -> DeclareEnvironment:
    """As a registration has it: onboarding asks for its provisioning at its end."""
    if declared.secrets is None:
        return DeclareEnvironment(environment=declared.environment, provision=True)
    return DeclareEnvironment(
        environment=declared.environment, provision=True, secrets=declared.secrets
    )


def _provisioned(
    declared: DeclaredApplicationEnvironment,
    present: ApplicationEnvironment | None,
    *commands: Command,
) -> Change:
    """It is provisioned; `present` is there when it was declared before."""
    known = {secret.name: secret for secret in present.secrets} if present else {}
    fields = [FieldChange("state", present.state if present else None, ACTIVE)]
    for secret in _whole_secrets(declared, present):
        before = known.get(secret.name)
        was = None if before is None else _secret_text(before)
        if was != _secret_text(secret):
            fields.append(FieldChange(f"secret {secret.name}", was, _secret_text(secret)))
    action = Action.CREATE if present is None else Action.CHANGE
    kind = Kind.APPLICATION_ENVIRONMENT
    return Change(action, kind, declared.subject, tuple(fields), commands)


def _frozen_or_not(
    declared: DeclaredApplicationEnvironment, present: ApplicationEnvironment, tag: str | None
) -> Change:
    move = _FREEZES.get((present.state, declared.state or present.state))
    kind, subject = Kind.APPLICATION_ENVIRONMENT, declared.subject
    if move is None:
        return Change(Action.CHANGE, kind, subject)
    path = APPLICATION_ENVIRONMENT_MOVE.format(application_environment_id=present.id, move=move)
    fields = (FieldChange("state", present.state, str(declared.state)),)
    commands = (Command(path, ApplicationEnvironment, if_match=tag),)
    return Change(Action.CHANGE, kind, subject, fields, commands)


def _other_secrets(
    placed: Placed,
    declared: DeclaredApplicationEnvironment,
    present: ApplicationEnvironment,
    when: str,
) -> Iterator[str]:
    known = {secret.name: secret for secret in present.secrets}
    for number, secret in enumerate(declared.secrets or ()):
        found = known.get(secret.name)
        if found is None:
            place = placed.place("secrets", number)
            yield (
                f"{place}: {declared.subject} has no secret {secret.name}, and gets none {when}; "
                "take it out here, or declare it in another environment"
            )
            continue
        for field in ("issuer", "purpose", "sensitivity"):
            was, wanted = str(getattr(found, field)), str(getattr(secret, field))
            if field in secret.model_fields_set and was != wanted:
                yield _fixed(placed, number, field, was, wanted)


def _whole_secrets(
    declared: DeclaredApplicationEnvironment, present: ApplicationEnvironment | None
) -> Iterator[DeclareSecret]:
    """With what the file leaves out as it is; as new ones have it where there is none yet."""
    known = {secret.name: secret for secret in present.secrets} if present else {}
    for secret in declared.secrets or ():
        found = known.get(secret.name)
        if found is None:
            yield secret
            continue
        left_out = {"issuer", "purpose", "sensitivity"} - secret.model_fields_set
        yield secret.model_copy(update={field: getattr(found, field) for field in left_out})


def _fixed(placed: Placed, number: int, field: str, was: str, wanted: str) -> str:
    place = placed.place("secrets", number, field)
    return (
        f"{place}: it is {was} and cannot become {wanted}; write {was}, or declare a secret of "
        "another name"
    )


def _secret_text(secret: DeclareSecret | SecretSummary) -> str:
    return f"{secret.issuer}, {secret.purpose}, {secret.sensitivity}"
