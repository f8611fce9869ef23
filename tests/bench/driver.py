"""The program that submits requests to a contender: commands and answers are lines of JSON.

Nothing but the standard library, since contenders import it in environments of their own.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from uuid import uuid4

READY = "ready"
SUBMIT = "submit"
FINISHED = "finished"

Submit = Callable[[str], None]
"""Hands one request over; once it returns, the request is accepted."""
FinishedAt = Callable[[Iterable[str]], Mapping[str, float]]
"""When those of the requests that have succeeded did so, in seconds of the epoch; raises when one
failed.
"""


def drive(submit: Submit, finished_at: FinishedAt) -> None:
    """Answers commands until the input ends."""
    _say({READY: time.time()})
    for line in sys.stdin:
        command = json.loads(line)
        if SUBMIT in command:
            _say({SUBMIT: dict(_accepted(submit) for _ in range(command[SUBMIT]))})
        else:
            _say({FINISHED: dict(finished_at(command[FINISHED]))})


def _accepted(submit: Submit) -> tuple[str, float]:
    request_id = str(uuid4())
    submit(request_id)
    return request_id, time.time()


def _say(answer: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
