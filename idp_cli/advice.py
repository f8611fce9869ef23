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
from idp_kernel.wire.api import Application, ApplicationEnvironment, Secret, WorkflowRequest

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
    "bindingId": "BINDING",
}
"""What an advised command says where nobody knows more: the word that its help has there."""

WRONG_USAGE = "wrong_usage"
"""The code of an error that the command line itself is."""

_RETRY = "`{idp} request retry {requestId} --watch`"
_ONCE_ALL_RUN = "See with `{idp} doctor` whether everything runs. Then " + _RETRY + "."
_NEW_TOKEN = "Ask an admin for a new token: `{idp} token create PRINCIPAL`."

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
    "token_expired": _NEW_TOKEN,
    "token_revoked": _NEW_TOKEN,
    "token_invalid": "Give a whole token with --token-file or IDP_TOKEN; `{idp} whoami` tests it.",
    "token_file_unreadable": "Name a file that you can read with --token-file.",
    "token_malformed": "Give the token alone, with --token-file or IDP_TOKEN.",
    "key_file_unusable": "Put the file back from your backup; without one, take it away and a new "
    "one is made by `{idp} up`.",
    "home_unusable": "Name a folder of your own with --home or IDP_HOME.",
    "token_file_empty": "Write the token into it, or name another file with --token-file.",
    "token_file_unwritable": "Name a file in a folder that you can write to.",
    "token_already_shown": "Its first answer was lost: type the command again; a token that was "
    "created is to be revoked first (`{idp} token list` has it, `{idp} token revoke TOKEN_ID` ends "
    "it).",
    "last_platform_admin": "Make another one first: `{idp} token create PRINCIPAL "
    "--platform-admin`; `{idp} admin list` shows who has a token that is good.",
    "team_not_active": "Activate the team (`{idp} team activate {team}`), or resume it "
    "(`{idp} team resume {team}`).",
    "environment_not_active": "Activate it (`{idp} environment activate {environment}`), or "
    "unfreeze it (`{idp} environment unfreeze {environment}`).",
    "request_succeeded": "There is nothing to retry; `{idp} request show {requestId}` tells what "
    "it did.",
    "application_not_ready": "Look at it with `{idp} app show {applicationId}`: while it is "
    "Onboarding, wait for the request that is named there; when it is Approved, type `{idp} app "
    "onboard {applicationId} --watch`; when it is Proposed, somebody else approves it first, with "
    "`{idp} app approve {applicationId}`.",
    "application_not_valid": "A repository above belongs to somebody else: have it renamed or "
    "removed at the forge, then `{idp} request retry {requestId} --watch`.",
    "own_proposal": "Ask another maintainer of the team (`{idp} team member list {team} --role "
    "team-maintainer` shows them) or a platform-admin to type it.",
    "approval_not_given": "Ask for it once more, with `{idp} app onboard {applicationId}`; another "
    "maintainer or a platform-admin then types `{idp} app approve {applicationId}`.",
    "secret_not_active": "See its state with `{idp} secret show {secretId}`; a suspended one goes "
    "on with `{idp} secret resume {secretId}`.",
    "rotation_in_grace": "Or end its wait at once: `{idp} request cancel {activeRequestId}`; to "
    "rotate, `{idp} secret rotate {secretId} --emergency` does so by itself.",
    "persons_value_in_grace": "Write the next value, unless somebody has: `{idp} secret login "
    "{secretId}` tells how. Then `{idp} request cancel {activeRequestId}`, and `{idp} secret "
    "rotate {secretId} --emergency`.",
    "rotation_not_valid": "Nothing was changed. Set right what is named above: `{idp} secret "
    "bindings {secretId}` shows the bindings, to be put back in their repository where they are "
    "gone; then `{idp} request retry {requestId} --watch`. `{idp} secret rotate {secretId} "
    "--emergency` ends logins that are still in use.",
    "request_superseded": "See the newer one with `{idp} request show {activeRequestId}`, or ask "
    "for another rotation: `{idp} secret rotate {secretId} --watch`.",
    "ending_unfinished": "Let it end with `{idp} request retry {activeRequestId} --watch`, or ask "
    "for its end anew.",
    "secret_without_value": "Provision its environment first: `{idp} env provision "
    "{applicationId} {environment} --watch`; to one that is Active add the secret: `{idp} secret "
    "add {applicationId} {environment} NAME --watch`.",
    "application_environment_not_ready": "See its state with `{idp} env show "
    "{applicationEnvironmentId}`, which names the request under way; without one type `{idp} env "
    "provision {applicationId} {environment} --watch`, or `{idp} env unfreeze "
    "{applicationEnvironmentId}` if it is Frozen.",
    "wrong_phase": "Launch the job of the phase that `{idp} request show {requestId}` tells.",
    "binding_missing": "Put the binding back in its repository, as its history has it; then `{idp} "
    "request retry {requestId} --watch`.",
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
    "declaration_invalid": "Set right what is named above; `{idp} apply -f FILE --dry-run` shows "
    "whether it fits.",
    "file_unreadable": "Name a file that you can read with -f, or - for standard input.",
    "confirmation_needed": "See the changes with `{idp} apply -f FILE --dry-run`, make them with "
    "`{idp} apply -f FILE --yes`.",
    "irreversible": "Read what it ends with --help. If you mean it, type the command again with "
    "--yes.",
    "apply_unfinished": "Let it wait: `{idp} apply -f FILE --yes --watch`.",
    "team_exists": "Use it as it is (`{idp} team show {team}`), or take another slug.",
    "environment_exists": "Use it as it is (`{idp} environment show {environment}`), or take "
    "another slug.",
    "application_exists": "Use it as it is (`{idp} app list --team {team}`), or take another slug.",
    "repository_name_taken": "Take another slug; `{idp} app list --team {team}` shows those that "
    "are taken.",
    "slug_reserved": "Take another slug; this one is kept for the platform itself.",
    "too_many_secrets": "See those it has with `{idp} env show {applicationEnvironmentId}`, and "
    "name fewer.",
    "too_many_rotations": "Wait until some have ended: `{idp} request list --state running`.",
    "platform_draining": "Wait, or have an admin let workflows start again: `{idp} resume`.",
    "workflow_active": "See what is under way with `{idp} request list --state running`.",
    "request_not_ended": "Or end it now: `{idp} request cancel {requestId}`.",
    "request_too_old": "Ask for it anew; see what it was about with `{idp} request show "
    "{requestId}`.",
    "request_never_begun": "Ask for it anew; see what it was about with `{idp} request show "
    "{requestId}`.",
    "request_undone": "What it made was taken back; ask anew instead of retrying. See by what "
    "with `{idp} request show {requestId}`.",
    "not_undoable": "Look at what it did with `{idp} request show {requestId}`; a secret in use "
    "gets a new credential with `{idp} secret rotate {secretId} --watch`, and what was ended for "
    "good does not come back.",
    "nothing_to_undo": "It made nothing, so there is nothing to remove: `{idp} request show "
    "{requestId}` shows its steps.",
    "team_in_use": "Resume it (`{idp} team resume {team}`), deprecate and decommission its "
    "applications (`{idp} app list --team {team}` shows them), reject those that are Proposed "
    "(`{idp} app reject APP --reason WHY`), then suspend and archive it.",
    "application_in_use": "What the message names goes first: `{idp} env list {applicationId}` "
    "shows the environments, `{idp} request list --app {applicationId}` what provisioned them.",
    "secrets_added_since": "Undo the later request first: `{idp} request undo {activeRequestId} "
    "--watch`; `{idp} env show {applicationEnvironmentId}` shows the environment's secrets.",
    "added_secret_in_use": "Revoke what the message names, which takes it away for good: `{idp} "
    "secret revoke {secretId} --reason WHY --watch`. Then ask for the undo again.",
    "request_ended": "See how it ended with `{idp} request show {requestId}`; "
    "`{idp} request retry {requestId} --watch` tries it again unless it succeeded.",
    "request_waiting": "Wait for it with `{idp} request watch {requestId}`.",
    "waited_too_long": "The provider was away for too long: see with `{idp} doctor` that it "
    f"answers, then try it again with {_RETRY}.",
    "deadline_passed": f"It took too long. Try it again with {_RETRY}.",
    "attempt_superseded": "See the newest attempt with `{idp} request show {requestId}`.",
    "row_held": "Type the command again in a moment.",
    "database_unavailable": "Try again in a moment; `{idp} doctor` looks at the database.",
    "not_migrated": "Start the platform anew, which migrates it: `{idp} down`, then `{idp} up`.",
    "events_gone": "Begin with the oldest ones there are: `{idp} events`.",
    "time_zone_unknown": "Write it as the IANA database does, such as Europe/Madrid.",
    "window_invalid": "Write it as `mon-fri 22-06 Europe/Madrid`, or `any`.",
    "time_invalid": "Write it as 2027-01-31 or 2027-01-31T12:00:00Z.",
    "expiry_out_of_range": "Write a duration in that range, such as 90d.",
    "unexpected_answer": "See whether --api-url names the platform itself; `{idp} doctor` looks at "
    "every part.",
    "contract_broken": "Platform and command line are of two versions: `{idp} doctor` shows both.",
    "no_such_route": "Platform and command line are of two versions: `{idp} doctor` shows both.",
    "method_not_allowed": "Platform and command line are of two versions: `{idp} doctor` shows "
    "both.",
    "secret_binding_not_active": "See which binding is suspended with `{idp} secret bindings "
    "{secretId}`; it goes on with `{idp} binding resume {bindingId}`.",
    "quota_exceeded": "See the limits and what is used with `{idp} team limits {team}`; an admin "
    "sets them there.",
    "precondition_failed": "Somebody changed it meanwhile: look at it, then type the command "
    "again.",
    "rate_limited": "Wait a moment; a token that has to make many calls can ask for fewer with "
    "--limit.",
    "declared_twice": "Name each environment, and each secret of one, once.",
    "too_many_watches": "Look at it without watching: `{idp} request show {requestId}`.",
    "body_too_slow": "The connection is too slow for it; try again.",
    "malformed_json": "Something between here and the platform changed what was sent; see whether "
    "--api-url names the platform itself.",
    "idempotency_key_missing": "Something between here and the platform took a header out; see "
    "whether --api-url names the platform itself.",
    "idempotency_key_invalid": "Something between here and the platform changed a header; see "
    "whether --api-url names the platform itself.",
    "reason_required": "Write a `reason` into the launch's configuration.",
    "subject_required": "Write the id of what it is about into the launch's configuration.",
    "cancel_requested": "Wait for its end: `{idp} request watch {requestId}`.",
    "body_too_large": "Send less: shorter texts, or fewer things at once.",
    "cursor_invalid": "Begin with the first page: leave the cursor out.",
    "idempotency_key_reused": "Type the command again: it gets a key of its own.",
    "login_replaced": "A later credential is in its place; ask for a new rotation: `{idp} secret "
    "rotate {secretId} --watch`.",
    "credential_missing": "The store no longer has that version, so no retry finds it; ask for a "
    "new rotation: `{idp} secret rotate {secretId} --watch`.",
    "credential_broken": "What the bindings pin does not work; ask for a new rotation: `{idp} "
    "secret rotate {secretId} --watch`.",
    "value_set_by_person": "Write the new value first: `{idp} secret login {secretId}` tells how. "
    "Then `{idp} secret rotate {secretId} --watch` takes it into use.",
    "credential_unreadable": "Somebody wrote another form into the store: see it with `{idp} secret"
    " login {secretId}`, set it right there, then " + _RETRY + ".",
    "secret_missing": "Its path in the store is gone: restore it from the store's backup, then "
    + _RETRY
    + ".",
    "pull_request_not_merged": "Have the pull request above merged, then " + _RETRY + ".",
    "default_branch_differs": "Make main the repository's default branch at the forge, then "
    + _RETRY
    + ".",
    "repository_archived": "Somebody archived it at the forge: unarchive it there, then "
    + _RETRY
    + ".",
    "repository_missing": "Somebody removed or renamed it at the forge: put it back there, then "
    + _RETRY
    + ".",
    "foreign_owner": "Something of that name belongs to somebody else: have it renamed or removed "
    "at the provider, then " + _RETRY + ".",
    "foreign_team": "It belongs to another team: have it renamed or removed at the provider, then "
    + _RETRY
    + ".",
    "gitops_degraded": "See what the agent says above, set it right in the repository, then "
    + _RETRY
    + ".",
    "merge_conflict": "Bring the branch up to date with the default branch, push it, then type the "
    "command again.",
    "nothing_to_merge": "The default branch has all of it already.",
    "no_such_branch": "Push the branch first: git push origin BRANCH.",
    "no_such_repository": "See its name with `{idp} app show {applicationId}` or `{idp} env show "
    "{applicationEnvironmentId}`.",
    "merge_not_allowed": "Merging takes a member of the team: see your roles with `{idp} whoami`.",
    "unrelated_histories": "Begin the branch at the default branch: git fetch, then git rebase "
    "--onto origin/main.",
    "unknown_author": "Push the branch once more, under a new name and with your own token, so "
    "that the forge knows whose it is.",
    "branch_moved": "Somebody pushed meanwhile: look at the branch, then type the command again.",
    "branch_locked": "Somebody else merges or pushes just now: type the command again.",
    "keys_unavailable": _ONCE_ALL_RUN,
    "provider_busy": _ONCE_ALL_RUN,
    "provider_rate_limited": _ONCE_ALL_RUN,
    "provider_paused": _ONCE_ALL_RUN,
    "circuit_open": _ONCE_ALL_RUN,
    "fenced_off": "A later attempt goes on with it: `{idp} request show {requestId}`.",
    "run_interrupted": f"Try it again with {_RETRY}.",
    "engine_storage_failed": "Have an operator look whether Dagster's database has room, with "
    f"`{{idp}} doctor`. Then try it again with {_RETRY}.",
    "undone": "What it did was undone; ask anew instead of retrying.",
    "issuer_not_configured": "Have an operator configure that issuer, or declare a secret of "
    "another name with another issuer.",
}

