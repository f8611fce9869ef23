"""`make contract` can fail: what a description does not allow is named, and the status is 1."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.vendors import __main__ as runner
from tests.contract.vendors.mock import strict
from tests.contract.vendors.vendors import SPECS_VARIABLE, SUITES, VENDORS, Vendor
from tests.fixtures.vendors import CALLS_FILE

pytestmark = pytest.mark.system

ITEM = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "private": {"type": "boolean"}},
}
BODY = {
    "required": True,
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Item"}}},
}
DONE = {"responses": {"204": {"description": "done"}}}
OPENAPI = {
    "openapi": "3.0.2",
    "info": {"title": "A vendor", "version": "1"},
    "paths": {
        "/items": {"post": {"requestBody": BODY, **DONE, "security": [{"token": []}]}},
        "/items/{path}": {
            "parameters": [
                {"name": "path", "in": "path", "required": True, "schema": {"type": "string"}}
            ],
            "put": {"requestBody": BODY, **DONE},
        },
    },
    "components": {
        "schemas": {"Item": ITEM},
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    },
}
SWAGGER = {
    "swagger": "2.0",
    "info": {"title": "An elder vendor", "version": "1"},
    "basePath": "/api/v2",
    "paths": {
        "/items": {
            "post": {
                "consumes": ["application/json"],
                "parameters": [
                    {
                        "name": "item", "in": "body", "required": True,
                        "schema": {"$ref": "#/definitions/Item"},
                    }
                ],
                **DONE,
            }
        }
    },
    "definitions": {"Item": ITEM},
}  # fmt: skip
DEFINITION = {
    "kind": "CustomResourceDefinition",
    "spec": {
        "group": "vendor.example",
        "names": {"plural": "items"},
        "versions": [
            {"name": "v1", "served": True, "schema": {"openAPIV3Schema": ITEM}},
            {"name": "v1beta1", "served": False, "schema": {"openAPIV3Schema": ITEM}},
        ],
    },
}
RESOURCES = "/api/v2/apis/vendor.example/v1"
SUITE = """
from tests.fixtures.vendors import RecordedCall

HEADERS = {{"content-type": "application/json", "authorization": "Bearer x", "host": "elsewhere"}}

def test_calls():
    for call in {calls!r}:
        what = {{"operation_hint": "an operation", "query": {{}}, "headers": HEADERS, **call}}
        RecordedCall("a-vendor", **what)
