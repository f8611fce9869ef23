from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp_cli.rotation_windows import parse_window, window_text
from idp_kernel.errors import InvalidInput
from idp_kernel.wire.api import RotationWindow, Weekday

WEEK = tuple(Weekday)


@pytest.mark.parametrize(
    ("typed", "days", "hours", "zone"),
    [
        ("mon-fri 22-06 Europe/Madrid", WEEK[:5], (22, 6), "Europe/Madrid"),
        ("22-6", WEEK, (22, 6), "UTC"),
        ("  Sat,SUN   0-24 ", WEEK[5:], (0, 24), "UTC"),
        ("sat, sunday 8-12 UTC", WEEK[5:], (8, 12), "UTC"),
        ("fri-mon 1-2", (WEEK[0], *WEEK[4:]), (1, 2), "UTC"),
        ("wed 0-0", (WEEK[2],), (0, 24), "UTC"),
    ],
)
def test_windows_are_read_as_people_write_them(
    typed: str, days: tuple[Weekday, ...], hours: tuple[int, int], zone: str
) -> None:
    assert parse_window(typed) == RotationWindow(
        days=days, from_hour=hours[0], until_hour=hours[1], time_zone=zone
    )


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("", "it says no hours"),
        ("mon-fri", "it says no hours"),
        ("mon-foo 1-2", "'foo' is no day of the week"),
        ("1-25", "a day has the hours 0 to 24"),
        ("24-1", "a day has the hours 0 to 24"),
        ("mon 1-2 Mars/One", "'Mars/One' is no time zone"),
        ("1-2 ../etc/passwd", "'../etc/passwd' is no time zone"),
        ("22:00-06:00", "it says no hours"),
    ],
)
def test_what_is_no_window_is_told_with_what_fits(typed: str, why: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_window(typed)
    assert why in refused.value.message
    assert "mon-fri 22-06 Europe/Madrid" in refused.value.message
    assert refused.value.code == "window_invalid"


WINDOWS = st.builds(
    RotationWindow,
    days=st.sets(st.sampled_from(WEEK), min_size=1).map(
        lambda days: tuple(day for day in WEEK if day in days)
    ),
    from_hour=st.integers(0, 23),
    until_hour=st.integers(1, 24),
    time_zone=st.sampled_from(["UTC", "Europe/Madrid", "America/Sao_Paulo"]),
)


@given(WINDOWS)
def test_what_is_written_is_read_back(window: RotationWindow) -> None:
    assert parse_window(window_text(window)) == window
