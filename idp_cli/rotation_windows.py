"""Rotation windows as people write them: `mon-fri 22-06 Europe/Madrid`."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from idp_kernel.errors import InvalidInput
from idp_kernel.wire.api import RotationWindow, Weekday

WINDOW_FORM = (
    "[DAYS] FROM-UNTIL [TIME ZONE], such as mon-fri 22-06 Europe/Madrid; days like mon-fri or "
    "sat,sun (all, if left out), full hours from 0 to 24, a zone of the IANA database (UTC, if "
    "left out)"
)
MIDNIGHT = 24

_WEEK = tuple(Weekday)
_DAY_BY_WORD = {
    **{day.value: index for index, day in enumerate(_WEEK)},
    **{day.value[:3]: index for index, day in enumerate(_WEEK)},
}
_HOURS = re.compile(r"(\d{1,2})-(\d{1,2})")


def parse_window(text: str) -> RotationWindow:
    """Raises `InvalidInput` (`window_invalid`) that says what fits.

    An end at or before its beginning is on the next day; the window counts to the day it began.
    """
    days, hours, zones = _parts(text)
    start, end = int(hours[1]), int(hours[2]) or MIDNIGHT
    if start >= MIDNIGHT or end > MIDNIGHT:
        raise _invalid(text, "a day has the hours 0 to 24")
    zone = " ".join(zones) or "UTC"
    if not _is_time_zone(zone):
        raise _invalid(text, f"{zone!r} is no time zone")
    return RotationWindow(
        days=_days(days.lower(), text), from_hour=start, until_hour=end, time_zone=zone
    )


def window_text(window: RotationWindow) -> str:
    """What `parse_window` reads back."""
    hours = f"{window.from_hour:02}-{window.until_hour:02}"
    days = _days_text(sorted(_WEEK.index(day) for day in window.days))
    return " ".join(part for part in (days, hours, window.time_zone) if part)


def _parts(text: str) -> tuple[str, re.Match[str], list[str]]:
    """The days, without blanks; the hours; the words after them."""
    words = text.split()
    for number, word in enumerate(words):
        if hours := _HOURS.fullmatch(word):
            return "".join(words[:number]), hours, words[number + 1 :]
    raise _invalid(text, "it says no hours")


def _days(words: str, text: str) -> tuple[Weekday, ...]:
    if not words:
        return _WEEK
    numbers = {number for word in words.split(",") for number in _range(word, text)}
    return tuple(_WEEK[number] for number in sorted(numbers))


def _range(word: str, text: str) -> list[int]:
    """`fri-mon` goes over the week's end."""
    first, _, last = word.partition("-")
    for day in (first, last or first):
        if day not in _DAY_BY_WORD:
            raise _invalid(text, f"{day!r} is no day of the week")
    begin, end = _DAY_BY_WORD[first], _DAY_BY_WORD[last or first]
    length = (end - begin) % len(_WEEK) + 1
    return [(begin + offset) % len(_WEEK) for offset in range(length)]


def _days_text(numbers: list[int]) -> str:
    """Runs of three or more days as a range; nothing for the whole week."""
    if len(numbers) == len(_WEEK):
        return ""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(_run_text([_WEEK[number].value[:3] for number in run]) for run in runs)


def _run_text(days: list[str]) -> str:
    return f"{days[0]}-{days[-1]}" if len(days) > 2 else ",".join(days)


def _is_time_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _invalid(text: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"{text!r} is no rotation window: {why}. What fits: {WINDOW_FORM}.",
        code="window_invalid",
    )
