"""Rotation policies as people write and read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from pydantic import ValidationError

from idp_cli.durations import duration_text, parse_duration
from idp_cli.moments import parse_moment
from idp_cli.rotation_windows import parse_window, window_text
from idp_kernel.errors import InvalidInput
from idp_kernel.wire.api import RotationPolicy, RotationWindow, SetRotationPolicy

ANY_TIME = "any"
NEVER = "never"


def policy_changes(
    *, interval: str | None, grace: str | None, window: str | None, expires_at: str | None
) -> dict[str, object]:
    """The fields of a policy that were given as options, which may be nothing on purpose.

    Raises `InvalidInput` that names the option and says what fits.
    """
    given: tuple[tuple[str, str, str | None, Callable[[str], object]], ...] = (
        ("interval_seconds", "--interval", interval, parse_duration),
        ("grace_seconds", "--grace", grace, parse_duration),
        ("window", "--window", window, parse_window_or_any),
        ("expires_at", "--expires-at", expires_at, parse_expiry),
    )
    return {
        field: _parsed(option, text, parse)
        for field, option, text, parse in given
        if text is not None
    }


def policy_facts(policy: RotationPolicy) -> tuple[tuple[str, object], ...]:
    """The policy in force, as people write it."""
    return (
        ("rotated every", duration_text(policy.interval_seconds)),
        ("grace", duration_text(policy.grace_seconds)),
        ("window", window_or_any_text(policy.window)),
        ("expires", policy.expires_at),
    )


def window_or_any_text(window: RotationWindow | None) -> str:
    """A window as people read it."""
    return "any time" if window is None else window_text(window)


def parse_expiry(text: str) -> datetime | None:
    """A moment; none for `never`."""
    if text == NEVER:
        return None
    try:
        return parse_moment(text)
    except InvalidInput as error:
        told = f"{error.message.removesuffix('.')}; or {NEVER}."
        raise InvalidInput(told, code=error.code) from None


def changed_policy(present: RotationPolicy, changes: Mapping[str, object]) -> SetRotationPolicy:
    """The policy in force with `changes`; all of it becomes the secret's own.

    Raises `InvalidInput` that names the limit of a duration that is beyond it.
    """
    try:
        return SetRotationPolicy.model_validate({**dict(present), **changes})
    except ValidationError as error:
        option = f"--{str(error.errors()[0]['loc'][0]).removesuffix('_seconds')}"
        told = limit_told(error)
        if told is None:
            raise
        raise InvalidInput(f"{option}: {told}.") from error


def limit_told(error: ValidationError) -> str | None:
    """Which limit a duration is beyond; none where it is something else that does not fit."""
    first = error.errors()[0]
    limits = first.get("ctx", {})
    for bound, words in (("le", "at most"), ("ge", "at least")):
        if bound in limits:
            allowed = duration_text(limits[bound])
            return f"{duration_text(first['input'])} does not fit; it takes {words} {allowed}"
    return None


def parse_window_or_any(text: str) -> RotationWindow | None:
    """A window; none for `any`."""
    return None if text == ANY_TIME else parse_window(text)


def _parsed(option: str, text: str, parse: Callable[[str], object]) -> object:
    try:
        return parse(text)
    except InvalidInput as error:
        raise InvalidInput(f"{option}: {error.message}", code=error.code) from error
