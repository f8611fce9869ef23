"""Somebody other than the one who proposed an application approves or rejects it."""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.application.access import Caller, found
from control_plane.application.ports import Work
from control_plane.application.request_progress import Cause, commit_transition, lock_request
from control_plane.application.steer_requests import cancel_held
from control_plane.application.workflows.application_onboarding import (
    begin_onboarding,
    freeze_as_approved,
    integration_of,
    proposer_of,
)
from control_plane.application.workflows.flow import workflow_active
from control_plane.domain.applications import Application
from control_plane.domain.requests import Request, SubjectKind
from control_plane.domain.teams import Team
from idp_kernel.wire import api as wire
from idp_kernel.workflows import DomainEvent, WorkflowName


@dataclass(frozen=True)
class _Proposal:
    """All that a decision moves, locked."""

    team: Team
    application: Application
    request: Request | None
    """Its onboarding that is under way; none after that was cancelled, or came too late."""


def approve_application(
    work: Work, caller: Caller, application_id: str, reason: str
) -> wire.Application:
    """The application, Approved; where its onboarding waits for that, Onboarding at once.

    Raises `MoveRefused` unless it is Proposed, `NotAllowed` (`own_proposal`) for who proposed it,
    `Conflict`: `team_not_active`, and `workflow_active` while an onboarding is undone.
    """
    proposal = _lock_proposal(work, application_id)
    approved = proposal.application.moved("approve")
    _check_may_decide(work, caller, approved)
    proposal.team.check_may_start_workflow()
    work.applications.save(approved)
    _tell(work, DomainEvent.APPLICATION_APPROVED, caller, proposal, approved, reason)
    request = proposal.request
    if request is not None:
        begin_onboarding(work, approved)
        freeze_as_approved(work, request, approved)
        if request.waits_for_decision:
            woken = request.woken(work.now)
            commit_transition(work, request, woken, Cause(caller.principal, "approved"))
    return work.views.application(application_id)


def reject_application(
    work: Work, caller: Caller, application_id: str, reason: str
) -> wire.Application:
    """The application, Archived for good, and its onboarding cancelled; nothing was made.

    Raises as `approve_application` does, whatever the team's state.
    """
    proposal = _lock_proposal(work, application_id)
    rejected = proposal.application.moved("reject")
    _check_may_decide(work, caller, rejected)
    applications = work.applications
    for repository in applications.repositories(application_id):
        applications.save_repository(repository.moved("reject"))
    applications.save_integration(integration_of(work, rejected).moved("reject"))
    applications.save(rejected)
    _tell(work, DomainEvent.APPLICATION_REJECTED, caller, proposal, rejected, reason)
    if proposal.request is not None:
        cancel_held(work, caller.principal, proposal.request, reason)
    return work.views.application(application_id)


def lock_with_team(work: Work, application_id: str) -> tuple[Team, Application]:
    """Both, in the common order. Raises `NotFound`."""
    seen = found(work.applications.by_id(application_id), "application", application_id)
    team = work.teams.hold(seen.team_id)
    return team, work.applications.by_id(application_id, lock=True) or seen


def _lock_proposal(work: Work, application_id: str) -> _Proposal:
    team, application = lock_with_team(work, application_id)
    active = work.requests.active_on(SubjectKind.APPLICATION, application_id)
    request = None if active is None else lock_request(work, active)
    if request is not None and request.workflow is not WorkflowName.APPLICATION_ONBOARDING:
        raise workflow_active(request.id, f"application {application_id}")
    return _Proposal(team, application, request)


def _check_may_decide(work: Work, caller: Caller, application: Application) -> None:
    """Whether a maintainer of the team may; a platform-admin always does."""
    if caller.platform_admin:
        return
    proposed_by = proposer_of(work, application.id)
    application.check_may_be_decided_by(caller.principal, proposed_by=proposed_by)


def _tell(
    work: Work,
    event: DomainEvent,
    caller: Caller,
    proposal: _Proposal,
    application: Application,
    reason: str,
) -> None:
    subject = f"application/{application.id}"
    work.journal.event(
        event,
        subject=subject,
        actor=caller.principal,
        team_id=application.team_id,
        request_id=None if proposal.request is None else proposal.request.id,
        data={"slug": application.slug, "state": application.state, "reason": reason},
    )
    work.journal.audit(actor=caller.principal, action=event, subject=subject, reason=reason)
