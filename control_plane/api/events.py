"""Route of the domain events, and of what is true of the whole platform."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from control_plane.api.commands import Key, answered, run_command
from control_plane.api.guards import Admin, AnyPerson
from control_plane.api.paging import BySequence, page_of
from control_plane.api.services import Use
from control_plane.application.queries import EventFilter
from control_plane.application.steer_platform import set_draining
from idp_kernel.ids import Id, Slug
from idp_kernel.wire import api as wire

router = APIRouter(tags=["events and platform"])

Subject = Annotated[str, Query(pattern=r"^[a-z_]{1,40}/[0-9a-f-]{36}$")]
EventType = Annotated[str, Query(pattern=r"^[a-z_]{1,100}$")]


@router.get("/v1/events")
def get_events(
    services: Use,
    caller: AnyPerson,
    page: BySequence,
    after: Annotated[int | None, Query(ge=0, lt=10**18)] = None,
    team: Slug | None = None,
    subject: Subject | None = None,
    request_id: Annotated[Id | None, Query(alias="requestId")] = None,
    type_: Annotated[EventType | None, Query(alias="type")] = None,
) -> wire.Page[wire.Event]:
    """Events of the teams one may see, by sequence; `after` is one that was seen already.

    Who has seen a sequence has seen every event before it that will ever be. Events of no team
    are for platform-admins.
    """
    if page.after is None and after is not None:
        page = replace(page, after=str(after))
    wanted = EventFilter(team, subject, request_id, type_)
    events = services.queries.events(caller.visible_teams, page.slice, wanted)
    return page_of(events, page, lambda event: str(event.sequence))


@router.get("/v1/platform")
def get_platform(services: Use, _caller: AnyPerson) -> wire.PlatformStanding:
    """Whether the platform takes up new work."""
    return services.queries.standing()


def _add_move(action: str, *, draining: bool) -> None:
    @router.post(
        f"/v1/platform/{action}",
        response_model=wire.PlatformStanding,
        name=f"post_platform_{action}",
    )
    def post_move(request: Request, caller: Admin, key: Key) -> Response:
        act = answered(200, lambda work: set_draining(work, caller.principal, draining=draining))
        return run_command(request, caller, key, None, act)


_add_move("drain", draining=True)
_add_move("resume", draining=False)
