"""The command line and the API's own description of itself, held against each other."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from control_plane.openapi import openapi_document
from idp_cli import main as entry
from idp_cli.command_tree import commands_of
from idp_cli.examples import EXAMPLES, examples_of
from idp_cli.main import app
from tests.unit.idp_cli.recorded_calls import Call, Recorder, recorded

WITHOUT_THE_API = frozenset({"up", "demo", "down", "status", "completion", "repository merge"})
"""Commands that ask other parts, or do what others do one by one."""
OTHERWISE_TESTED = frozenset({"apply"})
"""Whose calls depend on what the platform has."""

COMMANDS = [path for path, _command in commands_of(cast("TyperGroup", get_command(app)))]
ASKING = [path for path in COMMANDS if path not in WITHOUT_THE_API | OTHERWISE_TESTED]

EXITS: dict[str, set[int]] = {"doctor": {0, 1}, "events --follow": {130}}
"""Of examples that do not end with 0 here: nothing runs on this machine, nothing is sat out."""


@dataclass(frozen=True)
class Sent:
    """What the examples of all commands send, by command, and what they want to be told of."""

    calls: dict[str, list[Call]]
    streams: list[Call]


@cache
def operations() -> dict[str, dict[str, Any]]:
    """What people may ask of the API: `GET /v1/teams` to its description."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in openapi_document()["paths"].items()
        if path.startswith("/v1/")
        for method, operation in methods.items()
    }


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sent]:
    """Every example runs once."""
    home: Path = tmp_path_factory.mktemp("contract") / "idp"
    found = Sent({command: [] for command in ASKING}, [])
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("IDP_HOME", str(home))
        patched.setenv("IDP_API_URL", "http://127.0.0.1:1")
        patched.setenv("IDP_TOKEN", "idp_pat_pretend")
        for name in ("IDP_OUTPUT", "IDP_TOKEN_FILE", "IDP_FORGE_URL"):
            patched.delenv(name, raising=False)
        for command in ASKING:
            for example in examples_of(command):
                if "--exec" in example:
                    continue  # the rest of such a line is for another program
                recorder = run(example, patched)
                found.calls[command].extend(recorder.calls)
                found.streams.extend(recorder.streams)
        yield found


def run(example: str, patched: pytest.MonkeyPatch) -> Recorder:
    names = {"team": "payments", "application": "shop", "environment": "staging", "slug": "shop"}
    secret = "app-key" if "app-key" in example else "db"
    with recorded(patched, name=secret, **names) as recorder:
        patched.setattr(sys, "argv", ["idp", *shlex.split(example)])
        with pytest.raises(SystemExit) as ended:
            entry.main()
    code = ended.value.code
    assert code in EXITS.get(example, {0}), f"idp {example} ended with {code}"
    return recorder


def operation_of(call: Call) -> str | None:
    """The operation it calls; the one with the fewest placeholders, where several could be."""
    for name in sorted(operations(), key=lambda each: each.count("{")):
        method, path = name.split()
        pattern = re.sub(r"\\{[a-z_]+\\}", "[^/]+", re.escape(path))
        if method == call.method and re.fullmatch(pattern, call.path):
            return name
    return None


def body_of(operation: dict[str, Any]) -> str | None:
    """The message that it takes, if it takes one."""
    if "requestBody" not in operation:
        return None
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    (reference,) = (each["$ref"] for each in schema.get("anyOf", [schema]) if "$ref" in each)
    return str(reference.rsplit("/", 1)[1])


def test_every_command_has_an_example() -> None:
    assert set(EXAMPLES) == set(COMMANDS)
    assert all(EXAMPLES.values())


@pytest.mark.parametrize("command", ASKING)
def test_what_a_command_sends_is_what_the_api_takes(command: str, sent: Sent) -> None:
    assert sent.calls[command]
    for call in sent.calls[command]:
        name = operation_of(call)
        assert name is not None, f"the API has no {call.method} {call.path}"
        operation = operations()[name]
        parameters = operation.get("parameters", ())
        filters = {each["name"] for each in parameters if each["in"] == "query"}
        assert set(call.query) <= filters, name
        assert (call.body and type(call.body).__name__) == body_of(operation), name


def test_every_operation_for_people_has_a_command(sent: Sent) -> None:
    every_call = [*(call for calls in sent.calls.values() for call in calls), *sent.streams]
    asked = {operation_of(call) for call in every_call}
    assert sorted(set(operations()) - asked) == []
