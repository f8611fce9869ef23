"""The agent's REST route (`idp_kernel.wire.agent`)."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

from fastapi import APIRouter, Depends, Header

from idp_kernel.errors import Unauthenticated
from idp_kernel.ids import Slug
from idp_kernel.wire.agent import RECONCILIATION, Reconciliation
from idp_kernel.wire.forge import RepositoryName
from local_stack.agent.reconciliations import Reconciliations


def agent_routes(reconciliations: Reconciliations, reader_token: str) -> APIRouter:
    """What readers may ask, with the reader token as bearer token."""
    expected = _digest(f"Bearer {reader_token}")

    def authenticated(authorization: Annotated[str, Header()] = "") -> None:
        if not hmac.compare_digest(expected, _digest(authorization)):
            raise Unauthenticated("The agent's conditions are read with its reader token.")

    router = APIRouter(dependencies=[Depends(authenticated)])

    @router.get(RECONCILIATION)
    def get_reconciliation(owner: Slug, name: RepositoryName) -> Reconciliation:
        return reconciliations.get(owner, name)

    return router


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
