"""What to do next about an error: the command to type, or whom to ask."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

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
from idp_kernel.wire.api import Application, Secret, WorkflowRequest

About = Mapping[str, object]
"""What an error is about, by the names in `_UNKNOWN`; also what its details may hold."""

_UNKNOWN: dict[str, str] = {
    "team": "TEAM",
    "applicationId": "APP",
    "environment": "ENVIRONMENT",
    "applicationEnvironmentId": "ID",
    "secretId": "SECRET",
    "requestId": "REQUEST",
    "activeRequestId": "REQUEST",
}
"""What an advised command says where nobody knows more: the word that its help has there."""

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
    "`{idp} token create PRINCIPAL`.",
    "token_expired": "Ask an admin for a new token: `{idp} token create PRINCIPAL`.",
    "token_revoked": "Ask an admin for a new token: `{idp} token create PRINCIPAL`.",
    "token_already_shown": "Its first answer was lost: type the command again; a token that was "
    "created is to be revoked first (`{idp} token list` has it, `{idp} token revoke TOKEN_ID` ends "
    "it).",
    "team_not_active": "Activate the team (`{idp} team activate {team}`), or resume it "
    "(`{idp} team resume {team}`).",
    "environment_not_active": "Activate it (`{idp} environment activate {environment}`), or "
    "unfreeze it (`{idp} environment unfreeze {environment}`).",
    "request_succeeded": "There is nothing to retry; `{idp} request show {requestId}` tells what "
    "it did.",
    "application_not_ready": "Look at it with `{idp} app show {applicationId}`: while it is "
    "Onboarding, wait for the request that is named there; when it is Approved, type `{idp} app "
    "onboard {applicationId} --watch`.",
    "application_not_valid": "A repository above belongs to somebody else: have it renamed or "
    "removed at the forge, then `{idp} request retry {requestId} --watch`.",
    "approvals_not_available": "Nobody could approve yet: let the team's applications begin "
    "without, with `{idp} team policy {team} --application-approval none`.",
    "secret_not_active": "See its state with `{idp} secret show {secretId}`; a suspended one goes "
    "on with `{idp} secret resume {secretId}`.",
    "rotation_in_grace": "Or end the old credential at once: `{idp} secret rotate {secretId} "
    "--emergency`.",
    "rotation_not_valid": "Nothing was changed. Set right what is named above: `{idp} secret "
    "bindings {secretId}` shows the bindings, `{idp} env provision {applicationId} {environment} "
    "--watch` puts back what is gone, and `{idp} secret rotate {secretId} --emergency` ends logins "
    "that are still in use. After the first two: `{idp} request retry {requestId} --watch`.",
    "request_superseded": "See the newer one with `{idp} request show {activeRequestId}`, or ask "
    "for another rotation: `{idp} secret rotate {secretId} --watch`.",
    "secret_without_value": "Provision its environment first: `{idp} env provision "
    "{applicationId} {environment} --watch`.",
    "application_environment_not_ready": "See its state with `{idp} env show "
    "{applicationEnvironmentId}`, which names the request under way; without one type `{idp} env "
    "provision {applicationId} {environment} --watch`.",
    "wrong_phase": "Launch the job of the phase that `{idp} request show {requestId}` tells.",
    "binding_missing": "Put the binding back in its repository, or let `{idp} env provision "
    "{applicationId} {environment} --watch` do it; then `{idp} request retry {requestId} --watch`.",
    "no_free_login": "Both logins are pinned: `{idp} secret bindings {secretId}` shows by what. An "
    "ordinary rotation moves all to one: `{idp} secret rotate {secretId} --watch`.",
    "new_credential_refused": "The old credential works on. Set right what the message names, then "
    "`{idp} request retry {requestId} --watch`.",
    "elder_credential_in_use": "Somebody still uses the credential before the last one: end that, "
    "then `{idp} request retry {requestId} --watch`; in an emergency `{idp} secret rotate "
    "{secretId} --emergency` ends it.",
    "binding_moved": "Somebody changed what the binding pins: see it with `{idp} secret bindings "
    "{secretId}`, set it right in the repository, then `{idp} request retry {requestId} --watch`.",
    "store_login_refused": "Compare the team's role in the store with `{idp} secret show "
    "{secretId}`; it is made when a secret is provisioned.",
    "store_token_left": "Give that token to nobody until then; `{idp} doctor` looks at the store.",
    "duration_invalid": "Write it as 90d, 12h or 45m.",
    "command_not_run": "Give a program of this machine after --exec; `bao` comes with the "
    "platform, in .venv/bin.",
    "own_branch": "Ask another member of the team to merge it with the same command.",
}

_BY_TYPE: dict[type[PlatformError], str] = {
    InvalidInput: "Correct what is named above; `--help` shows what the command takes.",
    Unauthenticated: "Give a valid token with --token-file or IDP_TOKEN; `{idp} whoami` tests it.",
    NotAllowed: "See your roles with `{idp} whoami`; an admin adds you to the team with "
    "`{idp} team member add {team} PRINCIPAL --role team-maintainer`.",
    NotFound: "Look for the name or id with the matching `list` command; what your token may "
    "not see is not found either.",
    Conflict: "Look at its present state with the matching `show` command.",
    Unavailable: "Try again in a moment; `{idp} doctor` looks at every part.",
    ProviderRejected: "Somebody has to change something at the provider that is named above.",
    InvariantBroken: "This is a bug: please report it with the end of the log in .idp/logs.",
}

_BESIDE_THE_REQUEST = frozenset({"rotation_in_grace"})
"""Codes with one more way than to wait for the request that stands in the way."""
_INSTEAD_OF_THE_REQUEST = frozenset({"request_superseded"})
"""Codes whose other request may have ended already, so that there may be nothing to wait for."""


@contextmanager
def refusals_about(about: About) -> Iterator[None]:
    """What is refused meanwhile has in its details what it is about, for its advice."""
    try:
        yield
    except PlatformError as error:
        error.details = {**about, **error.details}
        raise


def about_application(application: Application) -> About:
    """An application, as advised commands name it."""
    return {"team": application.team, "applicationId": application.id}


def about_secret(secret: Secret) -> About:
    """A secret and where it belongs, as advised commands name them."""
    return {
        "team": secret.team,
        "applicationId": secret.application_id,
        "environment": secret.environment,
        "applicationEnvironmentId": secret.application_environment_id,
        "secretId": secret.id,
    }


def about_request(request: WorkflowRequest) -> About:
    """A request and its subjects, as advised commands name them."""
    known = {
        "team": request.team,
        "applicationId": request.application_id,
        "applicationEnvironmentId": request.application_environment_id,
        "secretId": request.secret_id,
        "requestId": request.id,
    }
    return {name: value for name, value in known.items() if value is not None}


def advice_for(error: PlatformError) -> str:
    """What to do; it names the request that stands in the way, if one does."""
    own = advice_for_code(error.code, error.details)
    active_request = error.details.get("activeRequestId")
    if active_request is not None and error.code not in _INSTEAD_OF_THE_REQUEST:
        watch = f"Watch the one under way: {program_word()} request watch {active_request}"
        return f"{watch}. {own}" if error.code in _BESIDE_THE_REQUEST else watch
    if isinstance(error, MoveRefused):
        return _moves(error)
    return own or _worded(_BY_TYPE[_kind(error)], error.details)


def advice_for_code(code: str, about: About) -> str | None:
    """What to do about exactly this, also where it ended a workflow; none for codes without.

    Commands name what `about` knows, so that they can be typed as they stand.
    """
    advice = _BY_CODE.get(code)
    return None if advice is None else _worded(advice, about)


def _worded(advice: str, about: About) -> str:
    known = {
        name: shlex.quote(str(value))
        for name, value in about.items()
        if name in _UNKNOWN and isinstance(value, str)
    }
    return advice.format(idp=program_word(), **{**_UNKNOWN, **known})


def _moves(error: MoveRefused) -> str:
    allowed = error.details["allowed"]
    if not isinstance(allowed, list) or not allowed:
        return f"It is {error.details['current']}, and nothing leads on from there."
    return f"It is {error.details['current']}; what is possible now: {', '.join(allowed)}."


def _kind(error: PlatformError) -> type[PlatformError]:
    return next(kind for kind in type(error).__mro__ if kind in _BY_TYPE)
