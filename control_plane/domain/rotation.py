"""When a secret is rotated: defaults by sensitivity, its own policy, windows, what is due."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from idp_kernel.errors import InvalidInput
from idp_kernel.workflows import DomainEvent

WEEKDAYS: Final = (
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
)
"""As `datetime.weekday` counts them."""

LARGEST_JITTER: Final = 0.1
"""Of the interval."""
AGE_SLACK: Final = timedelta(days=1)
"""How late a rotation may come, by its window or by the queue, before the secret is overdue."""
EXPIRY_NOTICE: Final = timedelta(days=7)
"""How long before a credential ends by itself this is told."""
BACK_AT_WORK_WITHIN: Final = timedelta(hours=1)
"""A rotation whose grace ends within this time keeps a place among those at work at once: it needs
a run again soon. One that has longer to wait leaves its place to another."""
LONGEST_PAUSE: Final = timedelta(hours=1)
"""How long the schedule leaves a secret alone whose rotation came to nothing, and how long what
asked for that rotation is not asked again."""

ACTOR_SCHEDULE: Final = "secret_rotation_schedule"
ACTOR_EVENTS_SENSOR: Final = "secret_rotation_events_sensor"
REASON_DUE: Final = "due"
ROUTINE: Final = (
    (ACTOR_SCHEDULE, REASON_DUE),
    (ACTOR_EVENTS_SENSOR, DomainEvent.SECRET_EXPIRING),
)
"""Who asks for rotations that wait for each other, and why: no person and no emergency."""

_FIRST_EXPIRY: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LAST_EXPIRY: Final = datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class RotationWindow:
    """When scheduled rotations may begin: full hours of some days, in one time zone.

    With `until_hour` at or before `from_hour` it lasts past midnight and belongs to the day it
    began. Hours are those on the wall there: one that the clock skips is not there that day, one
    that it repeats is there twice.
    """

    days: tuple[str, ...]
    from_hour: int
    until_hour: int
    time_zone: str

    def is_open(self, now: datetime) -> bool:
        """Whether a rotation may begin now. Raises `InvalidInput` for a zone nobody knows."""
        local = now.astimezone(zone_of(self.time_zone))
        today, yesterday = WEEKDAYS[local.weekday()], WEEKDAYS[local.weekday() - 1]
        if self.from_hour < self.until_hour:
            return today in self.days and self.from_hour <= local.hour < self.until_hour
        began_today = today in self.days and local.hour >= self.from_hour
        return began_today or (yesterday in self.days and local.hour < self.until_hour)


def zone_of(name: str) -> ZoneInfo:
    """The zone of that name in the IANA database; `InvalidInput` (`time_zone_unknown`) if none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # a folder's name is an OSError
        raise InvalidInput(
            "The time zone is none of the IANA database; it takes a name such as Europe/Madrid.",
            code="time_zone_unknown",
        ) from error


def check_expiry(moment: datetime) -> None:
    """Raises `InvalidInput` (`expiry_out_of_range`) for an end that no credential has."""
    if not _FIRST_EXPIRY <= moment <= _LAST_EXPIRY:
        raise InvalidInput(
            f"A credential ends between {_FIRST_EXPIRY:%Y} and {_LAST_EXPIRY:%Y}.",
            code="expiry_out_of_range",
        )


@dataclass(frozen=True)
class PolicyInForce:
    """What counts for a secret now."""

    interval: timedelta
    grace: timedelta
    window: RotationWindow | None = None
    expires_at: datetime | None = None

    @property
    def longest_age(self) -> timedelta:
        """How old a version may get before the secret is overdue."""
        return self.interval + self.grace + AGE_SLACK

    def allows(self, now: datetime) -> bool:
        """Whether a scheduled rotation may begin now."""
        return self.window is None or self.window.is_open(now)


DEFAULT_POLICIES: Final = {
    "low": PolicyInForce(interval=timedelta(days=180), grace=timedelta(hours=24)),
    "medium": PolicyInForce(interval=timedelta(days=90), grace=timedelta(hours=24)),
    "high": PolicyInForce(interval=timedelta(days=30), grace=timedelta(hours=1)),
}
"""By sensitivity."""


@dataclass(frozen=True)
class RotationPolicy:
    """What a secret says of its own rotation; `None` leaves it to its sensitivity."""

    interval: timedelta | None = None
    grace: timedelta | None = None
    window: RotationWindow | None = None
    expires_at: datetime | None = None
    """When the present credential ends by itself."""

    def in_force(self, sensitivity: str) -> PolicyInForce:
        default = DEFAULT_POLICIES[sensitivity]
        return PolicyInForce(
            interval=default.interval if self.interval is None else self.interval,
            grace=default.grace if self.grace is None else self.grace,
            window=self.window,
            expires_at=self.expires_at,
        )

    def of_next_credential(self) -> RotationPolicy:
        """The policy once another credential is in use: of its end nothing was said yet."""
        return replace(self, expires_at=None)


BY_SENSITIVITY: Final = RotationPolicy()
"""What a secret says that says nothing."""


def next_rotation_at(rotated_at: datetime, interval: timedelta, secret_id: str) -> datetime:
    """An interval after the last rotation, up to a tenth of it earlier.

    How much earlier depends on the secret alone: what was made together is not rotated together.
    """
    return rotated_at + interval - interval * (LARGEST_JITTER * _share_of(secret_id))


def pause_after_failure(interval: timedelta) -> timedelta:
    """So long the schedule takes others first, never longer than the interval."""
    return min(interval, LONGEST_PAUSE)


def _share_of(secret_id: str) -> float:
    """Evenly from 0 up to 1, the same for the same secret."""
    digest = hashlib.sha256(secret_id.encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48
