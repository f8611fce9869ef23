"""How many calls a bearer token may make, and the headers that say so.

A bucket for each token, in this process alone: each replica of the API counts for itself, and a
restart forgets. Services and runs are not limited; the platform's own work never waits here.

`RateLimit` and `RateLimit-Policy` are those of draft-ietf-httpapi-ratelimit-headers, `Retry-After`
that of RFC 9110.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_plane.domain.rates import RatePolicy
from idp_kernel.errors import Unavailable

POLICY_NAME: Final = "token"
_STANDING_KEY: Final = "rate_standing"
_FORGET_EVERY_SECONDS: Final = 60.0


@dataclass(frozen=True)
class RateStanding:
    """What a token may do after a call, or why it may not."""

    policy: RatePolicy
    left: float

    @property
    def is_exceeded(self) -> bool:
        return self.left < 0

    @property
    def retry_after_seconds(self) -> int:
        """Until the next call is let in."""
        return max(1, math.ceil(-self.left / self.policy.per_second))

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        policy, left = self.policy, max(0, math.floor(self.left))
        full_again = math.ceil((policy.burst - max(0.0, self.left)) / policy.per_second)
        return (
            ("RateLimit-Policy", f'"{POLICY_NAME}";q={policy.burst};w={policy.window_seconds}'),
            ("RateLimit", f'"{POLICY_NAME}";r={left};t={full_again}'),
        )


@dataclass
class _Bucket:
    tokens: float
    at: float


class RateLimits:
    """The buckets; callable from any thread."""

    def __init__(self, policy: RatePolicy, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._buckets: dict[str, _Bucket] = {}
        self._forget_at = monotonic() + _FORGET_EVERY_SECONDS

    def take(self, token_id: str) -> RateStanding:
        """The standing after one more call; one that is refused takes nothing."""
        with self._lock:
            now = self._monotonic()
            self._forget_full_buckets(now)
            bucket = self._buckets.setdefault(token_id, _Bucket(self._policy.burst, now))
            bucket.tokens, bucket.at = self._filled(bucket, now), now
            left = bucket.tokens - 1
            if left >= 0:
                bucket.tokens = left
            return RateStanding(self._policy, left)

    def _filled(self, bucket: _Bucket, now: float) -> float:
        gained = (now - bucket.at) * self._policy.per_second
        return min(float(self._policy.burst), bucket.tokens + gained)

    def _forget_full_buckets(self, now: float) -> None:
        """A full bucket says no more than none."""
        if now < self._forget_at:
            return
        self._forget_at = now + _FORGET_EVERY_SECONDS
        full = [key for key, each in self._buckets.items() if self._is_full(each, now)]
        for key in full:
            del self._buckets[key]

    def _is_full(self, bucket: _Bucket, now: float) -> bool:
        return self._filled(bucket, now) >= self._policy.burst


def check_rate(scope: Scope, standing: RateStanding) -> None:
    """Lets the call in, and its answer tell the standing.

    Raises `Unavailable` (`rate_limited`).
    """
    scope["state"][_STANDING_KEY] = standing
    if standing.is_exceeded:
        policy = standing.policy
        raise Unavailable(
            f"This token makes too many calls: {policy.per_second:g} a second are let in, up to"
            f" {policy.burst} at once. Nothing was done; try again after"
            f" {standing.retry_after_seconds} s.",
            code="rate_limited",
            retry_after_seconds=standing.retry_after_seconds,
        )


class TellsRates:
    """Puts the standing of the token into the headers of each answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def told_send(message: Message) -> None:
            standing = scope.get("state", {}).get(_STANDING_KEY)
            if message["type"] == "http.response.start" and standing is not None:
                message.setdefault("headers", []).extend(
                    (name.lower().encode(), value.encode()) for name, value in standing.headers
                )
            await send(message)

        await self._app(scope, receive, told_send)
