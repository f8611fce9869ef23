"""Rotation policies between the wire and the domain."""

from __future__ import annotations

from datetime import timedelta

from control_plane.domain.rotation import (
    PolicyInForce,
    RotationPolicy,
    RotationWindow,
    check_expiry,
    zone_of,
)
from idp_kernel.wire import api as wire


def policy_of(command: wire.SetRotationPolicy) -> RotationPolicy:
    """What a secret is told of its rotation.

    Raises `InvalidInput`: `time_zone_unknown`, `expiry_out_of_range`.
    """
    window = command.window
    if window is not None:
        zone_of(window.time_zone)
    if command.expires_at is not None:
        check_expiry(command.expires_at)
    return RotationPolicy(
        interval=_duration(command.interval_seconds),
        grace=_duration(command.grace_seconds),
        window=None if window is None else _window_of(window),
        expires_at=command.expires_at,
    )


def policy_view(policy: PolicyInForce) -> wire.RotationPolicy:
    """The policy in the words of the wire."""
    window = policy.window
    return wire.RotationPolicy(
        interval_seconds=int(policy.interval.total_seconds()),
        grace_seconds=int(policy.grace.total_seconds()),
        window=None
        if window is None
        else wire.RotationWindow(
            days=tuple(wire.Weekday(day) for day in window.days),
            from_hour=window.from_hour,
            until_hour=window.until_hour,
            time_zone=window.time_zone,
        ),
        expires_at=policy.expires_at,
    )


def _window_of(window: wire.RotationWindow) -> RotationWindow:
    named = set(window.days)
    return RotationWindow(
        days=tuple(str(day) for day in wire.Weekday if day in named),
        from_hour=window.from_hour,
        until_hour=window.until_hour,
        time_zone=window.time_zone,
    )


def _duration(seconds: int | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
