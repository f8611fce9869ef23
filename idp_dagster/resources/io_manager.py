"""The I/O manager of every op that does not ask for another: none."""

from __future__ import annotations

from typing import NoReturn

from dagster import InputContext, IOManager, OutputContext

from idp_kernel.errors import InvariantBroken


class NoDataIOManager(IOManager):
    """Refuses to keep anything: what passes between ops would lie in a file and show in the UI."""

    def handle_output(self, context: OutputContext, obj: object) -> NoReturn:
        raise InvariantBroken(
            f"{context.step_key} returned a {type(obj).__name__}: ops return nothing, references "
            "go to the control plane.",
            code="op_returned_data",
        )

    def load_input(self, context: InputContext) -> NoReturn:
        raise InvariantBroken(f"{context.name} would be loaded from nowhere.", code="op_loads_data")
