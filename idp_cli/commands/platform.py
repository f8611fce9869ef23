"""`idp up`, `down`, `status`, `doctor`, `drain`, `resume`: the platform itself."""

from __future__ import annotations

import time
from typing import Annotated

import psutil
import typer
from pydantic import TypeAdapter, ValidationError

from idp_cli.api import DRAIN, RESUME
from idp_cli.doctor import Doctor
from idp_cli.exits import ExitCode
from idp_cli.invocation import Invocation, invocation_of
from idp_cli.output import cell, plain_table, program_word
from idp_cli.supervision.embedded import Embedded
from idp_cli.supervision.embedded_run import running_platform, say_where
from idp_cli.supervision.home import Home, RunRecord
from idp_cli.supervision.launch import STOPPED_WITHIN_SECONDS
from idp_cli.supervision.leftovers import CLOCK_SLACK_SECONDS, end_leftovers
from idp_cli.supervision.ports import LARGEST_OFFSET, shifted_ports
from idp_cli.supervision.programs import Program
from idp_cli.supervision.remote import ProcessInfo, ProcessState, SupervisorRemote
from idp_kernel.errors import Conflict, Unavailable
from idp_kernel.telemetry.traces import OtlpEndpoint
from idp_kernel.wire.api import PlatformStanding
from idp_kernel.wire.base import Timestamp, WireModel


def otlp_address(given: str) -> str:
    """The address, if a span could be sent there and the supervisor can carry it."""
    try:
        return TypeAdapter(OtlpEndpoint).validate_python(given)
    except ValidationError as error:
        raise typer.BadParameter(f"{given!r} is no http(s) address without a query.") from error


PortOffset = Annotated[
    int,
    typer.Option(min=0, max=LARGEST_OFFSET, help="Added to every default port."),
]
OtlpAddress = Annotated[
    str | None,
    typer.Option(
        "--otlp-endpoint",
        envvar="IDP_OTLP_ENDPOINT",
        metavar="URL",
        parser=otlp_address,
        help="A collector that takes traces as OTLP over HTTP, such as http://127.0.0.1:4318.",
    ),
]
ProviderName = Annotated[
    str | None,
    typer.Option(
        "--provider",
        metavar="NAME",
        help="Only this provider, by the name that the settings of execution-workers choose it by.",
    ),
]
RECORD_WITHIN_SECONDS = 10.0
_LOOK_EVERY_SECONDS = 0.1


class ProgramStanding(WireModel):
    """A program of the platform, as `idp status` shows it."""

    name: str
    group: str
    state: str
    pid: int | None
    port: int | None
    started_at: Timestamp | None


def up(
    context: typer.Context, port_offset: PortOffset = 0, otlp_endpoint: OtlpAddress = None
) -> None:
    """Start everything here and stay; Ctrl-C stops everything.

    A program that ends is started again, at once or, when it keeps ending early, with growing
    pauses. If this process is killed, its supervisor stops everything in order.
    """
    invocation = invocation_of(context)
    narrator = invocation.narrator
    began = time.monotonic()
    is_up = False
    try:
        home = invocation.home
        with running_platform(home, port_offset, narrator, otlp_endpoint=otlp_endpoint) as platform:
            is_up = True
            idp = program_word()
            narrator.say()
            say_where(narrator, home, shifted_ports(port_offset))
            narrator.say()
            narrator.say(
                f"Try [bold]{idp} demo[/] in another shell; [bold]{idp} status[/] shows the parts."
            )
            narrator.say(
                f"[green]Ready[/] in {time.monotonic() - began:.1f} s. Ctrl-C stops everything."
            )
            platform.watch()
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.OK if is_up else ExitCode.INTERRUPTED) from None


def down(context: typer.Context) -> None:
    """Stop the platform that runs in this home, from another shell; clears what a crash left."""
    invocation = invocation_of(context)
    home, narrator = invocation.home, invocation.narrator
    began = time.monotonic()
    was_running = home.is_locked()
    if was_running:
        _ask_to_stop(home)
        _await_stopped(home)
    rest = end_leftovers(home)
    home.forget_record()
    for leftover in rest:
        narrator.note("left by a crash", f"{leftover}, ended")
    if was_running:
        narrator.step("stopped", time.monotonic() - began, "no process is left")
    elif not rest:
        narrator.say(f"Nothing runs in {home.root}.")


