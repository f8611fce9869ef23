"""Route of the domain events, and of what is true of the whole platform."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from control_plane.api.commands import Key, answered, run_command
from control_plane.api.conditions import IfNoneMatch
from control_plane.api.guards import Admin, AnyPerson
from control_plane.api.narrowing import Occurred, OfTeam
from control_plane.api.openapi import refuses
from control_plane.api.paging import BySequence, page_of
from control_plane.api.services import Use
from control_plane.application.queries import EventFilter
from control_plane.application.steer_platform import set_draining
from idp_kernel.ids import Id
from idp_kernel.wire import api as wire
from idp_kernel.wire.api import EVENTS_GONE

router = APIRouter(tags=["events and platform"])

Subject = Annotated[str, Query(pattern=r"^[a-z_]{1,40}/[a-z0-9._@-]{1,80}$")]
EventType = Annotated[str, Query(pattern=r"^[a-z_]{1,100}$")]
After = Annotated[int | None, Query(ge=0, lt=10**18)]


async def events_wanted(
    occurred: Occurred,
    team: OfTeam = None,
    subject: Subject | None = None,
    request_id: Annotated[Id | None, Query(alias="requestId")] = None,
    type_: Annotated[EventType | None, Query(alias="type")] = None,
) -> EventFilter:
    """The same for the list and for the stream."""
    return EventFilter(team, subject, request_id, type_, occurred)


EventsWanted = Annotated[EventFilter, Depends(events_wanted)]


@router.get("/v1/events", openapi_extra=refuses(EVENTS_GONE))
def get_events(
    services: Use,
    caller: AnyPerson,
    page: BySequence,
    wanted: EventsWanted,
    after: After = None,
) -> wire.Page[wire.Event]:
    """Lists events of the teams one may see, by sequence.

    `after` is a sequence that was seen already, 0 before the first. Who has seen one has seen every
    event before it that will ever be. Events are kept for some time (docs/operations.md): who comes
    back later than that is told so, and where to go on. Events of no team are for platform-admins.
    """
    if page.after is None and after is not None:
        page = replace(page, after=str(after))
    events = services.queries.events(caller.visible_teams, page.slice, wanted)
    return page_of(events, page, lambda event: str(event.sequence))


@router.get("/v1/platform", response_model=wire.PlatformStanding)
def get_platform(services: Use, _caller: AnyPerson, seen: IfNoneMatch) -> Response:
    """Tells whether the platform takes up new work."""
    return seen.answer(services.queries.standing())


def _add_move(action: str, summary: str, *, draining: bool) -> None:
    @router.post(
        f"/v1/platform/{action}",
        response_model=wire.PlatformStanding,
        name=f"post_platform_{action}",
        summary=summary,
        description=f"{summary} Takes a platform-admin; repeatable.",
    )
    def post_move(request: Request, caller: Admin, key: Key) -> Response:
        act = answered(200, lambda work: set_draining(work, caller.principal, draining=draining))
        return run_command(request, caller, key, None, act)


_add_move("drain", "Stops the platform from taking up new work.", draining=True)
_add_move("resume", "Lets the platform take up new work again.", draining=False)
