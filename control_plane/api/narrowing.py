"""Query parameters that narrow lists, once for all of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query

from control_plane.application.queries import Period
from idp_kernel.ids import Id, Slug
from idp_kernel.wire.api import PrincipalName
from idp_kernel.wire.base import Moment


async def _created(
    created_after: Annotated[Moment | None, Query(alias="createdAfter")] = None,
    created_before: Annotated[Moment | None, Query(alias="createdBefore")] = None,
) -> Period:
    return Period(created_after, created_before)


async def _occurred(
    occurred_after: Annotated[Moment | None, Query(alias="occurredAfter")] = None,
    occurred_before: Annotated[Moment | None, Query(alias="occurredBefore")] = None,
) -> Period:
    return Period(occurred_after, occurred_before)


Created = Annotated[Period, Depends(_created)]
Occurred = Annotated[Period, Depends(_occurred)]
NamePrefix = Annotated[
    str | None, Query(alias="namePrefix", pattern=r"^[a-z][a-z0-9-]*$", max_length=40)
]
OfTeam = Annotated[Slug | None, Query(alias="team")]
OfEnvironment = Annotated[Slug | None, Query(alias="environment")]
OfApplication = Annotated[Id | None, Query(alias="applicationId")]
OfAppEnv = Annotated[Id | None, Query(alias="applicationEnvironmentId")]
OfPrincipal = Annotated[PrincipalName | None, Query()]