_PROVIDER_PREFIXES = (
    "agent_",
    "argocd_",
    "flux_",
    "forge_",
    "git_",
    "gitea_",
    "github_",
    "harbor_",
    "ledger_",
    "openbao_",
    "postgres_",
)
_BY_PROVIDER = (
    "Set right what the message names; `{idp} doctor` looks at every part. Then " + _RETRY + "."
)
"""Of codes that begin with one of the prefixes: whose message says already what is to be done."""

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

_BESIDE_THE_REQUEST = frozenset({"rotation_in_grace", "request_not_ended"})
"""Codes with one more way than to wait for the request that stands in the way."""
_INSTEAD_OF_THE_REQUEST = frozenset(
    {
        "ending_unfinished",
        "request_superseded",
        "secrets_added_since",
        "persons_value_in_grace",
    }
)
"""Codes whose other request may have ended already, or is not to be waited for."""


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


def about_application_environment(found: ApplicationEnvironment) -> About:
    """An application environment, as advised commands name it."""
    return {
        "team": found.team,
        "applicationId": found.application_id,
        "environment": found.environment,
        "applicationEnvironmentId": found.id,
    }


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
    if error.code == WRONG_USAGE:
        return _usage(error)
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
    if advice is None and code.startswith(_PROVIDER_PREFIXES):
        advice = _BY_PROVIDER
    return None if advice is None else _worded(advice, about)


def _worded(advice: str, about: About) -> str:
    known = {
        name: shlex.quote(str(value))
        for name, value in about.items()
        if name in _UNKNOWN and isinstance(value, str)
    }
    return advice.format(idp=program_word(), **{**_UNKNOWN, **known})


def _usage(error: PlatformError) -> str:
    """An example where the command has one, and where all is said that it takes."""
    command, example = error.details["command"], error.details.get("example")
    help_told = f"`{program_word()} {command}".rstrip() + " --help` shows what there is."
    if example is None:
        return help_told
    return f"For example `{program_word()} {example}`; {help_told}"


def _moves(error: MoveRefused) -> str:
    allowed = error.details["allowed"]
    if not isinstance(allowed, list) or not allowed:
        return f"It is {error.details['current']}, and nothing leads on from there."
    return f"It is {error.details['current']}; what is possible now: {', '.join(allowed)}."


def _kind(error: PlatformError) -> type[PlatformError]:
    return next(kind for kind in type(error).__mro__ if kind in _BY_TYPE)
