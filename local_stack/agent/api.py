"""The agent's REST routes (`idp_kernel.wire.agent`)."""

from __future__ import annotations

from fastapi import APIRouter

from idp_kernel.ids import Slug
from idp_kernel.wire import agent as wire
from idp_kernel.wire.forge import RepositoryName
from local_stack.agent.reconciliations import Reconciliations
from local_stack.readers import readers_only


def agent_routes(reconciliations: Reconciliations, reader_token: str) -> APIRouter:
    """What readers may ask, with the reader token as bearer token."""
    refusal = "The agent's conditions are read with its reader token."
    router = APIRouter(dependencies=[readers_only(reader_token, refusal)])

    @router.get(wire.RECONCILIATIONS)
    def list_reconciliations() -> wire.Reconciliations:
        seen = sorted(reconciliations.all().items())
        return wire.Reconciliations(items=tuple(each for _, each in seen))

    @router.get(wire.RECONCILIATION)
    def get_reconciliation(owner: Slug, name: RepositoryName) -> wire.Reconciliation:
        return reconciliations.get(owner, name)

    return router
