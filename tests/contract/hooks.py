"""What is our own in schemathesis, which loads this file: a check, and a guard of its tokens and
admins.
"""

from __future__ import annotations

import os
from typing import Any

import schemathesis

from idp_kernel.ids import new_id

KEPT_TOKENS_VARIABLE = "IDP_TEST_KEPT_TOKENS"
"""Ids of tokens, with commas between, that may not be revoked, or all answers after it are 401."""

KEPT_ADMINS_VARIABLE = "IDP_TEST_KEPT_ADMINS"
"""Names of platform-admins, with commas between, that have to stay so."""


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    if case.method.upper() != "DELETE":
        return
    _spare(case.path_parameters, "token_id", KEPT_TOKENS_VARIABLE)
    if "platform-admins" in case.path:
        _spare(case.path_parameters, "principal", KEPT_ADMINS_VARIABLE)


def _spare(parameters: dict[str, Any], name: str, variable: str) -> None:
    if parameters.get(name) in os.environ.get(variable, "").split(","):
        parameters[name] = new_id()


@schemathesis.check
def what_is_valid_is_not_invalid(_context: Any, response: Any, case: Any) -> None:
    """`422` may be told of what the schema allows, but with a code that says why."""
    meta = case.meta
    if meta is None or not meta.generation.mode.is_positive or response.status_code != 422:
        return
    problem = response.json()
    assert problem["code"] != "invalid_input", problem["detail"]
