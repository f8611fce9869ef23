"""The consumer's REST route (`idp_kernel.wire.consumer`)."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter

from idp_kernel.wire.consumer import CONSUMPTION, Consumption
from local_stack.readers import readers_only


def consumer_routes(consumption: Callable[[], Consumption], reader_token: str) -> APIRouter:
    """What readers may ask, with the reader token as bearer token."""
    refusal = "The consumption is read with the consumer's reader token."
    router = APIRouter(dependencies=[readers_only(reader_token, refusal)])

    @router.get(CONSUMPTION)
    def get_consumption() -> Consumption:
        return consumption()

    return router
