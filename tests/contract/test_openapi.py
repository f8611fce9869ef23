"""What schemathesis finds between the description and a real server, for each role."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from idp_kernel.ids import new_id
from tests.contract.hooks import KEPT_ADMINS_VARIABLE, KEPT_TOKENS_VARIABLE
from tests.fixtures.stack import FreshDatabase
from tests.integration.control_plane.conftest import Keys, Platform
from tests.integration.control_plane.process import Process, served
from tests.integration.control_plane.rotations import secret_in_use

ROOT = Path(__file__).parents[2]
ROLES = ("admin", "maintainer", "viewer", "stranger")
CASES = int(os.environ.get("IDP_TEST_CASES", "300"))
EXAMPLES = max(1, CASES // 60)
"""Of each operation; there are more than sixty, and phases besides."""


@dataclass(frozen=True)
class World:
    """A server with something in it, and somebody for each role."""

    platform: Platform
    server: Process
    tokens: dict[str, str]
    known: dict[str, str]


@pytest.fixture
def world(platform: Platform, migrated: FreshDatabase, keys: Keys) -> Iterator[World]:
    secret = secret_in_use(platform)
    team, admin = secret.subject.team, f"p-{new_id()[-8:]}"
    of_application = f"/v1/applications/{secret.subject.application_id}"
    repository = platform.admin.seen(f"{of_application}/repositories")["items"][0]
    (integration,) = platform.admin.seen(f"{of_application}/gitops-integrations")["items"]
    (binding,) = platform.admin.seen(f"/v1/secrets/{secret.id}")["bindings"]
    request = platform.admin.seen("/v1/workflow-requests", team=team)["items"][0]
    known = {
        "team": team,
        "environment": secret.subject.environment,
        "application_id": secret.subject.application_id,
        "application_environment_id": secret.environment_id,
        "secret_id": secret.id,
        "binding_id": binding["id"],
        "repository_id": repository["id"],
        "integration_id": integration["id"],
        "request_id": request["id"],
    }
    tokens = {
        "admin": platform.token_for(admin, platformAdmin=True),
        "maintainer": platform.member(team, "team-maintainer").token,
        "viewer": platform.member(team, "team-viewer").token,
        "stranger": platform.token_for(f"p-{new_id()[-8:]}"),
    }
    unlimited = {"IDP_CONTROL_PLANE_RATE_LIMIT_BURST": "1000000"}
    with served(migrated, keys, **unlimited) as server:
        yield World(platform, server, tokens, known)


CONFIGURATION = """
# What stands against a command that is well written is known to the server alone.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "304", "401", "403", "404", "409", "412", "422"]
"""


def configuration(world: World) -> str:
    """Every second path leads to something that is there, so do bodies and filters."""
    lines = [CONFIGURATION]
    for name, value in world.known.items():
        lines += [f"[dictionaries.{name}]", f'values = ["{value}"]', ""]
    lines.append("[parameters]")
    places = [*(f"path.{name}" for name in world.known), "query.team", "query.environment"]
    places += ["body.team", "body.environment"]
    for place in places:
        name = place.partition(".")[2]
        lines.append(f'"{place}" = {{ dictionary = "{name}", probability = 0.5 }}')
    return "\n".join(lines)


def explore(world: World, role: str, folder: Path, *options: str) -> str:
    """What schemathesis printed; it found nothing."""
    file = folder / "schemathesis.toml"
    file.write_text(configuration(world))
    command = [
        sys.executable, "-m", "schemathesis.cli", f"--config-file={file}", "--no-color",
        "run", f"{world.server.url}/openapi.json",
        f"--header=Authorization: Bearer {world.tokens[role]}",
        "--checks=all", "--include-path-regex=^/v1/", "--warnings=off",
        # A stream goes on until somebody ends it, and schemathesis waits for the end.
        "--exclude-path-regex=/(stream|watch)$",
        "--continue-on-failure", "--generation-database=none", *options,
    ]  # fmt: skip
    admin = world.platform.admin
    kept = [token["id"] for token in admin.seen("/v1/tokens", limit=200)["items"]]
    admins = [each["principal"] for each in admin.seen("/v1/platform-admins", limit=200)["items"]]
    environment = {
        **os.environ,
        KEPT_TOKENS_VARIABLE: ",".join(kept),
        KEPT_ADMINS_VARIABLE: ",".join(admins),
        "SCHEMATHESIS_HOOKS": "tests.contract.hooks",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, found_by(done.stdout) + done.stderr[-2_000:]
    # Whoever explored could do so until the end.
    assert world.platform.bearer(world.tokens[role]).get("/v1/whoami").status_code == 200
    return done.stdout


def found_by(printed: str) -> str:
    """What it holds against the server, without the account of what went well."""
    found = re.search(r"^=+ (ERRORS|FAILURES) =+$.*", printed, re.MULTILINE | re.DOTALL)
    return (found[0] if found else printed)[:20_000]


def cases_in(printed: str) -> int:
    found = re.search(r"(\d[\d,]*) generated", printed)
    assert found is not None, printed
    return int(found[1].replace(",", ""))


@pytest.mark.endurance
def test_the_description_is_kept_where_it_matters_most(world: World, tmp_path: Path) -> None:
    printed = explore(
        world, "maintainer", tmp_path, "--phases=examples,fuzzing", "--max-examples=3"
    )
    assert cases_in(printed) > 100


@pytest.mark.endurance
@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("role", ROLES)
def test_the_description_is_kept(world: World, role: str, tmp_path: Path) -> None:
    printed = explore(
        world,
        role,
        tmp_path,
        "--phases=examples,coverage,fuzzing,stateful",
        f"--max-examples={EXAMPLES}",
    )
    assert cases_in(printed) >= CASES
