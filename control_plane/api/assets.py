"""Internal routes: how things should stand at their providers, and what checks found of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from control_plane.api.guards import Service
from control_plane.api.paging import ById, page_of
from control_plane.api.services import Use
from control_plane.application.keep_check_results import keep_check_results
from idp_kernel.services import Scope
from idp_kernel.tokens import ServiceClaims
from idp_kernel.wire import engine as wire

router = APIRouter(tags=["internal"])

Keeper = Annotated[ServiceClaims, Depends(Service(Scope.ASSETS))]
Reporter = Annotated[ServiceClaims, Depends(Service(Scope.REPORTS))]


@router.get(wire.ASSET_APPLICATION_ENVIRONMENTS)
def get_application_environment_assets(
    services: Use, _caller: Keeper, page: ById
) -> wire.AppEnvAssets:
    """Active application environments, by id."""
    assets = services.queries.application_environment_assets(page.slice)
    shown = page_of(assets, page, lambda asset: asset.expected.subject.application_environment_id)
    return wire.AppEnvAssets(items=shown.items, next_cursor=shown.next_cursor)


@router.get(wire.ASSET_SECRETS)
def get_secret_assets(services: Use, _caller: Keeper, page: ById) -> wire.SecretAssets:
    """Secrets with a value, by id."""
    assets = services.queries.secret_assets(page.slice)
    shown = page_of(assets, page, lambda asset: asset.expected.secret.secret_id)
    return wire.SecretAssets(items=shown.items, next_cursor=shown.next_cursor)


@router.post(wire.CHECK_RESULTS)
def post_check_results(
    services: Use, _caller: Reporter, body: wire.CheckResults
) -> wire.CheckResultsKept:
    """What a check found; only a change is told as a domain event."""
    with services.begin() as work:
        return keep_check_results(work, body)
