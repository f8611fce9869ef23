"""ApplicationDecommissioning: an application ends, after all of its environments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from control_plane.application.access import found
from control_plane.application.ports import Work
from control_plane.application.undo_plans import undo_plan
from control_plane.application.workflows.appenv_provisioning import refuse_while_at_work
from control_plane.application.workflows.application_onboarding import (
    integration_of,
    onboarded_application,
    repository_wanted,
)
from control_plane.application.workflows.compensation import has_kept_something
from control_plane.application.workflows.endings import repository_of, subject_of, to_end
from control_plane.application.workflows.flow import (
    Initiator,
    Results,
    SinglePhase,
    has_begun,
    refuse_when_never_begun,
    refuse_when_superseded,
    refuse_while_active,
    tell_asked,
)
from control_plane.domain.application_environments import (
    ApplicationEnvironment,
    ApplicationEnvironmentState,
)
from control_plane.domain.applications import Application
from control_plane.domain.requests import Request, SubjectKind
from control_plane.domain.teams import Team
from idp_kernel.errors import Conflict
from idp_kernel.ids import new_id
from idp_kernel.retention import REPEATABLE_FOR
from idp_kernel.wire.engine import ApplicationDecommissioningDesiredState
from idp_kernel.wire.worker import ApplicationSubject, RepositoryWanted, RotatedSecret
from idp_kernel.workflows import DomainEvent, RequestState, WorkflowName

UNFINISHED: Final = (
    "The application is deprecated, and some of its repositories may be archived. Retry the"
    " request, or decommission the application again."
)


@dataclass(frozen=True)
class EndingApplication:
    """An application with its environments, locked in the common order."""

    team: Team
    application: Application
    environments: Sequence[ApplicationEnvironment]


class ApplicationDecommissioning(SinglePhase):
    """The flow of `ApplicationDecommissioning`."""

    subject = SubjectKind.APPLICATION

    def lock(self, work: Work, request: Request) -> None:
        work.applications.by_id(request.application_id, lock=True)
        work.application_environments.of_application(request.application_id, lock=True)

    def check_rules(self, work: Work, request: Request) -> None:
        work.teams.by_id(request.team_id).check_may_start_workflow()

    def give_up(self, work: Work, request: Request) -> None:
        """Deprecated again, whatever was archived by then."""
        application = onboarded_application(work, request)
        work.applications.save(application.moved("give_up_decommissioning"))
        work.applications.save_integration(integration_of(work, application).moved("resume"))

    def left_behind(self, _work: Work, request: Request) -> str | None:
        is_unfinished = request.state is not RequestState.SUCCEEDED and has_begun(request)
        return UNFINISHED if is_unfinished else None

    def restart(self, work: Work, request: Request) -> None:
        refuse_when_never_begun(request)
        ending = _lock(work, request.application_id)
        refuse_when_superseded(work, request, self.subject, request.application_id)
        _begin(work, ending)

    def finalize(self, work: Work, request: Request, _results: Results) -> None:
        """An environment that has nothing ends with its application."""
        applications, appenvs = work.applications, work.application_environments
        application = onboarded_application(work, request)
        for repository in applications.repositories(application.id):
            applications.save_repository(repository.moved("archive"))
        applications.save_integration(integration_of(work, application).moved("remove"))
        for appenv in appenvs.of_application(application.id):
            if appenv.state is ApplicationEnvironmentState.DECLARED:
                appenvs.save(appenv.moved("retire"))
        applications.save(application.moved("archive"))

    def launch(self, work: Work, initiator: Initiator, subject_id: str) -> Request:
        """Raises `NotFound`; `Conflict`: `team_not_active`, `workflow_active`,
        `application_in_use`; `MoveRefused` unless the application is Deprecated.
        """
        ending = _lock(work, subject_id)
        _begin(work, ending)
        request = Request.new(
            id_=new_id(),
            workflow=WorkflowName.APPLICATION_DECOMMISSIONING,
            team_id=ending.team.id,
            application_id=ending.application.id,
            requested_by=initiator.actor,
            reason=initiator.reason,
            traceparent=initiator.traceparent,
            now=work.now,
        )
        work.requests.add(request, _freeze(work, ending), [(self.subject, request.application_id)])
        event = DomainEvent.APPLICATION_DECOMMISSIONING_REQUESTED
        tell_asked(work, request, event, data={"reason": request.reason})
        work.journal.wake_offers()
        return request


def _lock(work: Work, application_id: str) -> EndingApplication:
    seen = found(work.applications.by_id(application_id), "application", application_id)
    team = work.teams.hold(seen.team_id)
    application = work.applications.by_id(application_id, lock=True) or seen
    environments = work.application_environments.of_application(application_id, lock=True)
    return EndingApplication(team, application, environments)


def _begin(work: Work, ending: EndingApplication) -> None:
    """The application is Decommissioning, its integration is Suspended. Writes nothing unless all
    rules allow it.
    """
    application = ending.application
    moved = application.moved("decommission")
    ending.team.check_may_start_workflow()
    refuse_while_active(work, SubjectKind.APPLICATION, application.id)
    for appenv in ending.environments:
        refuse_while_at_work(work, appenv.id)
    _refuse_while_in_use(work, ending)
    work.applications.save(moved)
    work.applications.save_integration(integration_of(work, application).moved("suspend"))


def _refuse_while_in_use(work: Work, ending: EndingApplication) -> None:
    """Environments end before their application."""
    standing = {each: why for each in ending.environments if (why := _standing(work, each))}
    if not standing:
        return
    names = ", ".join(f"{_slug(work, each)} ({why})" for each, why in standing.items())
    first = next(iter(standing))
    raise Conflict(
        f"Application {ending.application.slug} has environments that have not ended: {names}.",
        code="application_in_use",
        details={
            "applicationId": ending.application.id,
            "applicationEnvironmentId": first.id,
            "current": first.state,
            "needed": [ApplicationEnvironmentState.RETIRED],
        },
    )


def _standing(work: Work, appenv: ApplicationEnvironment) -> str:
    """What keeps the environment from having ended, in words; empty when nothing does. One that is
    Declared has nothing, unless a request left something there that an undo may still take back.
    """
    if appenv.state is ApplicationEnvironmentState.RETIRED:
        return ""
    if appenv.state is not ApplicationEnvironmentState.DECLARED:
        return f"{appenv.state}: decommission {appenv.id} first"
    left = work.requests.begun_on(
        SubjectKind.APPLICATION_ENVIRONMENT, appenv.id, since=work.now - REPEATABLE_FOR
    )
    undos = {request.id: work.requests.undone_by(request.id) for request in left}
    # What an undo kept may be an elder request's, so that only the undo of that one takes it.
    for request in left:
        if undos[request.id] is None and undo_plan(work, request).undoable:
            return f"{appenv.state}: undo request {request.id} first, which may have left something"
    for request_id, undone_by in undos.items():
        if undone_by is not None and has_kept_something(work, undone_by):
            return (
                f"{appenv.state}: request {undone_by} kept some of it, undo {request_id} once more"
            )
    return ""


def _slug(work: Work, appenv: ApplicationEnvironment) -> str:
    return work.environments.by_id(appenv.environment_id).slug


def _freeze(work: Work, ending: EndingApplication) -> ApplicationDecommissioningDesiredState:
    application = ending.application
    own = work.applications.repositories(application.id)
    repositories, secrets = _of_environments(work, ending)
    return ApplicationDecommissioningDesiredState(
        subject=ApplicationSubject(
            application_id=application.id, team=ending.team.slug, application=application.slug
        ),
        repositories=(*(repository_wanted(application, each) for each in own), *repositories),
        ended_secrets=tuple(secrets),
    )


def _of_environments(
    work: Work, ending: EndingApplication
) -> tuple[list[RepositoryWanted], list[RotatedSecret]]:
    """The repositories that the environments had, and their secrets that were revoked."""
    repositories, secrets = [], []
    for appenv in ending.environments:
        subject = subject_of(work, ending.team, ending.application, appenv)
        repository = repository_of(work, subject)
        repositories.append(repository)
        secrets += [
            to_end(subject, repository, each)
            for each in work.application_environments.secrets(appenv.id)
            if each.is_over
        ]
    return repositories, secrets
