"""Who watches what: which events, which request, and what each of them is sent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from control_plane.api.subscriptions import Subscription
from control_plane.application.access import Caller
from control_plane.application.queries import CommittedEvent, EventFilter
from idp_kernel.http.event_stream import Message
from idp_kernel.wire.api import Event, EventsGone, WorkflowRequest

_STATE_ID_LENGTH = 32
STATE_ID_PATTERN = rf"^[0-9a-f]{{{_STATE_ID_LENGTH}}}$"


@dataclass(eq=False, kw_only=True)
class EventWatch:
    """Somebody who is told of events; made inside a running loop."""

    caller: Caller
    wanted: EventFilter
    catches_up: bool = False
    """It still reads what it missed, and is not told yet what comes."""
    has_begun: bool = False
    was_checked: bool = False
    """Whether it was looked, since it stands, who may watch."""
    subscription: Subscription = field(default_factory=Subscription)

    def may_go_on(self) -> bool:
        """Always: who may see no team sees none of its events."""
        return True

    def accepts(self, committed: CommittedEvent) -> bool:
        """Whether the list would show it to this caller."""
        may_see = self.caller.platform_admin or committed.team_id in self.caller.roles
        return may_see and self.wanted.accepts(committed.event)


@dataclass(eq=False, kw_only=True)
class RequestWatch:
    """Somebody who is told of a request; made inside a running loop."""

    caller: Caller
    team_id: str
    request_id: str
    seen: str | None
    """The id of the state that was told last; none before the first."""
    has_begun: bool = False
    was_checked: bool = False
    """As of `EventWatch`."""
    subscription: Subscription = field(default_factory=Subscription)

    def may_go_on(self) -> bool:
        return self.caller.sees_team(self.team_id)


Watch = EventWatch | RequestWatch


def event_message(event: Event) -> Message:
    """Its id is the event's sequence."""
    return Message(str(event.sequence), event.model_dump_json())


def gone_message(gone: EventsGone) -> Message:
    """Its id is the sequence after which the stream goes on."""
    return Message(str(gone.continue_after), gone.model_dump_json(), type=gone.code)


def request_message(request: WorkflowRequest) -> Message:
    """Its id is made of the whole state: of two equal ones it is the same."""
    document = request.model_dump_json()
    return Message(hashlib.sha256(document.encode()).hexdigest()[:_STATE_ID_LENGTH], document)
