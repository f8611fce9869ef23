"""What to do next about an error: the command to type, or whom to ask."""

from __future__ import annotations

from idp_cli.output import program_word
from idp_kernel.errors import (
    Conflict,
    InvalidInput,
    InvariantBroken,
    MoveRefused,
    NotAllowed,
    NotFound,
    PlatformError,
    ProviderRejected,
    Unauthenticated,
    Unavailable,
)

_BY_CODE: dict[str, str] = {
    "unreachable": "Start the platform with `{idp} up`, or look at it with `{idp} doctor`.",
    "already_running": "Use it as it is (`{idp} status`), or stop it with `{idp} down`.",
    "not_running": "Start the platform with `{idp} up`.",
    "preflight_failed": "Change what is marked above, then try again.",
    "stopping": "Wait until it has stopped (`{idp} down` does), then start it with `{idp} up`.",
    "not_yours": "Stop it as the account that started it.",
    "record_missing": "End the process that holds that file (`fuser` names it), then type "
    "`{idp} down` again.",
    "start_failed": "Read the log named above; `{idp} doctor` looks at every part.",
    "supervisor_gone": "Start the platform again with `{idp} up`; `{idp} down` clears what is "
    "left.",
    "token_missing": "Give a token with --token-file or IDP_TOKEN; an admin makes one with "
    "`{idp} token create <principal>`.",
    "token_expired": "Ask an admin for a new token: `{idp} token create <principal>`.",
    "token_revoked": "Ask an admin for a new token: `{idp} token create <principal>`.",
    "token_already_shown": "Its first answer was lost: revoke it (`{idp} token revoke`) and create "
    "another.",
    "team_not_active": "Activate the team (`{idp} team activate`), or resume it "
    "(`{idp} team resume`).",
    "environment_not_active": "Activate it (`{idp} environment activate`), or unfreeze it "
    "(`{idp} environment unfreeze`).",
    "request_succeeded": "There is nothing to retry; provision again with `{idp} env provision`.",
    "own_branch": "Ask another member of the team to merge it with the same command.",
}

_BY_TYPE: dict[type[PlatformError], str] = {
    InvalidInput: "Correct what is named above; `--help` shows what the command takes.",
    Unauthenticated: "Give a valid token with --token-file or IDP_TOKEN; `{idp} whoami` tests it.",
    NotAllowed: "See your roles with `{idp} whoami`; an admin adds you to the team with "
    "`{idp} team member add`.",
    NotFound: "Look for the name or id with the matching `list` command; what your token may "
    "not see is not found either.",
    Conflict: "Look at its present state with the matching `show` command.",
    Unavailable: "Try again in a moment; `{idp} doctor` looks at every part.",
    ProviderRejected: "Somebody has to change something at the provider that is named above.",
    InvariantBroken: "This is a bug: please report it with the end of the log in .idp/logs.",
}


def advice_for(error: PlatformError) -> str:
    """One sentence; it names the request that stands in the way, if one does."""
    active_request = error.details.get("activeRequestId")
    if active_request is not None:
        return f"Watch the one under way: {program_word()} request watch {active_request}"
    if isinstance(error, MoveRefused):
        return _moves(error)
    advice = _BY_CODE.get(error.code) or _BY_TYPE[_kind(error)]
    return advice.format(idp=program_word())


def _moves(error: MoveRefused) -> str:
    allowed = error.details["allowed"]
    if not isinstance(allowed, list) or not allowed:
        return f"It is {error.details['current']}, and nothing leads on from there."
    return f"It is {error.details['current']}; what is possible now: {', '.join(allowed)}."


def _kind(error: PlatformError) -> type[PlatformError]:
    return next(kind for kind in type(error).__mro__ if kind in _BY_TYPE)
