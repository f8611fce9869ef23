"""`idp demo`: the three workflows for real, and what came of them is shown."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import typer

from idp_cli.commands.platform import PortOffset
from idp_cli.demonstration import Demonstration
from idp_cli.exits import ExitCode
from idp_cli.invocation import invocation_of
from idp_cli.supervision.embedded_run import running_platform


def demo(context: typer.Context, port_offset: PortOffset = 0) -> None:
    """Onboard an application, provision its environment, rotate two secrets; show every step.

    Uses the platform that runs here (or at --api-url); starts one and stops it when none does.
    """
    invocation = invocation_of(context)
    narrator = invocation.narrator
    starts_one = invocation.api_url_given is None and not invocation.home.is_locked()
    run = running_platform(invocation.home, port_offset, narrator) if starts_one else nullcontext()
    try:
        with run:
            # A copy looks anew where the platform of this home listens.
            is_as_it_should_be = Demonstration(replace(invocation)).perform(stays=not starts_one)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    raise typer.Exit(ExitCode.OK if is_as_it_should_be else ExitCode.REQUEST_FAILED)
