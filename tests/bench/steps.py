"""The workflow that every contender carries out: six steps in a row, one call of the stub each.

Nothing but the standard library, since contenders import it in environments of their own.
"""

from __future__ import annotations

import os

STEPS = ("one", "two", "three", "four", "five", "six")
STUB_URL_VARIABLE = "BENCH_STUB_URL"
SLOTS_VARIABLE = "BENCH_SLOTS"


def step_url(step: str) -> str:
    """Where the stub takes the call of a step."""
    return f"{os.environ[STUB_URL_VARIABLE]}/steps/{step}"


def step_headers(request_id: str, step: str) -> dict[str, str]:
    """How the stub tells requests and steps apart, as execution-workers do."""
    return {"Idempotency-Key": f"{request_id}/1/{step}"}


def slots() -> int:
    """Requests at a time, where a contender has such a limit."""
    return int(os.environ[SLOTS_VARIABLE])
