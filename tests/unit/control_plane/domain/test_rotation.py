"""When secrets are rotated: policies, jitter, windows over clock changes, what a switch moves."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.managed_secrets import (
    Secret,
    SecretBinding,
    SecretBindingState,
    SecretState,
)
from control_plane.domain.rotation import (
    AGE_SLACK,
    DEFAULT_POLICIES,
    WEEKDAYS,
    RotationPolicy,
    RotationWindow,
    next_rotation_at,
    zone_of,
)
from idp_kernel.errors import Conflict, InvalidInput
from idp_kernel.ids import new_id
from idp_kernel.wire.api import Weekday
from idp_kernel.wire.worker import SecretSensitivity

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)  # a Monday
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MOMENTS = st.timedeltas(-700 * DAY, 1500 * DAY).map(lambda ahead: NOW + ahead)
ZONES = st.sampled_from(["UTC", "Europe/Madrid", "America/New_York", "Asia/Kathmandu"])
WINDOWS = st.builds(
    RotationWindow,
    days=st.lists(st.sampled_from(WEEKDAYS), min_size=1, unique=True).map(tuple),
    from_hour=st.integers(0, 23),
    until_hour=st.integers(1, 24),
    time_zone=ZONES,
)


def secret(**changes: object) -> Secret:
    binding = SecretBinding("b", "s", "a", SecretBindingState.ACTIVE)
    made = Secret(
        id=new_id(),
        application_environment_id="a",
        name="app-key",
        purpose="runtime",
        sensitivity="high",
        issuer="openbao",
        state=SecretState.ACTIVE,
        store_path="p",
        version=None,
        binding=binding,
        created_at=NOW,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def madrid(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=ZoneInfo("Europe/Madrid"))  # type: ignore[misc,arg-type]


# ── policies ─────────────────────────────────────────────────────────────────────────────────


def test_each_sensitivity_has_its_defaults() -> None:
    assert set(DEFAULT_POLICIES) == set(SecretSensitivity)
    assert {name: (each.interval, each.grace) for name, each in DEFAULT_POLICIES.items()} == {
        "low": (180 * DAY, 24 * HOUR),
        "medium": (90 * DAY, 24 * HOUR),
        "high": (30 * DAY, HOUR),
    }


def test_the_days_are_named_as_on_the_wire() -> None:
    assert tuple(Weekday) == WEEKDAYS


def test_a_secret_overrides_what_it_names_and_no_more() -> None:
    own = RotationPolicy(interval=7 * DAY, grace=timedelta(0))
    assert own.in_force("low").interval == 7 * DAY
    assert own.in_force("low").grace == timedelta(0)
    assert RotationPolicy(interval=7 * DAY).in_force("high").grace == HOUR
    assert RotationPolicy().in_force("medium") == DEFAULT_POLICIES["medium"]


def test_the_longest_age_is_interval_and_grace_and_some_slack() -> None:
    assert DEFAULT_POLICIES["high"].longest_age == 30 * DAY + HOUR + AGE_SLACK


# ── the next rotation ────────────────────────────────────────────────────────────────────────


@given(
    st.uuids().map(str),
    st.timedeltas(timedelta(seconds=60), timedelta(days=732)),
    MOMENTS,
)
def test_the_jitter_is_the_secrets_own_and_at_most_a_tenth(
    id_: str, interval: timedelta, rotated_at: datetime
) -> None:
    due = next_rotation_at(rotated_at, interval, id_)
    assert rotated_at + interval * 0.9 <= due <= rotated_at + interval
    assert due == next_rotation_at(rotated_at, interval, id_)


def test_secrets_made_together_are_rotated_apart() -> None:
    due = sorted(next_rotation_at(NOW, 90 * DAY, new_id()) for _ in range(200))
    assert due[-1] - due[0] > 5 * DAY
    assert len(set(due)) == 200


def test_a_version_in_use_sets_the_next_rotation() -> None:
    first = secret().at_version(1, NOW)
    assert (first.version, first.binding.version, first.rotated_at) == (1, 1, NOW)
    assert first.next_rotation_at is not None
    assert NOW + 27 * DAY <= first.next_rotation_at <= NOW + 30 * DAY
    shorter = first.with_policy(RotationPolicy(interval=10 * DAY))
    assert shorter.next_rotation_at == next_rotation_at(NOW, 10 * DAY, first.id)


def test_a_policy_before_the_first_version_waits_for_it() -> None:
    declared = secret().with_policy(RotationPolicy(interval=DAY, expires_at=NOW + DAY))
    assert declared.next_rotation_at is None
    first = declared.at_version(1, NOW)
    assert first.next_rotation_at == next_rotation_at(NOW, DAY, first.id)
    assert first.policy.expires_at == NOW + DAY


def test_nothing_is_known_of_the_end_of_the_next_credential() -> None:
    ending = secret().at_version(1, NOW).with_policy(RotationPolicy(10 * DAY, expires_at=NOW + DAY))
    rotated = ending.at_version(2, NOW + HOUR)
    assert rotated.policy == RotationPolicy(10 * DAY)
    assert rotated.rotated_at == NOW + HOUR


def test_a_rotation_that_came_to_nothing_is_not_repeated_at_once() -> None:
    due = secret().at_version(1, NOW - 60 * DAY)
    assert due.put_off(NOW).next_rotation_at == NOW + HOUR
    hasty = due.with_policy(RotationPolicy(interval=timedelta(minutes=2)))
    assert hasty.put_off(NOW).next_rotation_at == NOW + timedelta(minutes=2)
    fresh = secret().at_version(1, NOW)
    assert fresh.put_off(NOW) == fresh
    assert secret().put_off(NOW).next_rotation_at is None


def test_what_only_a_person_can_rotate_is_left_to_them_for_an_interval() -> None:
    due = secret().at_version(1, NOW - 200 * DAY)
    assert due.left_to_a_person(NOW).next_rotation_at == NOW + due.policy_in_force.interval
    assert secret().left_to_a_person(NOW).next_rotation_at is None


def test_what_was_brought_forward_stays_so_under_another_policy() -> None:
    soon = secret().at_version(1, NOW).brought_forward(NOW)
    assert soon.next_rotation_at == NOW + HOUR
    for interval in (DAY, 300 * DAY):
        assert soon.with_policy(RotationPolicy(interval)).next_rotation_at == NOW + HOUR
    following = soon.at_version(2, NOW + HOUR).next_rotation_at
    assert following == next_rotation_at(NOW + HOUR, soon.policy_in_force.interval, soon.id)


@pytest.mark.parametrize("state", SecretState)
def test_only_what_has_a_version_has_a_value(state: SecretState) -> None:
    gone = state in (SecretState.REVOKED, SecretState.ARCHIVED)
    stored = secret(state=state, version=3)
    assert stored.has_value is not gone
    if gone:
        with pytest.raises(Conflict) as refused:
            stored.check_has_value()
        assert refused.value.code == "secret_without_value"
    else:
        assert stored.check_has_value() == 3
    with pytest.raises(Conflict):
        secret(state=state, version=None).check_has_value()


# ── windows ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        (madrid(2026, 1, 5, 8, 59), False),
        (madrid(2026, 1, 5, 9, 0), True),
        (madrid(2026, 1, 5, 16, 59), True),
        (madrid(2026, 1, 5, 17, 0), False),
        (madrid(2026, 1, 6, 12, 0), False),
        (madrid(2026, 7, 6, 9, 0), True),  # summer: another distance to UTC, the same wall
        (madrid(2026, 7, 6, 8, 59), False),
    ],
)
def test_a_window_within_a_day(moment: datetime, *, is_open: bool) -> None:
    window = RotationWindow(("monday",), 9, 17, "Europe/Madrid")
    assert window.is_open(moment.astimezone(UTC)) is is_open


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        (madrid(2026, 1, 2, 21, 59), False),  # Friday
        (madrid(2026, 1, 2, 22, 0), True),
        (madrid(2026, 1, 3, 5, 59), True),  # Saturday, of the night that began on Friday
        (madrid(2026, 1, 3, 6, 0), False),
        (madrid(2026, 1, 3, 22, 0), False),
        (madrid(2026, 1, 2, 3, 0), False),  # of the night that began on Thursday
    ],
)
def test_hours_past_midnight_belong_to_the_day_they_began(
    moment: datetime, *, is_open: bool
) -> None:
    window = RotationWindow(("friday",), 22, 6, "Europe/Madrid")
    assert window.is_open(moment.astimezone(UTC)) is is_open


def test_sundays_night_reaches_into_monday() -> None:
    window = RotationWindow(("sunday",), 23, 2, "UTC")
    assert window.is_open(datetime(2026, 1, 5, 1, tzinfo=UTC))
    assert not window.is_open(datetime(2026, 1, 5, 23, tzinfo=UTC))


def open_hours(window: RotationWindow, day: datetime) -> int:
    """How many of the 30 hours from that moment on are open, looked at every quarter."""
    quarters = (day + timedelta(minutes=15 * number) for number in range(30 * 4))
    return sum(window.is_open(quarter) for quarter in quarters) // 4


def test_an_hour_that_the_clock_skips_or_repeats() -> None:
    night = RotationWindow(("sunday",), 1, 4, "Europe/Madrid")
    assert open_hours(night, madrid(2026, 3, 29, 0, 0).astimezone(UTC)) == 2
    assert open_hours(night, madrid(2026, 10, 25, 0, 0).astimezone(UTC)) == 4
    assert open_hours(night, madrid(2026, 6, 7, 0, 0).astimezone(UTC)) == 3


@given(WINDOWS, MOMENTS)
def test_a_window_opens_again_within_fifteen_days(window: RotationWindow, moment: datetime) -> None:
    """Two weeks when the only hour of the week is one that the clock skips."""
    halves = (moment + timedelta(minutes=30 * number) for number in range(15 * 48))
    assert any(window.is_open(half) for half in halves)


@given(MOMENTS, ZONES)
def test_all_days_from_midnight_to_midnight_is_always(moment: datetime, zone: str) -> None:
    assert RotationWindow(WEEKDAYS, 0, 24, zone).is_open(moment)


@given(WINDOWS, MOMENTS)
def test_a_window_and_the_hours_it_leaves_out_make_the_day(
    window: RotationWindow, moment: datetime
) -> None:
    if window.until_hour in (24, window.from_hour) or window.from_hour == 0:
        return
    every_day = replace(window, days=WEEKDAYS)
    others = replace(every_day, from_hour=window.until_hour, until_hour=window.from_hour)
    assert every_day.is_open(moment) is not others.is_open(moment)


@given(WINDOWS, MOMENTS, ZONES)
def test_the_moment_counts_and_not_how_it_is_written(
    window: RotationWindow, moment: datetime, written_in: str
) -> None:
    assert window.is_open(moment) is window.is_open(moment.astimezone(ZoneInfo(written_in)))


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "Europe", "../../etc/passwd", "/etc/passwd", "a\x00b", "\ud800"]
)
def test_a_zone_nobody_knows_is_invalid_input(name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        zone_of(name)
    assert refused.value.code == "time_zone_unknown"
