"""A run of the embedded default: looked at before anything starts, started, and always stopped."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from idp_cli.supervision.embedded import Embedded
from idp_cli.supervision.home import Home
from idp_cli.supervision.keys import ensure_keys
from idp_cli.supervision.launch import Platform, interruptible
from idp_cli.supervision.leftovers import end_leftovers
from idp_cli.supervision.narration import Narrator
from idp_cli.supervision.ports import shifted_ports
from idp_cli.supervision.preflight import (
    Finding,
    machine_findings,
    port_findings,
    settings_findings,
)
from idp_kernel.errors import Conflict
from idp_kernel.ids import new_id
from idp_kernel.services import DefaultPorts


@contextmanager
def running_platform(
    home: Home, port_offset: int, narrator: Narrator, *, otlp_endpoint: str | None = None
) -> Iterator[Platform]:
    """Everything started inside the block, nothing left of it after.

    Raises `Conflict` before anything is started when something stands in the way (another run,
    a taken port, no git, no space, a setting that a program would refuse), `Unavailable` when a
    program does not come up, and `KeyboardInterrupt` on Ctrl-C, SIGTERM or SIGHUP, at any time.
    """
    began = time.monotonic()
    ports = shifted_ports(port_offset)
    findings = require_good(narrator, machine_findings(home))
    as_told = Embedded(home, ports, otlp_endpoint, installation_id=new_id()).programs()
    findings += require_good(narrator, settings_findings(home, as_told))
    home.prepare()
    try:
        with interruptible(), home.locked() as lock:
            for leftover in end_leftovers(home):
                narrator.note("left by an earlier run", f"{leftover}, ended")
            findings += require_good(narrator, port_findings(ports))
            told = ", ".join(each.found for each in findings if each.subject != "path")
            narrator.step("preflight", time.monotonic() - began, told)
            _ensure_keys(home, narrator)
            programs = Embedded(home, ports, otlp_endpoint).programs()
            platform = Platform(home, programs, narrator, lock=lock, port_offset=port_offset)
            try:
                platform.start()
                yield platform
            finally:
                platform.stop()
    finally:
        home.leave()


def require_good(narrator: Narrator, findings: Iterable[Finding]) -> list[Finding]:
    """The findings when all are good; says those that are not and raises `Conflict`."""
    looked_at = list(findings)
    bad = [finding for finding in looked_at if not finding.is_good]
    for finding in bad:
        narrator.trouble(f"{finding.subject}: {finding.found}", [finding.advice])
    if bad:
        raise Conflict("Nothing was started.", code="preflight_failed")
    return looked_at


def say_where(narrator: Narrator, home: Home, ports: DefaultPorts) -> None:
    """Where the parts are that people look at."""
    for name, where in (
        ("API", f"http://127.0.0.1:{ports.control_plane_api}"),
        ("Dagster", f"http://127.0.0.1:{ports.dagster_webserver}"),
        ("forge", f"http://127.0.0.1:{ports.local_forge}"),
        ("metrics", f"http://127.0.0.1:{ports.metrics_exporter}/metrics"),
        ("admin token", str(home.admin_token)),
        ("logs", str(home.logs)),
    ):
        narrator.say(f"  [dim]{name:<12}[/] {where}")


def _ensure_keys(home: Home, narrator: Narrator) -> None:
    began = time.monotonic()
    made = ensure_keys(home.keys)
    narrator.step(
        "keys", time.monotonic() - began, f"{made} made" if made else "there since before"
    )
