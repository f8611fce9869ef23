"""`idp apply` against the real control plane: what it shows, asks, does, and does not do twice."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from idp_cli import declarations as package
from idp_cli.api import Api
from idp_cli.exits import ExitCode
from idp_kernel.errors import Unavailable
from tests.fixtures.terminal import Terminal
from tests.integration.idp_cli.commands.conftest import (
    Idp,
    Perform,
    new_name,
    read_list,
    shown_json,
    typed,
)

EXAMPLE = Path(package.__file__).parents[2] / "docs" / "examples" / "payments.yaml"
MORE = EXAMPLE.with_name("payments-more.yaml")


class File:
    """The example, with a team and an environment of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.team, self.environment = new_name("team"), new_name("env")
        self.become(EXAMPLE)

    def become(self, example: Path) -> None:
        """That one, of this file's team and environment."""
        text = example.read_text().replace("payments\n", f"{self.team}\n")
        self.write(text.replace("staging\n", f"{self.environment}\n"))

    def write(self, text: str) -> None:
        self.text = text
        self.path.write_text(text)

    def change(self, before: str, after: str) -> None:
        assert before in self.text
        self.write(self.text.replace(before, after))


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "payments.yaml")


@pytest.fixture
def apply(idp: Idp, file: File) -> Idp:
    """Applies the file."""

    def run(*options: str, **more: Any) -> str:
        return idp("apply", "-f", str(file.path), *options, **more)

    return run


def test_a_dry_run_shows_the_difference_and_changes_nothing(
    apply: Idp, idp: Idp, file: File
) -> None:
    said = apply("--dry-run")
    assert f"+ Team {file.team}" in said
    assert f"+ ApplicationEnvironment {file.team}/shop/{file.environment}" in said
    assert "secret db       postgres, runtime, high" in said
    assert "4 to create." in said
    assert "\x1b[" not in said
    idp("team", "show", file.team, code=ExitCode.FAILED)


def test_where_nobody_can_be_asked_nothing_is_changed(apply: Idp, idp: Idp, file: File) -> None:
    said = apply(code=ExitCode.FAILED)
    assert "confirmation_needed" in said
    assert "--yes`" in said
    idp("team", "show", file.team, code=ExitCode.FAILED)


def test_a_second_time_there_is_nothing_to_do(
    apply: Idp, idp: Idp, file: File, perform: Perform
) -> None:
    said = apply("--yes")
    assert "Everything that differed is asked for." in said
    assert "Next: idp request watch" in said
    assert shown_json(idp, "team", "show", file.team)["state"] == "Active"
    unfinished = apply("--yes", code=ExitCode.FAILED)
    assert "apply_unfinished" in unfinished
    assert "waits for" in unfinished
    perform(file.team, "shop")
    provisioned = json.loads(apply("--yes", "--output", "json"))
    assert [each["kind"] for each in provisioned["changes"]] == ["ApplicationEnvironment"]
    assert provisioned["requests"][0]["workflow"] == "ApplicationEnvironmentProvisioning"
    assert "1 under way, 3 as declared." in apply("--yes")
    perform(file.team, "shop")
    assert apply("--yes").strip() == "Nothing to do: 4 as declared."
    assert len(read_list(idp, "request", "list", "--team", file.team)) == 2


def test_what_is_to_be_approved_is_said_and_awaited_by_nobody(
    apply: Idp, idp: Idp, file: File, perform: Perform, wait_for_approval: Perform
) -> None:
    idp("team", "create", file.team, "--name", "Payments")
    idp("team", "activate", file.team)
    idp("team", "policy", file.team, "--application-approval", "required")
    secret, whole = f"{file.team}/shop/{file.environment}/db", file.text
    file.write(
        f"{whole}---\nkind: Secret\nteam: {file.team}\napplication: shop\n"
        f"environment: {file.environment}\nname: db\nrotation:\n  interval: 14d\n"
    )
    said = apply("--yes")
    application = shown_json(idp, "app", "show", "shop", "--team", file.team)
    approval = f"idp app approve {application['id']}"
    assert approval in said
    assert approval in apply("--yes"), "a second time it is no failure either"
    wait_for_approval(file.team, "shop")
    file.change("Where customers pay", "Where they pay")
    changed = json.loads(apply("--yes", "--output", "json"))
    assert [each["kind"] for each in changed["changes"]] == ["Application"]
    shown = shown_json(idp, "app", "show", "shop", "--team", file.team)
    assert (shown["state"], shown["description"]) == ("Proposed", "Where they pay")
    whole = whole.replace("Where customers pay", "Where they pay")
    watched = apply("--yes", "--watch")
    assert "somebody has to approve the application by then" in watched
    assert approval in watched
    told = json.loads(apply("--yes", "--watch", "--output", "json"))
    assert (told["changes"], told["unsettled"]) == (
        [],
        [f"{file.team}/shop/{file.environment}", secret],
    )

    idp("request", "cancel", application["activeRequestId"])
    anew = json.loads(apply("--yes", "--output", "json"))
    assert [(each["state"], each["waitingReason"]) for each in anew["requests"]] == [
        ("pending", None)
    ]
    idp("app", "approve", application["id"])
    perform(file.team, "shop")
    file.write(whole)
    provisioned = json.loads(apply("--yes", "--output", "json"))
    assert [each["kind"] for each in provisioned["changes"]] == ["ApplicationEnvironment"]


