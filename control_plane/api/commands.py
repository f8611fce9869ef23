"""A command is acted on once per idempotency key, in one transaction, committed before the answer.

The key is the caller's own, per method and path. The same body under the same key gets the first
answer again for a day; another body is refused. Refusals are not kept: nothing happened.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Header, Request, Response

from control_plane.api.conditions import ETAG_HEADER, TagOf, etag_of
from control_plane.api.openapi import IDEMPOTENCY_KEY_HEADER, IDEMPOTENCY_KEY_PATTERN
from control_plane.api.services import Services, services_of
from control_plane.application.access import Caller
from control_plane.application.ports import Answer, CommandKey, RecordedCommand, Work
from control_plane.failpoints import COMMAND_AFTER_COMMIT
from idp_kernel.errors import Conflict, InvalidInput
from idp_kernel.failpoints import failpoint
from idp_kernel.wire.base import WireModel

_SHOWS_THE_THING = (200, 201)
"""Statuses of answers that are the representation of what was made or moved."""
_KEY = re.compile(IDEMPOTENCY_KEY_PATTERN)


async def idempotency_key(
    given: Annotated[str | None, Header(alias=IDEMPOTENCY_KEY_HEADER)] = None,
) -> str:
    """The caller's key: 1 to 200 printable ASCII characters."""
    if given is None:
        raise InvalidInput(
            f"This needs the header {IDEMPOTENCY_KEY_HEADER}: a new value for each command,"
            " the same for its repeats.",
            code="idempotency_key_missing",
        )
    if _KEY.fullmatch(given) is None:
        raise InvalidInput(
            f"{IDEMPOTENCY_KEY_HEADER} takes 1 to 200 printable ASCII characters.",
            code="idempotency_key_invalid",
        )
    return given


Key = Annotated[str, Depends(idempotency_key)]


def answered(
    status: int, act: Callable[[Work], WireModel], location: str | None = None
) -> Callable[[Work], Answer]:
    """Acts, and answers with the model."""
    return lambda work: Answer(status, act(work).model_dump_json(), location)


def run_command(
    request: Request,
    caller: Caller,
    key: str,
    body: WireModel | None,
    act: Callable[[Work], Answer],
) -> Response:
    """The answer of the command, or of the first one under this key.

    Raises `InvalidInput` (`idempotency_key_reused`) for another body under the same key.
    """
    answer = _act_once(services_of(request), _command_key(request, caller, key, body), act)
    failpoint(COMMAND_AFTER_COMMIT)
    response = response_of(answer)
    if answer.body is not None and answer.status in _SHOWS_THE_THING:
        response.headers[ETAG_HEADER] = etag_of(answer.body)
    return response


def run_change(
    request: Request, act: Callable[[Work], Answer], tag_of: TagOf = etag_of
) -> Response:
    """The answer of a change that is repeatable by itself and takes no idempotency key."""
    with services_of(request).begin() as work:
        answer = act(work)
    response = response_of(answer)
    response.headers[ETAG_HEADER] = tag_of(answer.body or "")
    return response


def response_of(answer: Answer) -> Response:
    headers = {} if answer.location is None else {"Location": answer.location}
    return Response(answer.body, answer.status, headers, media_type="application/json")


def _act_once(services: Services, key: CommandKey, act: Callable[[Work], Answer]) -> Answer:
    with services.begin() as work:
        recorded = work.commands.begin(key)
        if recorded is not None:
            return _first_answer(recorded, key)
        answer = act(work)
        work.commands.finish(key, answer)
    return answer


def _first_answer(recorded: RecordedCommand, key: CommandKey) -> Answer:
    if recorded.body_hash != key.body_hash:
        raise InvalidInput(
            f"This {IDEMPOTENCY_KEY_HEADER} came with another body before; take a new one.",
            code="idempotency_key_reused",
        )
    if recorded.answer.body is None:
        raise _already_shown(recorded.answer.location)
    return recorded.answer


def _already_shown(location: str | None) -> Conflict:
    """A token that lives long has a location where it can be revoked; others end soon enough."""
    revoke = "" if location is None else f" Revoke it at {location}."
    return Conflict(
        "This command was acted on; its answer held a token, which is shown only once."
        f"{revoke} Ask for another with a new {IDEMPOTENCY_KEY_HEADER}.",
        code="token_already_shown",
        details={} if location is None else {"location": location},
    )


def _command_key(request: Request, caller: Caller, key: str, body: WireModel | None) -> CommandKey:
    document = None if body is None else body.model_dump(mode="json")
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return CommandKey(
        principal=caller.principal,
        method=request.method,
        path=request.url.path,
        key=key,
        body_hash=hashlib.sha256(canonical.encode()).digest(),
    )
