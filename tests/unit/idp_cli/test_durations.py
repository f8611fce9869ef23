from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp_cli.durations import duration_text, parse_duration, rough_duration_text
from idp_kernel.errors import InvalidInput


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [
        ("90d", 90 * 86400),
        ("12h", 12 * 3600),
        ("45m", 45 * 60),
        ("0s", 0),
        ("1d12h", 36 * 3600),
        (" 30D ", 30 * 86400),
    ],
)
def test_durations_are_read_as_people_write_them(typed: str, seconds: int) -> None:
    assert parse_duration(typed) == seconds


@pytest.mark.parametrize("typed", ["", "5", "d", "3w", "1.5h", "-1h", "1h30", "30m1h", "1h 5m"])
def test_what_is_no_duration_is_told_with_what_fits(typed: str) -> None:
    with pytest.raises(InvalidInput, match=r"what fits: .*90d, 12h, 45m") as refused:
        parse_duration(typed)
    assert refused.value.code == "duration_invalid"


@given(st.integers(min_value=0, max_value=10**9))
def test_what_is_written_is_read_back(seconds: int) -> None:
    assert parse_duration(duration_text(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59, "59s"), (3599, "59m"), (3 * 86400 + 50000, "3d")]
)
def test_roughly_the_longest_unit_is_enough(seconds: int, text: str) -> None:
    assert rough_duration_text(seconds) == text
