"""Every code that a problem of this API may carry, with its kind and what it says; the one list
that the description of the API is made from.
"""

from __future__ import annotations

from typing import Final

from idp_kernel.errors import (
    Conflict,
    InvalidInput,
    InvariantBroken,
    MoveRefused,
    NotAllowed,
    NotFound,
    PlatformError,
    Unauthenticated,
    Unavailable,
)
from idp_kernel.http.problems import status_of

PROBLEM_CODES: Final[dict[str, tuple[type[PlatformError], str]]] = {
    # the body and the parameters
    "malformed_json": (InvalidInput, "The body is no JSON."),
    "body_too_large": (InvalidInput, "The body is larger than allowed."),
    "body_too_slow": (Unavailable, "The body did not arrive in time."),
    "invalid_input": (InvalidInput, "The body or a parameter is not valid; `errors` names where."),
    "cursor_invalid": (InvalidInput, "The cursor is none that a page of this list gave."),
    "idempotency_key_missing": (InvalidInput, "The command came without an idempotency key."),
    "idempotency_key_invalid": (InvalidInput, "The idempotency key is not 1 to 200 ASCII signs."),
    "idempotency_key_reused": (InvalidInput, "The key came with another body before."),
    "declared_twice": (InvalidInput, "An environment or a secret is declared twice."),
    "slug_reserved": (InvalidInput, "The slug is kept for repositories of environments."),
    "time_zone_unknown": (InvalidInput, "The time zone is none of the IANA database."),
    "expiry_out_of_range": (InvalidInput, "No credential ends at that time."),
    "reason_required": (InvalidInput, "A launch by hand needs a reason."),
    "subject_required": (InvalidInput, "A launch by hand needs the id of its subject."),
    "outcomes_missing": (InvalidInput, "An outcome that the step must have is missing."),
    "wrong_workflow": (InvalidInput, "The request is of another workflow."),
    # who asks
    "token_missing": (Unauthenticated, "The call came without a bearer token."),
    "token_invalid": (Unauthenticated, "The bearer token is not known here."),
    "token_expired": (Unauthenticated, "The bearer token has expired."),
    "token_revoked": (Unauthenticated, "The bearer token was revoked."),
    "assertion_replayed": (Unauthenticated, "The assertion was used before."),
    "not_allowed": (NotAllowed, "The caller lacks the role or the scope; `needed` names it."),
    "own_proposal": (NotAllowed, "The caller has proposed the application; somebody else decides."),
    "not_found": (NotFound, "There is no such thing, or none the caller may see."),
    "events_gone": (
        NotFound,
        "Events after that sequence are not kept any more; `continueAfter` says where to go on.",
    ),
    "rate_limited": (
        Unavailable,
        "The token makes too many calls; wait as `Retry-After` says.",
    ),
    "too_many_watches": (Unavailable, "As many watch as this server has room for."),
    # what stands against it
    "precondition_failed": (Conflict, "It has changed since it was seen as `If-Match` says."),
    "move_refused": (MoveRefused, "The present state allows no such move."),
    "team_exists": (Conflict, "A team of this slug is there already."),
    "environment_exists": (Conflict, "An environment of this slug is there already."),
    "application_exists": (Conflict, "The team has an application of this slug already."),
    "repository_name_taken": (Conflict, "Another application has a repository of that name."),
    "token_already_shown": (Conflict, "The answer held a token, which is shown only once."),
    "last_platform_admin": (Conflict, "Nobody else is a platform-admin with a token that is good."),
    "team_not_active": (Conflict, "The team is not Active and starts no workflow."),
    "environment_not_active": (Conflict, "The environment is not Active."),
    "application_not_ready": (Conflict, "The application is not in a state that allows it."),
    "application_environment_not_ready": (Conflict, "The application environment is not ready."),
    "secret_not_active": (Conflict, "The secret is not Active."),
    "secret_binding_not_active": (Conflict, "The secret's binding is suspended."),
    "secret_without_value": (Conflict, "The secret has no value in the store."),
    "too_many_secrets": (Conflict, "The environment would have too many secrets."),
    "quota_exceeded": (Conflict, "It would pass a limit of the team; `limit` names which."),
    "workflow_active": (Conflict, "Another request is at work on it; `activeRequestId` names it."),
    "rotation_in_grace": (Conflict, "A rotation waits with the old credential's end."),
    "persons_value_in_grace": (
        Conflict,
        "A rotation waits that brought into use what a person had set; `activeRequestId` names it.",
    ),
    "not_undoable": (Conflict, "What the request did cannot be taken back."),
    "request_not_ended": (Conflict, "The request has not ended; only then it is undone."),
    "request_too_old": (Conflict, "The request is too old to be retried or undone; ask anew."),
    "request_undone": (Conflict, "What the request made was taken back; `undoneBy` names by whom."),
    "nothing_to_undo": (Conflict, "The request has made nothing that could be taken back."),
    "team_in_use": (Conflict, "The team has applications that are not Archived."),
    "application_in_use": (Conflict, "The application has environments that are in use."),
    "secrets_added_since": (
        Conflict,
        "A later request added to the environment; `activeRequestId` names it.",
    ),
    "added_secret_in_use": (Conflict, "Secrets that were added are in use."),
    "request_superseded": (Conflict, "A later request has changed what this one made."),
    "ending_unfinished": (Conflict, "A request began to end it; `activeRequestId` names it."),
    "request_never_begun": (Conflict, "No run of the request began; it is asked for anew."),
    # what runs say
    "request_ended": (Conflict, "The request has ended."),
    "request_succeeded": (Conflict, "The request has succeeded; there is nothing to repeat."),
    "request_waiting": (Conflict, "The request waits."),
    "attempt_superseded": (Conflict, "The request is at another attempt."),
    "already_claimed": (Conflict, "Another run holds the request."),
    "claim_lost": (Conflict, "The run does not hold the request."),
    "cancel_requested": (Conflict, "The request is to be cancelled; its run ends it."),
    "deadline_passed": (Conflict, "The request is past its deadline."),
    "waited_too_long": (Conflict, "The request has waited for providers as long as it may."),
    "approval_not_given": (Conflict, "Nobody approved the application as long as it may wait."),
    "wrong_phase": (Conflict, "The job is of another phase than the request's."),
    "run_already_used": (Conflict, "The run has claimed another attempt."),
    "platform_draining": (Conflict, "The platform is draining and takes up no new work."),
    "too_many_rotations": (Conflict, "There is no place for a further rotation now."),
    # not the caller's fault
    "row_held": (Unavailable, "Somebody else is at work on the same thing; try again."),
    "database_unavailable": (Unavailable, "The database gave no answer; try again."),
    "invariant_broken": (InvariantBroken, "A bug of the platform; the logs have it."),
}
"""Code to the kind of its error and its meaning."""

