"""Moments as people write them: a date, a time, or how long ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from idp_cli.durations import parse_duration
from idp_kernel.errors import InvalidInput

MOMENT_FORM = "2027-01-31 or 2027-01-31T12:00:00Z"
PAST_FORM = f"{MOMENT_FORM}; or how long ago, such as 2h or 7d"
_AGO = re.compile(r"(\d+[dhms])+")


def parse_moment(text: str) -> datetime:
    """A date or RFC 3339 time, in UTC where it names no offset; raises `InvalidInput`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f"{text!r} is no time; what fits: {MOMENT_FORM}.", code="time_invalid"
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def parse_past(text: str, now: datetime) -> datetime:
    """A moment, or one a duration before `now`; raises `InvalidInput`."""
    if _AGO.fullmatch(text):
        return _ago(text, now)
    try:
        return parse_moment(text)
    except InvalidInput as error:
        raise _no_time(text) from error


def _ago(text: str, now: datetime) -> datetime:
    try:
        return now - timedelta(seconds=parse_duration(text))
    except (InvalidInput, OverflowError) as error:
        raise _no_time(text) from error


def _no_time(text: str) -> InvalidInput:
    return InvalidInput(f"{text!r} is no time; what fits: {PAST_FORM}.", code="time_invalid")
