"""`idp` watches a real control plane from a pipe, a restart of the server in between included."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.fixtures.stack import FreshDatabase, free_port
from tests.integration.control_plane.conftest import (
    ADMIN_TOKEN,
    LONG_LEASES,
    Keys,
    Platform,
    settings_for,
)
from tests.integration.control_plane.engine_run import STEPS, claimed
from tests.integration.control_plane.serving import serving


class Idp:
    """A command line that runs, read line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def rest(self) -> list[str]:
        """What it still says until it ends."""
        assert self._process.stdout is not None
        return self._process.stdout.readlines()

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def code(self) -> int:
        return self._process.wait(20)


@contextmanager
def idp(url: str, home: Path, *arguments: str) -> Iterator[Idp]:
    """The command line while the block lasts; its stdout is a pipe."""
    process = subprocess.Popen(
        [sys.executable, "-m", "idp_cli.main", *arguments],
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "IDP_API_URL": url,
            "IDP_TOKEN": ADMIN_TOKEN,
            "IDP_HOME": str(home),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    with process:
        try:
            yield Idp(process)
        finally:
            process.kill()


@pytest.fixture
def leases() -> dict[str, float]:
    return LONG_LEASES


def test_each_change_of_a_request_is_one_plain_line_over_a_restart_of_the_server(
    platform: Platform, migrated: FreshDatabase, keys: Keys, tmp_path: Path
) -> None:
    request_id, port = platform.provision(platform.new_subject()), free_port()
    settings = settings_for(migrated, keys)
    with ExitStack() as first:
        url = first.enter_context(serving(settings, platform.clock, port=port)).url
        with idp(url, tmp_path, "request", "watch", request_id) as watched:
            lines = [watched.line()]
            run = claimed(platform, request_id)
            lines.append(watched.line())
            run.start(STEPS[0])
            lines.append(watched.line())
            first.close()
            run.end(STEPS[0])
            with serving(settings, platform.clock, port=port):
                lines.append(watched.line())
                for step in STEPS[1:-1]:
                    run.start(step)
                    lines.append(watched.line())
                    run.end(step)
                    lines.append(watched.line())
                run.finalize()
                lines += watched.rest()
            assert watched.code() == 0
    assert all(line.rstrip("\n").isprintable() for line in lines)
    assert ["pending" in lines[0], "running" in lines[1]] == [True, True]
    told = [line.split()[1:3] for line in lines if line.startswith("  ")]
    changes = [[step, state] for step in STEPS[:-1] for state in ("running", "succeeded")]
    assert told[: len(changes)] == changes
    assert len([line for line in lines if "succeeded" in line and request_id in line]) == 1


def test_events_are_followed_one_a_line_over_a_restart_of_the_server(
    platform: Platform, migrated: FreshDatabase, keys: Keys, tmp_path: Path
) -> None:
    request_id, port = platform.provision(platform.new_subject()), free_port()
    settings, follow = settings_for(migrated, keys), ("events", "--follow", "--request", request_id)
    with ExitStack() as first:
        url = first.enter_context(serving(settings, platform.clock, port=port)).url
        with (
            idp(url, tmp_path / "1", *follow, "--output", "json") as lines,
            idp(url, tmp_path / "2", *follow) as table,
        ):
            told = [json.loads(lines.line())]
            shown = [table.line()]
            first.close()
            platform.admin.ok(f"/v1/workflow-requests/{request_id}/cancel")
            listed = platform.admin.seen("/v1/events", requestId=request_id)["items"]
            assert len(listed) > 1
            with serving(settings, platform.clock, port=port):
                told += [json.loads(lines.line()) for _ in listed[1:]]
                shown += [table.line() for _ in listed[1:]]
                for each in (lines, table):
                    each.interrupt()
                    assert (each.code(), each.rest()) == (130, [])
    assert told == listed
    assert [line.split()[3] for line in shown] == [each["type"] for each in listed]
    assert all(line.rstrip("\n").isprintable() for line in shown)
