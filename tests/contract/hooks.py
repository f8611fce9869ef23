"""A check of our own for schemathesis, which loads this file."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.check
def what_is_valid_is_not_invalid(_context: Any, response: Any, case: Any) -> None:
    """`422` may be told of what the schema allows, but with a code that says why."""
    meta = case.meta
    if meta is None or not meta.generation.mode.is_positive or response.status_code != 422:
        return
    problem = response.json()
    assert problem["code"] != "invalid_input", problem["detail"]
