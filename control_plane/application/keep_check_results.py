"""What checks found is kept, and told as a domain event when it changes."""

from __future__ import annotations

from control_plane.application.ports import Work
from idp_kernel.wire.engine import AssetCheckName, CheckResults, CheckResultsKept
from idp_kernel.wire.worker import Finding
from idp_kernel.workflows import DomainEvent

ACTOR = "asset_checks"

_LONGEST_TEXT = 2000
_APPENV_EVENTS = {
    True: DomainEvent.APPLICATION_ENVIRONMENT_RESTORED,
    False: DomainEvent.APPLICATION_ENVIRONMENT_DRIFTED,
}
_SECRET_EVENTS = {True: DomainEvent.SECRET_WITHIN_POLICY, False: DomainEvent.SECRET_OVERDUE}


def keep_check_results(work: Work, told: CheckResults) -> CheckResultsKept:
    """The last result of each thing; an event for each that passed before and does not now, or the
    reverse. A first result that passes is no event.

    What is not there any more is left out. So is what a request is at work on, or was since the
    check read what is expected: it may have held what one version wants against what the next one
    made. The answer names those.
    """
    latest = {finding.id: finding for finding in told.findings}
    teams = work.check_results.teams_of(told.check, tuple(latest))
    moving = work.check_results.moving(told.check, tuple(teams), since=told.read_at)
    known = [latest[id_] for id_ in latest if id_ in teams and id_ not in moving]
    passed_before = work.check_results.lock_passed(told.check, [each.id for each in known])
    work.check_results.put(told.check, known)
    changed = [each for each in known if each.passed is not passed_before[each.id]]
    for finding in changed:
        _tell(work, told.check, finding, teams[finding.id])
    return CheckResultsKept(
        changed=tuple(finding.id for finding in changed),
        left_out=tuple(id_ for id_ in latest if id_ in moving),
    )


def _tell(work: Work, check: AssetCheckName, finding: Finding, team_id: str) -> None:
    is_of_secret = check is AssetCheckName.SECRET_WITHIN_POLICY
    kind = "secret" if is_of_secret else "application_environment"
    events = _SECRET_EVENTS if is_of_secret else _APPENV_EVENTS
    work.journal.event(
        events[finding.passed],
        subject=f"{kind}/{finding.id}",
        actor=ACTOR,
        team_id=team_id,
        data={
            "check": check,
            "expected": finding.expected[:_LONGEST_TEXT],
            "found": finding.found[:_LONGEST_TEXT],
        },
    )
