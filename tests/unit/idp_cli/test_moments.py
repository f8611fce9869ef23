from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from idp_cli.moments import parse_moment, parse_past
from idp_kernel.errors import InvalidInput

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("typed", "moment"),
    [
        ("2027-01-30", datetime(2027, 1, 30, tzinfo=UTC)),
        ("2027-01-30T10:00:00Z", datetime(2027, 1, 30, 10, tzinfo=UTC)),
        ("2h", NOW - timedelta(hours=2)),
        ("1d12h", NOW - timedelta(days=1, hours=12)),
    ],
)
def test_a_past_moment_is_a_date_a_time_or_how_long_ago(typed: str, moment: datetime) -> None:
    assert parse_past(typed, NOW) == moment


@pytest.mark.parametrize("typed", ["yesterday", "", "2h ago", "999999999d", "2027-13-01"])
def test_what_is_no_moment_is_told_with_what_fits(typed: str) -> None:
    with pytest.raises(InvalidInput, match=r"2027-01-31 .* how long ago") as raised:
        parse_past(typed, NOW)
    assert raised.value.code == "time_invalid"


def test_a_time_without_an_offset_is_utc() -> None:
    assert parse_moment("2027-01-31T12:00:00") == NOW
