"""Routes of what can be watched, as server-sent streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Header, Response
from starlette.concurrency import run_in_threadpool

from control_plane.api.event_streams import EventStreamResponse, described, sent_by
from control_plane.api.events import After, EventsWanted
from control_plane.api.guards import AnyPerson
from control_plane.api.openapi import refuses
from control_plane.api.requests import Viewer
from control_plane.api.services import Services, Use
from control_plane.api.watches import (
    STATE_ID_PATTERN,
    EventWatch,
    RequestWatch,
    event_message,
    gone_message,
    request_message,
)
from control_plane.application.access import Caller, no_such
from control_plane.application.queries import EventFilter, Slice
from idp_kernel.errors import NotFound
from idp_kernel.http.event_stream import (
    LAST_EVENT_ID,
    Message,
    comment,
    encoded,
    pause_before_resuming,
)
from idp_kernel.wire.api import EVENTS_GONE, Event, EventsGone, WorkflowRequest
from idp_kernel.workflows import RESULT_OF_STATE, WORKFLOWS, RequestState, WorkflowName

router = APIRouter()

RESUME_AFTER_SECONDS: Final = 2.0
_PAGE: Final = 200

LastSequence = Annotated[int | None, Header(alias=LAST_EVENT_ID, ge=0, lt=10**18)]
LastState = Annotated[str | None, Header(alias=LAST_EVENT_ID, pattern=STATE_ID_PATTERN)]

_NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
_AN_ID = "01930000-0000-7000-8000-00000000000{}"
_REQUEST = WorkflowRequest(
    id=_AN_ID.format(1),
    workflow=WorkflowName.APPLICATION_ONBOARDING,
    state=RequestState.RUNNING,
    phase=1,
    attempt=1,
    team="payments",
    application_id=_AN_ID.format(2),
    requested_by="ana",
    reason="",
    created_at=_NOON,
    deadline_at=_NOON + timedelta(minutes=30),
    planned_steps=WORKFLOWS[WorkflowName.APPLICATION_ONBOARDING].steps,
)
_EVENT = Event(
    sequence=42,
    id=_AN_ID.format(3),
    type="application_created",
    occurred_at=_NOON,
    team="payments",
    subject=f"application/{_REQUEST.application_id}",
    request_id=_REQUEST.id,
    actor="ana",
)


@router.get(
    "/v1/events/stream",
    tags=["events and platform"],
    status_code=200,
    response_class=EventStreamResponse,
    responses={
        200: described(
            event_message(_EVENT), Event, "Each message has a sequence as its id, an event as data."
        )
    },
    openapi_extra=refuses("too_many_watches"),
)
def get_event_stream(
    services: Use,
    caller: AnyPerson,
    wanted: EventsWanted,
    after: After = None,
    last_event_id: LastSequence = None,
) -> EventStreamResponse:
    """Streams events of the teams one may see as they are committed, filtered as the list is.

    It begins after `Last-Event-ID`, or `after`, with all that has been committed since; without
    either, with what comes. Who resumes so misses none and sees none twice, and who has seen a
    sequence has seen every event before it that will ever be. When events that came after it are
    not kept any more, a message of the type `events_gone` says so and the stream goes on with the
    oldest one there is. A comment every 15 seconds shows that the stream lives. It ends when the
    token expires or is revoked, when the server ends, and for whoever reads too slowly.
    """
    services.feed.check_room()
    seen = after if last_event_id is None else last_event_id
    return EventStreamResponse(_events(services, caller, wanted, seen))


@router.get(
    "/v1/workflow-requests/{request_id}/watch",
    tags=["workflow requests"],
    status_code=200,
    response_class=EventStreamResponse,
    responses={
        200: described(
            request_message(_REQUEST), WorkflowRequest, "Each message has a whole state as data."
        ),
        204: {"description": "The request has ended, and that was seen: nothing is left to watch."},
    },
    openapi_extra=refuses("too_many_watches"),
)
def get_request_watch(
    services: Use, caller: Viewer, request_id: str, last_event_id: LastState = None
) -> Response:
    """Streams a request: as it stands, then again at each change of it or of a step to its end.

    Every message is the whole state, so one that was missed matters to nobody. With `Last-Event-ID`
    the state of that id is not told again. A request that is retried after its end is watched anew.
    """
    services.feed.check_room()
    team_id = services.queries.request_team(request_id)
    if team_id is None:
        raise no_such("request", request_id)
    if last_event_id is not None and _is_its_end(services, request_id, last_event_id):
        return Response(status_code=204)
    return EventStreamResponse(_states(services, caller, team_id, request_id, last_event_id))


def _is_its_end(services: Services, request_id: str, state_id: str) -> bool:
    request = services.queries.request(request_id)
    if request is None or request.state not in RESULT_OF_STATE:
        return False
    return request_message(request).id == state_id


async def _states(
    services: Services, caller: Caller, team_id: str, request_id: str, seen: str | None
) -> AsyncGenerator[bytes]:
    yield pause_before_resuming(RESUME_AFTER_SECONDS)
    watch = RequestWatch(caller=caller, team_id=team_id, request_id=request_id, seen=seen)
    with services.feed.watched(watch) as subscription:
        async for each in sent_by(subscription):
            yield each


async def _events(
    services: Services, caller: Caller, wanted: EventFilter, after: int | None
) -> AsyncGenerator[bytes]:
    yield pause_before_resuming(RESUME_AFTER_SECONDS)
    watch = EventWatch(caller=caller, wanted=wanted, catches_up=after is not None)
    with services.feed.watched(watch) as subscription:
        if after is not None:
            async with aclosing(_missed(services, watch, after)) as pages:
                async for page in pages:
                    yield _sent(page)
            if subscription.ending is not None:
                yield comment(subscription.ending)
                return
        elif (begun_at := await subscription.begun()) is not None:
            yield encoded(Message(str(begun_at)))
        async for each in sent_by(subscription):
            yield each


async def _missed(
    services: Services, watch: EventWatch, after: int
) -> AsyncGenerator[Sequence[Message]]:
    """Events that the watcher has not seen, read as the list is, up to where it begins to be told;
    a message of its own where some are not kept any more.

    It begins once all that is behind it is read, so that little piles up meanwhile. Nothing is read
    beyond what the feed has come to, and nothing sent that was read for who may watch no more.
    """
    while (until := await watch.subscription.reached()) is not None:
        caller = watch.caller
        try:
            page = await run_in_threadpool(
                services.queries.events,
                caller.visible_teams,
                Slice(str(after), _PAGE),
                watch.wanted,
            )
        except NotFound as gone:
            if gone.code != EVENTS_GONE:
                raise
            told = EventsGone(detail=gone.message, **gone.details)
            after = told.continue_after
            yield [gone_message(told)]
            continue
        if watch.subscription.ending is not None:
            return
        if watch.caller.visible_teams != caller.visible_teams:
            continue
        due = [event for event in page if event.sequence <= until]
        if due:
            after = due[-1].sequence
            yield list(map(event_message, due))
        elif not watch.catches_up:
            return
        else:
            watch.catches_up = False
            services.feed.hear_of_events("")
            await watch.subscription.begun()


def _sent(messages: Sequence[Message]) -> bytes:
    return b"".join(map(encoded, messages))