def test_what_differs_is_changed(apply: Idp, idp: Idp, file: File, perform: Perform) -> None:
    apply("--yes")
    perform(file.team, "shop")
    apply("--yes")
    perform(file.team, "shop")
    file.change("displayName: Payments", "displayName: Paying")
    file.change("role: team-maintainer", "role: team-viewer")
    file.change("Where customers pay", "Where they pay")
    file.change("The last stop before production", "Otherwise")
    said = apply("--yes")
    assert "displayName  Payments → Paying" in said
    assert "member ana   team-maintainer → team-viewer" in said
    assert "3 to change, 1 as declared." in said
    assert shown_json(idp, "app", "show", "shop", "--team", file.team)["description"] == (
        "Where they pay"
    )
    assert "Nothing to do: 4 as declared." in apply()


def test_what_comes_later_is_added_to_what_is_in_use(
    apply: Idp, idp: Idp, file: File, perform: Perform
) -> None:
    for _ in range(2):
        apply("--yes")
        perform(file.team, "shop")
    file.become(MORE)
    said = apply("--yes")
    assert "policy.undoOnFailure    false → true" in said
    assert "limits.maxApplications  the platform's → 20" in said
    assert "member ana              team-maintainer → no member" in said
    assert f"~ ApplicationEnvironment {file.team}/shop/{file.environment}" in said
    assert "secret mailer  openbao, external_integration, medium" in said
    assert f"+ Secret {file.team}/shop/{file.environment}/mailer" in said
    assert "rotation.interval  30d → 14d" in said
    assert "rotation.window    any time → mon-fri 22-06 Europe/Madrid" in said
    assert "1 to create, 3 to change." in said

    (environment,) = read_list(idp, "env", "list", "--team", file.team)
    assert environment["state"] == "Active"
    assert environment["activeRequestId"] is not None
    assert "1 under way, 2 as declared." in apply("--yes")
    idp("request", "cancel", environment["activeRequestId"])
    assert "secret mailer" in apply("--yes"), "it came to nothing and is asked for again"
    perform(file.team, "shop")
    assert apply("--yes").strip() == "Nothing to do: 3 as declared."

    assert shown_json(idp, "team", "policy", file.team)["undoOnFailure"]
    limits = shown_json(idp, "team", "limits", file.team)
    assert (limits["maxApplications"]["own"], limits["maxActiveRequests"]["own"]) == (20, None)
    assert read_list(idp, "team", "member", "list", file.team) == []
    secret = f"{file.team}/shop/{file.environment}/db"
    policy = shown_json(idp, "secret", "policy", secret)
    assert (policy["intervalSeconds"], policy["graceSeconds"]) == (14 * 24 * 3600, 3600)
    file.change("name: db\n", "name: db\nstate: Suspended\n")
    apply("--yes")
    assert shown_json(idp, "secret", "show", secret)["state"] == "Suspended"
    assert apply("--yes").strip() == "Nothing to do: 3 as declared."


def test_a_secret_is_added_on_the_command_line(
    apply: Idp, idp: Idp, file: File, perform: Perform
) -> None:
    for _ in range(2):
        apply("--yes")
        perform(file.team, "shop")
    where = ("shop", file.environment, "--team", file.team)
    accepted = shown_json(idp, "secret", "add", *where, "mailer:high", "--reason", "It sends mail")
    assert accepted["workflow"] == "ApplicationEnvironmentProvisioning"
    request = shown_json(idp, "request", "show", accepted["requestId"])
    assert request["reason"] == "It sends mail"
    said = idp("secret", "add", *where, "other", code=ExitCode.FAILED)
    assert f"idp request watch {accepted['requestId']}" in said
    said = idp(
        "secret", "add", "shop", "nowhere", "other", "--team", file.team, code=ExitCode.FAILED
    )
    assert f"{file.team}/shop has no environment nowhere" in said
    perform(file.team, "shop")
    said = idp("secret", "add", *where, "mailer", code=ExitCode.FAILED)
    assert "Secret mailer is Active" in said
    idp("env", "freeze", accepted["applicationEnvironmentId"])
    said = idp("secret", "add", *where, "other", code=ExitCode.FAILED)
    assert f"idp env unfreeze {accepted['applicationEnvironmentId']}" in said


def test_what_cannot_change_is_refused_before_anything_is_changed(
    apply: Idp, idp: Idp, file: File, perform: Perform
) -> None:
    apply("--yes")
    perform(file.team, "shop")
    apply("--yes")
    perform(file.team, "shop")
    file.change("displayName: Payments", "displayName: Paying")
    file.change("issuer: postgres", "issuer: openbao")
    said = apply("--yes", code=ExitCode.FAILED)
    assert "secrets[1].issuer: it is postgres and cannot become openbao; write postgres" in said
    assert shown_json(idp, "team", "show", file.team)["displayName"] == "Payments"


