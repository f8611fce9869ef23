"""ApplicationOnboarding: an application with its two repositories becomes Active, its environments
declared.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from control_plane.application.access import found
from control_plane.application.ports import Work
from control_plane.application.workflows.appenv_provisioning import provision_declared_environment
from control_plane.application.workflows.flow import (
    Initiator,
    Results,
    SinglePhase,
    reference,
    refuse_while_active,
)
from control_plane.domain.application_environments import (
    ApplicationEnvironment,
    ApplicationEnvironmentState,
)
from control_plane.domain.applications import Application, ApplicationState
from control_plane.domain.environments import Environment
from control_plane.domain.repositories import (
    APPLICATION_REPOSITORY_MOVES,
    GITOPS_INTEGRATION_MOVES,
    REQUIRED_APPROVALS,
    ApplicationRepository,
    ApplicationRepositoryKind,
    GitOpsIntegration,
)
from control_plane.domain.requests import Request, SubjectKind
from control_plane.domain.teams import Team
from idp_kernel.errors import Conflict, InvalidInput, InvariantBroken
from idp_kernel.ids import new_id
from idp_kernel.wire.engine import DeclaredEnvironment, OnboardingDesiredState
from idp_kernel.wire.worker import (
    APPENV_REPOSITORY_PREFIX,
    ApplicationSubject,
    RepositoryKind,
    RepositoryWanted,
)
from idp_kernel.workflows import DomainEvent, Step, WorkflowName

_KINDS = ApplicationRepositoryKind
_TAKES_NOTHING = (ApplicationEnvironmentState.DECLARED, ApplicationEnvironmentState.RETIRED)
"""States of an environment that needs nothing of its application."""
_NOT_BEGUN = (ApplicationState.PROPOSED, ApplicationState.ARCHIVED)
"""States in which an onboarding has moved nothing: it waits for the approval, or was rejected."""
_CREATED_BY: dict[ApplicationRepositoryKind, Step] = {
    _KINDS.CODE: Step.CREATE_CODE_REPOSITORY,
    _KINDS.DEPLOYMENT: Step.CREATE_DEPLOYMENT_REPOSITORY,
}
_SUFFIXES: dict[ApplicationRepositoryKind, str] = {_KINDS.CODE: "", _KINDS.DEPLOYMENT: "-deploy"}
"""What the repositories' names add to the application's slug."""


@dataclass(frozen=True)
class AskedOnboarding:
    """A pending request for an onboarding."""

    request: Request
    needs_approval: bool
    """Whether it waits until somebody approves the application."""


class ApplicationOnboarding(SinglePhase):
    """The flow of `ApplicationOnboarding`."""

    subject = SubjectKind.APPLICATION

    def lock(self, work: Work, request: Request) -> None:
        work.teams.hold(request.team_id)
        for environment in _environments(work, onboarding_wanted(work, request)):
            work.environments.hold(environment.id)
        work.applications.by_id(request.application_id, lock=True)
        work.application_environments.of_application(request.application_id, lock=True)

    def check_rules(self, work: Work, request: Request) -> None:
        work.teams.by_id(request.team_id).check_may_start_workflow()

    def give_up(self, work: Work, request: Request) -> None:
        applications = work.applications
        application = onboarded_application(work, request)
        if application.state in _NOT_BEGUN:
            return
        applications.save(application.moved("give_up_onboarding"))
        for repository in applications.repositories(application.id):
            applications.save_repository(repository.moved("give_up_provisioning"))
        integration = integration_of(work, application)
        applications.save_integration(integration.moved("give_up_connecting"))

    def restart(self, work: Work, request: Request) -> None:
        self.lock(work, request)
        work.teams.by_id(request.team_id).check_may_start_workflow()
        refuse_while_active(work, self.subject, request.application_id)
        begin_onboarding(work, onboarded_application(work, request))

    def finalize(self, work: Work, request: Request, results: Results) -> None:
        applications = work.applications
        application = onboarded_application(work, request)
        for repository in applications.repositories(application.id):
            item = f"repository/{repository.id}"
            url = reference(results, _CREATED_BY[repository.kind], item, "url")
            applications.save_repository(replace(repository.moved("activate"), url=str(url)))
        applications.save_integration(integration_of(work, application).moved("activate"))
        applications.save(application.moved("activate"))
        _provision_environments(work, request)

    def launch(self, work: Work, initiator: Initiator, subject_id: str) -> Request:
        return onboard_application(work, initiator, subject_id).request

    def check_undo(self, work: Work, request: Request) -> None:
        work.teams.by_id(request.team_id).check_may_start_workflow()
        refuse_while_active(work, self.subject, request.application_id)
        application = onboarded_application(work, request)
        if _is_in_use_by(work, request, application):
            application.moved("undo")
            _refuse_while_in_use(work, request)

    def begin_undo(self, work: Work, request: Request) -> None:
        self.lock(work, request)
        self.check_undo(work, request)
        application = onboarded_application(work, request)
        if _is_in_use_by(work, request, application):
            work.applications.save(application.moved("undo"))

    def call_off_undo(self, work: Work, request: Request) -> None:
        application = onboarded_application(work, request)
        if application.state is ApplicationState.DECOMMISSIONING:
            work.applications.save(application.moved("call_off_undo"))

    def end_undo(self, work: Work, request: Request, _removed: Collection[str]) -> None:
        applications = work.applications
        application = onboarded_application(work, request)
        if application.state is not ApplicationState.DECOMMISSIONING:
            return
        applications.save(application.moved("end_undo"))
        for repository in applications.repositories(application.id):
            applications.save_repository(replace(repository.moved("undo"), url=None))
        applications.save_integration(integration_of(work, application).moved("undo"))


def onboard_application(work: Work, initiator: Initiator, application_id: str) -> AskedOnboarding:
    """The pending request that onboards an application as it was last asked for; of a Proposed one
    it waits for the approval.

    Raises `NotFound`; `Conflict` as registering does, `workflow_active`; `MoveRefused` unless the
    application is Approved or Proposed.
    """
    seen = found(work.applications.by_id(application_id), "application", application_id)
    latest = work.requests.latest(WorkflowName.APPLICATION_ONBOARDING, application_id)
    wanted = () if latest is None else onboarding_wanted(work, latest).environments
    team = hold_what_onboarding_needs(work, seen.team_id, wanted)
    application = work.applications.by_id(application_id, lock=True) or seen
    refuse_while_active(work, SubjectKind.APPLICATION, application.id)
    asked = start_onboarding(work, initiator, team, application, wanted)
    work.journal.audit(
        actor=initiator.actor,
        action="application_onboarding_requested",
        subject=asked.request.subject,
        reason=initiator.reason,
    )
    return asked


def hold_what_onboarding_needs(
    work: Work, team_id: str, wanted: Sequence[DeclaredEnvironment]
) -> Team:
    """The team, which is active as all these environments are; held until the transaction ends.

    Raises `NotFound` for an unknown environment; `Conflict`: `team_not_active`,
    `environment_not_active`.
    """
    team = work.teams.hold(team_id)
    team.check_may_start_workflow()
    for each in wanted:
        known = found(work.environments.by_slug(each.environment), "environment", each.environment)
        work.environments.hold(known.id).check_may_be_provisioned()
    return team


def start_onboarding(
    work: Work,
    initiator: Initiator,
    team: Team,
    application: Application,
    environments: Sequence[DeclaredEnvironment],
) -> AskedOnboarding:
    """The pending request; the application is Onboarding, its repositories are Provisioning. One
    that is Proposed stays so, until it is approved.

    A repository's name that the team uses already is a `Conflict` (`repository_name_taken`); one
    that is kept for repositories of application environments is `InvalidInput` (`slug_reserved`).
    """
    repositories = _declared_repositories(work, team, application)
    begin_onboarding(work, application)
    request = Request.new(
        id_=new_id(),
        workflow=WorkflowName.APPLICATION_ONBOARDING,
        team_id=team.id,
        application_id=application.id,
        requested_by=initiator.actor,
        reason=initiator.reason,
        traceparent=initiator.traceparent,
        now=work.now,
    )
    desired = _desired_state(team, application, repositories, environments)
    work.requests.add(request, desired, [(SubjectKind.APPLICATION, application.id)])
    work.journal.wake_offers()
    return AskedOnboarding(request, desired.needs_approval)


def onboarded_application(work: Work, request: Request) -> Application:
    """The application of an onboarding request."""
    return found(
        work.applications.by_id(request.application_id), "application", request.application_id
    )


def proposer_of(work: Work, application_id: str) -> str:
    """Who registered the application, whoever asked for its onboarding again."""
    first = work.requests.first(WorkflowName.APPLICATION_ONBOARDING, application_id)
    return found(first, "onboarding of application", application_id).requested_by


def onboarding_wanted(work: Work, request: Request) -> OnboardingDesiredState:
    """The desired state. Raises `InvalidInput` (`wrong_workflow`) for a request of another kind."""
    wanted = work.requests.desired_state(request)
    if not isinstance(wanted, OnboardingDesiredState):
        raise InvalidInput(
            f"Request {request.id} is a {request.workflow} and onboards nothing.",
            code="wrong_workflow",
        )
    return wanted


def freeze_as_approved(work: Work, request: Request, application: Application) -> None:
    """What is made is what was approved: it may have been described anew since it was proposed."""
    wanted = onboarding_wanted(work, request)
    described = wanted.model_copy(update={"description": application.description})
    work.requests.set_desired_state(request, described)


def _environments(work: Work, wanted: OnboardingDesiredState) -> list[Environment]:
    slugs = (each.environment for each in wanted.environments)
    found = (work.environments.by_slug(slug) for slug in slugs)
    return [environment for environment in found if environment is not None]


def _is_in_use_by(work: Work, request: Request, application: Application) -> bool:
    """Whether the application is in use since that request, and not since another one."""
    succeeded = work.requests.succeeded_on(
        SubjectKind.APPLICATION, application.id, request.workflow
    )
    is_last = bool(succeeded) and succeeded[0].id == request.id
    return is_last and application.state is not ApplicationState.APPROVED


def _refuse_while_in_use(work: Work, request: Request) -> None:
    """Environments come after their application and go before it."""
    appenvs = work.application_environments.of_application(request.application_id)
    in_use = [each for each in appenvs if each.state not in _TAKES_NOTHING]
    if in_use:
        raise Conflict(
            f"The application has environments in use: {', '.join(each.id for each in in_use)}."
            " Undo their provisioning first.",
            code="application_in_use",
            details={"applicationEnvironmentId": in_use[0].id, "current": in_use[0].state},
        )


def integration_of(work: Work, application: Application) -> GitOpsIntegration:
    """Of an application that is or was onboarded."""
    integration = work.applications.integration(application.id)
    if integration is None:
        raise InvariantBroken(f"application {application.id} is onboarded without an integration")
    return integration


def _declared_repositories(
    work: Work, team: Team, application: Application
) -> Sequence[ApplicationRepository]:
    """Both repositories, with the integration declared unless an earlier request did so."""
    if work.applications.integration(application.id) is not None:
        return work.applications.repositories(application.id)
    repositories = {kind: _new_repository(team, application, kind) for kind in _KINDS}
    for repository in repositories.values():
        work.applications.add_repository(repository)
    integration = GitOpsIntegration(
        id=new_id(),
        application_id=application.id,
        repository_id=repositories[_KINDS.DEPLOYMENT].id,
        state=GITOPS_INTEGRATION_MOVES.initial,
    )
    work.applications.add_integration(integration)
    return tuple(repositories.values())


def _new_repository(
    team: Team, application: Application, kind: ApplicationRepositoryKind
) -> ApplicationRepository:
    name = f"{application.slug}{_SUFFIXES[kind]}"
    if name.startswith(APPENV_REPOSITORY_PREFIX):
        raise InvalidInput(
            f"The application {application.slug} would get a repository {name}. Names that begin"
            f" with {APPENV_REPOSITORY_PREFIX} are those of application environments, whose"
            " manifests are applied; take another slug.",
            code="slug_reserved",
        )
    return ApplicationRepository(
        id=new_id(),
        application_id=application.id,
        kind=kind,
        owner=team.slug,
        name=name,
        url=None,
        state=APPLICATION_REPOSITORY_MOVES[kind].initial,
    )


def begin_onboarding(work: Work, application: Application) -> None:
    """Onboarding, with what it gets; one that is Proposed begins once it is approved."""
    if application.state is ApplicationState.PROPOSED:
        return
    applications = work.applications
    applications.save(application.moved("onboard"))
    for repository in applications.repositories(application.id):
        applications.save_repository(repository.moved("provision"))
    applications.save_integration(integration_of(work, application).moved("connect"))


def _provision_environments(work: Work, request: Request) -> None:
    """Asks for the provisioning that was wanted; one that is refused by now is told as an event."""
    appenvs = work.application_environments.of_application(request.application_id)
    declared = {appenv.environment_id: appenv for appenv in appenvs}
    wanted = onboarding_wanted(work, request)
    provisioned = {each.environment for each in wanted.environments if each.provision}
    for environment in _environments(work, wanted):
        if environment.id not in declared:
            raise InvalidInput(
                f"The environment {environment.slug} of request {request.id} is not declared.",
                code="outcomes_missing",
            )
        if environment.slug in provisioned:
            _provision_if_possible(work, request, declared[environment.id])


def _provision_if_possible(work: Work, request: Request, appenv: ApplicationEnvironment) -> None:
    reason = f"onboarding request {request.id}"
    initiator = Initiator(request.requested_by, reason, request.traceparent)
    try:
        provision_declared_environment(work, initiator, appenv.id)
    except Conflict as refusal:
        work.journal.event(
            DomainEvent.APPLICATION_ENVIRONMENT_PROVISIONING_REFUSED,
            subject=f"application_environment/{appenv.id}",
            actor=request.requested_by,
            team_id=request.team_id,
            request_id=request.id,
            data={"reason": refusal.code, "message": refusal.message},
        )


def _desired_state(
    team: Team,
    application: Application,
    repositories: Sequence[ApplicationRepository],
    environments: Sequence[DeclaredEnvironment],
) -> OnboardingDesiredState:
    by_kind = {each.kind: each for each in repositories}
    return OnboardingDesiredState(
        subject=ApplicationSubject(
            application_id=application.id, team=team.slug, application=application.slug
        ),
        description=application.description,
        code_repository=repository_wanted(application, by_kind[_KINDS.CODE]),
        deployment_repository=repository_wanted(application, by_kind[_KINDS.DEPLOYMENT]),
        required_approvals=REQUIRED_APPROVALS,
        environments=tuple(environments),
        needs_approval=application.state is ApplicationState.PROPOSED,
    )


def repository_wanted(
    application: Application, repository: ApplicationRepository
) -> RepositoryWanted:
    """A repository of the application in the words of execution-workers."""
    return RepositoryWanted(
        repository_id=repository.id,
        kind=RepositoryKind(repository.kind),
        owner=repository.owner,
        name=repository.name,
        description=f"{repository.kind.capitalize()} of {application.slug}",
    )
