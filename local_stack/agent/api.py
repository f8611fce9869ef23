"""The agent's REST routes (`idp_kernel.wire.agent`)."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from idp_kernel.ids import Slug
from idp_kernel.wire import agent as wire
from idp_kernel.wire.forge import RepositoryName
from local_stack.agent.reconciliations import Reconciliations
from local_stack.listings import Known, WaitSeconds, listed_when_new, version_of
from local_stack.readers import readers_only


def agent_routes(reconciliations: Reconciliations, reader_token: str) -> APIRouter:
    """What readers may ask, with the reader token as bearer token."""
    refusal = "The agent's conditions are read with its reader token."
    router = APIRouter(dependencies=[readers_only(reader_token, refusal)])

    @router.get(wire.RECONCILIATIONS)
    async def list_reconciliations(
        request: Request, response: Response, known: Known = "", wait_seconds: WaitSeconds = 0
    ) -> wire.Reconciliations:
        def look() -> wire.Reconciliations:
            seen = sorted(reconciliations.all().items())
            return wire.Reconciliations(items=tuple(each for _, each in seen))

        return await listed_when_new(
            look, request, response, known=known, wait_seconds=wait_seconds, version_of=_version_of
        )

    @router.get(wire.RECONCILIATION)
    def get_reconciliation(owner: Slug, name: RepositoryName) -> wire.Reconciliation:
        return reconciliations.get(owner, name)

    return router


def _version_of(listed: wire.Reconciliations) -> str:
    """That the agent has looked again is nothing new."""
    timeless = (each.model_copy(update={"last_reconciled_at": None}) for each in listed.items)
    return version_of(wire.Reconciliations(items=tuple(timeless)))
