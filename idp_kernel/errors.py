"""The one error tree, ordered by what its reader should do.

    PlatformError
    ├── the caller acts
    │   ├── InvalidInput      the request itself is wrong; sending it again changes nothing
    │   ├── Unauthenticated   nobody is known behind the request
    │   ├── NotAllowed        somebody is known, and may not
    │   ├── NotFound          it does not exist, or the caller may not know that it does
    │   └── Conflict          the state of something stands against it
    │       └── MoveRefused   a state machine refused: current, wanted, what would allow it
    ├── Unavailable           try again later, `retry_after_seconds` if known
    ├── ProviderRejected      an outside party said no; a person must act there
    └── InvariantBroken       our bug

None of them knows HTTP or Dagster; `idp_kernel.http.problems` and `idp_dagster.policies`
translate. A message says what was attempted, what was found and what to do. `code` is stable,
lower snake case, and belongs to the wire contract.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar


class PlatformError(Exception):
    """Any error this platform raises on purpose."""

    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.details: dict[str, object] = dict(details or {})


class InvalidInput(PlatformError):
    """The request is malformed; the caller changes it."""

    default_code = "invalid_input"


class Unauthenticated(PlatformError):
    """No valid credential came with the request."""

    default_code = "unauthenticated"


class NotAllowed(PlatformError):
    """The caller is known and lacks the role or scope."""

    default_code = "not_allowed"


class NotFound(PlatformError):
    """No such thing, or none the caller may see; the two are told alike."""

    default_code = "not_found"


class Conflict(PlatformError):
    """The current state stands against the request."""

    default_code = "conflict"


class MoveRefused(Conflict):
    """A move table has no such move from the current state."""

    default_code = "move_refused"

    def __init__(
        self,
        message: str,
        *,
        current: str,
        wanted: str,
        allowed: Sequence[str],
        code: str | None = None,
    ) -> None:
        super().__init__(
            message,
            code=code,
            details={"current": current, "wanted": wanted, "allowed": list(allowed)},
        )


class Unavailable(PlatformError):
    """Something needed is away for now; the same request may succeed later."""

    default_code = "unavailable"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retry_after_seconds: float | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message, code=code, details=details)
        self.retry_after_seconds = retry_after_seconds


class ProviderRejected(PlatformError):
    """An outside party refused for good; a person must change something there."""

    default_code = "provider_rejected"


class InvariantBroken(PlatformError):
    """What cannot be, is: a bug of this platform."""

    default_code = "invariant_broken"
