"""What is our own in schemathesis, which loads this file: a check, and a guard of its tokens."""

from __future__ import annotations

import os
from typing import Any

import schemathesis

from idp_kernel.ids import new_id

KEPT_TOKENS_VARIABLE = "IDP_TEST_KEPT_TOKENS"
"""Ids of tokens, with commas between, that may not be revoked, or all answers after it are 401."""


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    kept = os.environ.get(KEPT_TOKENS_VARIABLE, "").split(",")
    if case.method.upper() == "DELETE" and case.path_parameters.get("token_id") in kept:
        case.path_parameters["token_id"] = new_id()


@schemathesis.check
def what_is_valid_is_not_invalid(_context: Any, response: Any, case: Any) -> None:
    """`422` may be told of what the schema allows, but with a code that says why."""
    meta = case.meta
    if meta is None or not meta.generation.mode.is_positive or response.status_code != 422:
        return
    problem = response.json()
    assert problem["code"] != "invalid_input", problem["detail"]
