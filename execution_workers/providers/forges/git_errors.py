"""What git's last words mean to us, at whichever forge."""

from __future__ import annotations

import re

from execution_workers.providers.calls import Verdict
from idp_kernel.errors import ProviderRejected, Unavailable

_AGAIN = "It is tried again."
_DENIED = Verdict(
    ProviderRejected,
    "forge_denied",
    "Give execution-workers the credential of an account that may read and push there.",
)
_MISSING = Verdict(
    ProviderRejected,
    "forge_missing",
    "Restore it at the forge; what is not active yet may begin again with its first step.",
)
_REJECTED = Verdict(
    ProviderRejected,
    "forge_rejected",
    "See which rule of the forge the push went against, and let the platform's account past it.",
)
_FAILED = Verdict(Unavailable, "forge_failed", "Look at the forge's log.")
_UNREACHABLE = Verdict(Unavailable, "forge_unreachable", _AGAIN)
_BROKEN_OFF = Verdict(Unavailable, "git_broken_off", _AGAIN)

GIT_ERRORS: tuple[tuple[re.Pattern[str], Verdict], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), verdict)
    for pattern, verdict in (
        (r"authentication failed|could not read username|error: 40[13]\b", _DENIED),
        (r"repository .* not found|error: 404\b", _MISSING),
        (r"pre-receive hook declined|protected branch|is protected|refusing to", _REJECTED),
        (r"repository rule violations|push declined", _REJECTED),
        (r"invalid refspec|not a valid (ref|branch)|invalid path|directory conflict", _REJECTED),
        (r"error: 413\b|exceeds maximum|too large", _REJECTED),
        (r"could not resolve host|failed to connect|couldn't connect|connection (refused|reset)",
         _UNREACHABLE),
        (r"timed out|too slow|early eof|unexpected disconnect|hung up|empty reply|rpc failed",
         _BROKEN_OFF),
        (r"error: (429|5\d\d)\b", _FAILED),
    )
)  # fmt: skip
"""By what git says, the first line that fits; git's exit codes tell nothing."""

GIT_TIMEOUT = Verdict(Unavailable, "git_timeout", _AGAIN)
GIT_UNKNOWN = Verdict(Unavailable, "git_failed", "Look at the forge's log.")
OF_ONE_REPOSITORY = frozenset(
    each.code for each in (GIT_TIMEOUT, GIT_UNKNOWN, _BROKEN_OFF, _FAILED, _MISSING, _REJECTED)
)
"""What git says that may be one repository's own fault, if the forge answers all the same."""
BRANCH_BUSY = Verdict(Unavailable, "forge_branch_busy", _AGAIN, contended=True)
"""Others pushed between our reading and our pushing, several times in a row."""

_IN_THE_WAY = Verdict(
    ProviderRejected,
    "forge_rejected",
    "Remove or rename the branch whose name is in the way of that one, then retry.",
)

_OVERTAKEN = re.compile(
    r"non-fast-forward|fetch first|stale info|cannot lock ref|failed to update ref|"
    r"reference already exists|incorrect old value|remote ref does not exist|"
    r"directory file conflict",
    re.IGNORECASE,
)
_NO_BRANCH = re.compile(r"couldn't find remote ref refs/heads/", re.IGNORECASE)
_NAMED_LIKE_ITS_FOLDER = re.compile(r"exists; cannot create|directory file conflict", re.IGNORECASE)


def of_git(errors: str) -> Verdict:
    """What git's error output means."""
    return next((verdict for pattern, verdict in GIT_ERRORS if pattern.search(errors)), GIT_UNKNOWN)


def of_own_branch(errors: str) -> Verdict:
    """What it means that a push to a branch of the platform's own came second."""
    return _IN_THE_WAY if _NAMED_LIKE_ITS_FOLDER.search(errors) else BRANCH_BUSY


def is_overtaken(errors: str) -> bool:
    """Whether a push came second: reading again and pushing again may succeed."""
    return _OVERTAKEN.search(errors) is not None


def is_without_branch(errors: str) -> bool:
    """Whether a fetch found the repository, and in it no branch of that name."""
    return _NO_BRANCH.search(errors) is not None
