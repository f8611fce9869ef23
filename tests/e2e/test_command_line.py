"""The command line on the running platform: files are applied, secrets rotated and read, every part
is looked at.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from idp_cli import declarations as package
from idp_cli.exits import ExitCode
from idp_kernel.ids import new_id
from tests.e2e.platform import IDP, Platform, eventually
from tests.fixtures.terminal import in_terminal

pytestmark = [pytest.mark.e2e, pytest.mark.endurance]

EXAMPLE = Path(package.__file__).parents[2] / "docs" / "examples" / "payments.yaml"
Idp = Callable[..., str]


@pytest.fixture
def idp(platform: Platform) -> Idp:
    """Runs a command line as the first admin; answers its stdout."""

    def run(*arguments: str, code: ExitCode = ExitCode.OK) -> str:
        ran = platform.idp(*arguments)
        assert ran.returncode == code, ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr
        return ran.stdout

    return run


@pytest.fixture(scope="module")
def applied(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The example, with names of its own, applied and waited for: its names, and what was said."""
    mark = new_id()[-10:]
    names = {"team": f"pay-x{mark}", "environment": f"stage-x{mark}"}
    text = EXAMPLE.read_text()
    for word, name in (("payments", names["team"]), ("staging", names["environment"])):
        text = re.sub(rf": {word}\n", f": {name}\n", text)
    file = tmp_path_factory.mktemp("applied") / "payments.yaml"
    file.write_text(text)
    ran = platform.idp("apply", "-f", str(file), "--yes", "--watch")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    address = f"{names['team']}/shop/{names['environment']}"
    return {**names, "file": str(file), "said": ran.stdout, "address": address}


def test_the_example_is_applied_and_a_second_time_there_is_nothing_to_do(
    idp: Idp, applied: dict[str, str]
) -> None:
    assert "finalize_application_onboarding" in applied["said"]
    assert "finalize_application_environment_provisioning" in applied["said"]
    assert applied["said"].rstrip().endswith("Everything is as declared.")
    assert idp("apply", "-f", applied["file"]).strip() == "Nothing to do: 4 as declared."
    (environment,) = json.loads(idp("env", "list", "--team", applied["team"], "--output", "json"))
    assert environment["state"] == "Active"
    assert {each["name"] for each in environment["secrets"]} == {"app-key", "db"}


def test_a_program_gets_what_was_applied_as_one_document(idp: Idp, applied: dict[str, str]) -> None:
    told = yaml.safe_load(idp("apply", "-f", applied["file"], "--dry-run", "--output", "yaml"))
    assert told == {
        "changes": [], "unchanged": 4, "applied": False, "unsettled": [], "requests": [],
    }  # fmt: skip


def test_a_secret_is_rotated_and_read_where_it_is_stored(idp: Idp, applied: dict[str, str]) -> None:
    key = f"{applied['address']}/app-key"
    idp("secret", "policy", key, "--grace", "0s")
    rotated = json.loads(idp("secret", "rotate", key, "--watch", "--output", "json"))
    assert rotated["state"] == "succeeded"
    shown = yaml.safe_load(idp("secret", "show", key, "--output", "yaml"))
    assert shown["version"] == 2
    told = json.loads(idp("secret", "login", key, "--output", "json"))
    assert told["token"] is None
    assert "bao kv get" in told["readCommand"]
    reported = idp("secret", "compromised", key, "--reason", "It was in a log")
    assert "Next: " in reported


def test_every_part_is_found_well(platform: Platform) -> None:
    found: list[dict[str, Any]] = []

    def all_is_good() -> bool:
        """On a busy machine a part may answer too late once."""
        ran = platform.idp("doctor", "--output", "json")
        found[:] = json.loads(ran.stdout)
        good = all(each["isGood"] for each in found)
        assert good is (ran.returncode == ExitCode.OK), ran.stderr
        return good

    try:
        eventually(all_is_good, what="all is good")
    except AssertionError as error:
        bad = [each for each in found if not each["isGood"]]
        raise AssertionError(f"{error}: {bad}") from error
    subjects = {each["subject"] for each in found}
    assert {
        "python", "git", "disk", "packages", "clock", "keys", "control-plane-api", "worker",
        "Dagster's daemons",
        "databases", "migrations", "secret store", "forge", "GitOps agent", "queue", "token",
        "version", "work", "secrets",
    } <= subjects  # fmt: skip


def test_bash_completes_the_names_of_what_is_there(
    idp: Idp, platform: Platform, applied: dict[str, str]
) -> None:
    script = idp("completion", "bash")
    asked = (
        f"{script}\nCOMP_WORDS=('{IDP}' team show {applied['team'][:8]})\nCOMP_CWORD=3\n"
        "_idp_completion\nprintf '%s\\n' \"${COMPREPLY[@]}\""
    )
    surroundings = {"PATH": os.environ["PATH"], "IDP_HOME": str(platform.home)}

    def proposes() -> bool:
        """A Tab waits two seconds for the API, which may have other things to do."""
        ran = subprocess.run(
            ["bash", "-c", asked], env=surroundings, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert not ran.stderr
        return applied["team"] in ran.stdout.splitlines()

    eventually(proposes, what="the team's name")


def test_ids_and_addresses_are_whole_on_a_narrow_terminal(
    platform: Platform, applied: dict[str, str]
) -> None:
    """What people copy is never broken off, and nothing is wider than the terminal."""
    lists = (("env", "list"), ("request", "list"), ("secret", "list"), ("app", "list"))
    for columns in (80, 120):
        for command in lists:
            said = shown(platform, [*command, "--team", applied["team"]], columns)
            assert max(map(len, said.splitlines())) <= columns, said
    wide = shown(platform, ["request", "list", "--team", applied["team"]], 120)
    request = json.loads(
        platform.idp("request", "list", "--team", applied["team"], "--output", "json").stdout
    )[0]
    assert request["id"] in wide
    assert request["applicationId"] in wide or request["applicationEnvironmentId"] in wide


def shown(platform: Platform, arguments: list[str], columns: int) -> str:
    """What a terminal of that width shows."""
    surroundings: dict[str, Any] = {
        "PATH": os.environ["PATH"],
        "IDP_HOME": str(platform.home),
    }
    with in_terminal([str(IDP), *arguments], surroundings, columns=columns) as terminal:
        said, code = terminal.read_to_end()
    assert code == ExitCode.OK, said
    return said