# What several routes refuse alike.
MAY_START: Final = ("team_not_active", "application_not_ready", "application_environment_not_ready")
"""What a workflow needs to be ready."""
ONBOARDS: Final = (
    "repository_name_taken",
    "slug_reserved",
    "team_not_active",
    "environment_not_active",
)
PROVISIONS: Final = (
    "workflow_active",
    "move_refused",
    "team_not_active",
    "environment_not_active",
    "application_not_ready",
    "too_many_secrets",
    "declared_twice",
)
ROTATES: Final = (
    "workflow_active",
    "rotation_in_grace",
    "persons_value_in_grace",
    "move_refused",
    "secret_binding_not_active",
    *MAY_START,
)
REVOKES: Final = ("workflow_active", "rotation_in_grace", "move_refused", "team_not_active")
UNDOES: Final = (
    "not_undoable",
    "request_not_ended",
    "request_too_old",
    "request_undone",
    "nothing_to_undo",
    "application_in_use",
    "application_environment_not_ready",
    "secrets_added_since",
    "added_secret_in_use",
)
DECOMMISSIONS: Final = ("application_in_use", "workflow_active", "move_refused", "team_not_active")
CLAIMS: Final = (
    "not_found",
    "request_ended",
    "request_waiting",
    "attempt_superseded",
    "already_claimed",
    "deadline_passed",
    "run_already_used",
    "environment_not_active",
    *MAY_START,
)
HOLDS: Final = ("not_found", "claim_lost", "cancel_requested", "deadline_passed")
"""What keeps a run from going on with the request it claimed."""
ENDS_A_PHASE: Final = (*HOLDS, "outcomes_missing", "wrong_phase")


def status_of_code(code: str) -> int:
    """The HTTP status that a problem of that code has."""
    kind, meaning = PROBLEM_CODES[code]
    if kind is MoveRefused:
        return status_of(MoveRefused(meaning, current="", wanted="", allowed=()))
    return status_of(kind(meaning, code=code))