"""
GOOD = {"method": "POST", "path": "/api/v2/items", "body": {"name": "x", "private": True}}


def run(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    description: dict[str, Any],
    *calls: dict[str, Any],
) -> int:
    """The exit status for calls that a suite sends."""
    (folder / "vendor.json").write_text(json.dumps(description))
    (folder / "test_calls.py").write_text(SUITE.format(calls=calls))
    vendor = Vendor(
        "a-vendor", ("vendor.json",), (str(folder / "test_calls.py"),),
        prefix="/api/v2", one_parameter=("/items/",),
    )  # fmt: skip
    monkeypatch.setenv(SPECS_VARIABLE, str(folder))
    monkeypatch.setattr(runner, "VENDORS", (vendor,))
    return runner.main([])


def each_its_own(calls: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """As operations of their own, so that the table has a row for each."""
    return [{"operation_hint": f"call-{number}", **each} for number, each in enumerate(calls)]


def verdicts(told: str) -> list[tuple[str, str]]:
    """Of each row of the table, and what is said below it."""
    found: list[tuple[str, str]] = []
    for line in told.splitlines()[1:]:
        if line.startswith("a-vendor"):
            found.append((line.split()[-1], ""))
        elif line:
            found[-1] = (found[-1][0], found[-1][1] + line)
    return found


@pytest.mark.parametrize("description", [OPENAPI, SWAGGER], ids=["OpenAPI 3", "Swagger 2"])
def test_what_the_description_allows_passes(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    description: dict[str, Any],
) -> None:
    assert run(monkeypatch, tmp_path, description, GOOD, GOOD) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["PROVIDER", "OPERATION", "PATH", "CALLS", "OK"]
    assert row.split() == ["a-vendor", "an", "operation", "POST", "/api/v2/items", "1", "yes"]


@pytest.mark.parametrize(("name", "status"), [("x", 0), (5, 1)])
def test_calls_that_were_kept_are_checked_without_the_suites(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: object, status: int
) -> None:
    call = {"provider": "a-vendor", "operation_hint": "an operation", "query": {}, **GOOD}
    call |= {"headers": {"content-type": "application/json", "authorization": "Bearer x"}}
    (tmp_path / CALLS_FILE).write_text(json.dumps({**call, "body": {"name": name}}))
    (tmp_path / "vendor.json").write_text(json.dumps(OPENAPI))
    vendor = Vendor("a-vendor", ("vendor.json",), (f"{SUITES}/is_not_there.py",), prefix="/api/v2")
    monkeypatch.setenv(SPECS_VARIABLE, str(tmp_path))
    monkeypatch.setattr(runner, "VENDORS", (vendor,))
    assert runner.main(["--recorded", str(tmp_path)]) == status


NOT_ALLOWED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"body": {"name": 5}}, "name must be string"),
    ({"body": {"private": True}}, "required property 'name'"),
    ({"body": {"name": "x", "privat": True}}, "privat"),
    ({"body": None}, "Body parameter is required"),
    ({"path": "/api/v2/itmes"}, "no path matched"),
    ({"method": "DELETE"}, "no method matched"),
    ({"path": "/api/v2/items/a/b", "method": "PUT", "body": {"name": 5}}, "must be string"),
    ({"headers": {"content-type": "application/json"}}, "401"),
)


def test_what_it_does_not_allow_is_named_and_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = [{**GOOD, **each} for each, _ in NOT_ALLOWED]
    assert run(monkeypatch, tmp_path, OPENAPI, GOOD, *each_its_own(broken)) == 1
    (verdict, complaint), *others = verdicts(capsys.readouterr().out)
    assert (verdict, complaint) == ("yes", "")
    for (verdict, complaint), (asked, wanted) in zip(others, NOT_ALLOWED, strict=True):
        assert verdict == "no", asked
        assert wanted in complaint, asked


READ: dict[str, Any] = {"method": "GET", "body": None}
OF_RESOURCES: tuple[dict[str, Any], ...] = (
    {"path": f"{RESOURCES}/items"},
    {"path": f"{RESOURCES}/namespaces/a/items"},
    {"path": f"{RESOURCES}/namespaces/a/items/x"},
    {"path": f"{RESOURCES}/namespaces/a/items/x", "method": "PUT", "body": {"name": "x"}},
)
NOT_OF_RESOURCES: tuple[tuple[dict[str, Any], str], ...] = (
    ({"path": f"{RESOURCES}beta1/items"}, "no path matched"),
    ({"path": f"{RESOURCES}/itmes"}, "no path matched"),
    ({"path": f"{RESOURCES}/items", "query": {"limit": "many"}}, "limit must be integer"),
    (
        {"path": f"{RESOURCES}/namespaces/a/items/x", "method": "PUT", "body": {"nam": "x"}},
        "required property 'name'",
    ),
)


def test_resources_are_read_and_applied(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = each_its_own({**READ, **each} for each in OF_RESOURCES)
    assert run(monkeypatch, tmp_path, DEFINITION, *asked) == 0
    assert verdicts(capsys.readouterr().out) == [("yes", "")] * len(OF_RESOURCES)


def test_what_a_resource_is_not_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = each_its_own({**READ, **each} for each, _ in NOT_OF_RESOURCES)
    assert run(monkeypatch, tmp_path, DEFINITION, *broken) == 1
    found = verdicts(capsys.readouterr().out)
    for (verdict, complaint), (asked, wanted) in zip(found, NOT_OF_RESOURCES, strict=True):
        assert verdict == "no", asked
        assert wanted in complaint, asked


def test_slashes_within_one_parameter_pass(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    deep = {"method": "PUT", "path": "/api/v2/items/teams/a%20b/c", "body": {"name": "x"}}
    assert run(monkeypatch, tmp_path, OPENAPI, deep) == 0


def test_a_vendor_that_is_sent_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path, OPENAPI) == 1
    assert "its suites have sent nothing" in capsys.readouterr().out


def test_a_suite_that_fails_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run(monkeypatch, tmp_path, OPENAPI, GOOD, {"method": "POST"}) == 1


def test_a_description_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(SPECS_VARIABLE, str(tmp_path))
    monkeypatch.setattr(runner, "VENDORS", (Vendor("a-vendor", ("vendor.yaml",), ()),))
    assert runner.main([]) == runner.NOT_FULFILLED
    told = capsys.readouterr().err
    assert f"{tmp_path} has no vendor.yaml" in told
    assert SPECS_VARIABLE in told


def test_parts_of_a_whole_know_only_their_own_properties() -> None:
    whole = {"allOf": [ITEM, {"type": "object", "properties": {"size": {"type": "integer"}}}]}
    assert strict(whole) == whole
    assert strict(ITEM)["additionalProperties"] is False


def test_every_vendor_has_suites_that_are_there() -> None:
    for vendor in VENDORS:
        assert vendor.suites
        assert all(Path(suite).exists() for suite in vendor.suites)