def test_a_file_that_is_wrong_anywhere_changes_nothing(apply: Idp, idp: Idp, file: File) -> None:
    file.change("sensitivity: high", "sensitivity: highest")
    said = apply("--yes", code=ExitCode.FAILED)
    assert "document 4, line" in said
    assert "secrets[1].sensitivity" in said
    assert "nothing was changed" in said
    idp("team", "show", file.team, code=ExitCode.FAILED)


@pytest.mark.parametrize("crash_after", [1, 4, 5])
def test_after_a_crash_in_the_middle_the_rest_is_done(
    crash_after: int, apply: Idp, idp: Idp, file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    command = Api.command

    def until_it_crashes(api: Api, path: str, *arguments: Any, **more: Any) -> Any:
        if len(done) == crash_after:
            raise Unavailable("The machine went away.", code="unreachable")
        done.append(path)
        return command(api, path, *arguments, **more)

    with monkeypatch.context() as crashing:
        crashing.setattr(Api, "command", until_it_crashes)
        said = apply("--yes", code=ExitCode.UNREACHABLE)
    assert "the same command goes on with the rest" in said
    apply("--yes")
    assert shown_json(idp, "team", "show", file.team)["state"] == "Active"
    assert shown_json(idp, "environment", "show", file.environment)["state"] == "Active"
    assert len(read_list(idp, "team", "member", "list", file.team)) == 1
    assert len(read_list(idp, "request", "list", "--team", file.team)) == 1


def test_what_was_undone_meanwhile_is_done_again(apply: Idp, idp: Idp, file: File) -> None:
    file.change("slug: shop\n", "slug: shop\n---\nkind: Environment\nslug: other-env\n")
    file.change("displayName: Payments\n", "displayName: Payments\nstate: Active\n")
    file.write(file.text.partition("---\nkind: Application\n")[0])
    apply("--yes")
    for _ in range(2):
        idp("team", "suspend", file.team)
        assert "Suspended → Active" in apply("--yes")
        assert shown_json(idp, "team", "show", file.team)["state"] == "Active"


def test_standard_input_is_a_file(idp: Idp, file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.write(write, file.text.encode())
    os.close(write)
    with os.fdopen(read) as given, monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", given)
        assert "4 to create." in idp("apply", "-f", "-", "--dry-run")


def test_a_file_that_is_not_there_is_told(idp: Idp, tmp_path: Path) -> None:
    said = idp("apply", "-f", str(tmp_path / "none.yaml"), code=ExitCode.FAILED)
    assert "No such file" in said
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")
    assert "no UTF-8" in idp("apply", "-f", str(tmp_path / "bytes.yaml"), code=ExitCode.FAILED)


@contextmanager
def asked_whether(control_plane: tuple[str, Path], file: File) -> Iterator[Terminal]:
    """The file applied at a terminal, up to the question."""
    with typed(control_plane, "apply", "-f", str(file.path)) as terminal:
        terminal.read_until("Make these changes? [y/N]: ")
        yield terminal


@pytest.mark.parametrize("kind", ["team", "environment", "app", "env"])
def test_what_changed_after_it_was_compared_is_left_alone(
    kind: str,
    apply: Idp,
    idp: Idp,
    control_plane: tuple[str, Path],
    file: File,
    perform: Perform,
) -> None:
    for _ in range(2):
        apply("--yes")
        perform(file.team, "shop")
    appenv = f"environment: {file.environment}"
    application = shown_json(idp, "app", "show", "shop", "--team", file.team)["id"]
    before, declared, another = {
        "team": ("displayName: Payments", "displayName: Paying", ("--name", "Theirs", file.team)),
        "environment": (
            "The last stop before production",
            "Ours",
            ("--description", "Theirs", file.environment),
        ),
        "app": ("Where customers pay", "Ours", ("--description", "Theirs", application)),
        "env": (appenv, f"{appenv}\nstate: Frozen", ()),
    }[kind]
    file.change(before, declared)
    with asked_whether(control_plane, file) as terminal:
        if kind == "env":
            idp("env", "freeze", read_list(idp, "env", "list", "--team", file.team)[0]["id"])
        else:
            idp(kind, "describe", *another)
        terminal.type("y\n")
        said, ended = terminal.read_to_end()
    assert ended == ExitCode.FAILED
    assert "precondition_failed" in said
    assert "somebody changed it after it was compared" in said
    assert "Of 1 changes 0 were made" in said


@pytest.mark.parametrize(
    ("answer", "code", "state"), [("y", ExitCode.OK, 200), ("n", ExitCode.FAILED, 404)]
)
def test_somebody_at_a_terminal_is_asked(
    answer: str,
    code: ExitCode,
    state: int,
    idp: Idp,
    control_plane: tuple[str, Path],
    file: File,
) -> None:
    with asked_whether(control_plane, file) as terminal:
        terminal.type(f"{answer}\n")
        _said, ended = terminal.read_to_end()
        assert ended == code
        assert b"\x1b[32m+\x1b[0m" in terminal.raw
    expected = ExitCode.OK if state == 200 else ExitCode.FAILED
    idp("team", "show", file.team, code=expected)