def status(context: typer.Context) -> None:
    """Show every program of the platform that runs in this home."""
    invocation = invocation_of(context)
    standings = program_standings(invocation)
    if invocation.output.is_for_programs:
        invocation.output.document([each.model_dump(mode="json") for each in standings])
        return
    table = plain_table("PROGRAM", "STATE", "PROCESS", "PORT", "SINCE")
    for each in standings:
        table.add_row(
            each.name, cell(each.state), cell(each.pid), cell(each.port), cell(each.started_at)
        )
    invocation.output.table(table)


def doctor(context: typer.Context, provider: ProviderName = None) -> None:
    """Look at every part and say what to do; works when nothing runs, too.

    With --provider, asks that provider whether the platform's credential there is allowed all that
    it needs, and says how to grant what is missing. Nothing is changed.
    """
    invocation = invocation_of(context)
    is_well = Doctor(invocation).examine(provider)
    raise typer.Exit(ExitCode.OK if is_well else ExitCode.FAILED)


def drain(context: typer.Context) -> None:
    """Let no new workflow start; what is under way goes on, what is asked for waits."""
    _show_standing(context, DRAIN)


def resume(context: typer.Context) -> None:
    """Let workflows start again."""
    _show_standing(context, RESUME)


def program_standings(invocation: Invocation) -> list[ProgramStanding]:
    """The programs that stay, in the order of their start; `Unavailable` when nothing runs."""
    home = invocation.home
    if not home.is_locked():
        raise Unavailable(f"No platform runs in {home.root}.", code="not_running")
    infos = SupervisorRemote(home.socket).processes()
    programs = Embedded(home, invocation.ports).programs()
    return [
        ProgramStanding(
            name=program.name,
            group=program.group,
            state=shown_state(program, infos[program.name]),
            pid=infos[program.name].pid,
            port=program.port,
            started_at=infos[program.name].started_at,
        )
        for program in programs
        if not program.is_one_shot
    ]


def shown_state(program: Program, info: ProcessInfo) -> ProcessState:
    """A program that can do its work is not shown as starting, which to the supervisor is every one
    that has not run for long yet.
    """
    if info.state is ProcessState.STARTING and program.readiness.is_ready(info):
        return ProcessState.RUNNING
    return info.state


def _show_standing(context: typer.Context, path: str) -> None:
    invocation = invocation_of(context)
    standing = invocation.api.command(path, PlatformStanding)
    invocation.output.item(standing, (("draining", standing.draining),))


def _ask_to_stop(home: Home) -> None:
    """Its supervisor stops everything as well when `idp up` is gone already."""
    record = _await_record(home)
    if record is None:
        return
    try:
        process = psutil.Process(record.up_pid)
        # One that is younger than the supervisor did not start it: its number was used again.
        if process.create_time() <= record.supervisor_created + CLOCK_SLACK_SECONDS:
            process.terminate()
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied as error:
        raise Conflict(
            f"The platform in {home.root} was started by another account (process "
            f"{record.up_pid}).",
            code="not_yours",
        ) from error


def _await_record(home: Home) -> RunRecord | None:
    """Who runs there; nobody once the home is free. There is none just before and after a run."""
    give_up_at = time.monotonic() + RECORD_WITHIN_SECONDS
    while home.is_locked():
        if (record := home.record()) is not None:
            return record
        if time.monotonic() > give_up_at:
            raise Conflict(
                f"Something holds {home.lock_file}, and no record says which process it is.",
                code="record_missing",
            )
        time.sleep(_LOOK_EVERY_SECONDS)
    return None


def _await_stopped(home: Home) -> None:
    give_up_at = time.monotonic() + STOPPED_WITHIN_SECONDS
    while home.is_locked():
        if time.monotonic() > give_up_at:
            raise Conflict(
                f"The platform in {home.root} did not stop within {STOPPED_WITHIN_SECONDS:.0f} s.",
                code="still_running",
            )
        time.sleep(_LOOK_EVERY_SECONDS)
