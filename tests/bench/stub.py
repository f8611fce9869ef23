"""The worker that every contender's steps call: it answers and notes when it was called.

`python -m tests.bench.stub <port> [seconds]`. It answers the platform's own steps as
execution-workers would, at once or after some time, as with providers that take it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn

from idp_kernel.services import LOOPBACK
from idp_kernel.wire import worker

CALLS = "/calls"
REVISION = "0" * 40
STORE_PATH = "bench"

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Answer = Callable[[Mapping[str, Any]], object]


@dataclass
class StubWorker:
    """An ASGI application."""

    delay_seconds: float = 0.0
    calls: list[tuple[str, str, float]] = field(default_factory=list)
    """Request, step, and when it was called, in seconds of the epoch."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        called_at = time.time()
        body = await _body(receive)
        if scope["path"] == CALLS:
            after = int(scope["query_string"] or b"0")
            await _answer(send, self.calls[after:])
            return
        key = dict(scope["headers"]).get(b"idempotency-key", b"").decode()
        request_id, _, rest = key.partition("/")
        self.calls.append((request_id, rest.partition("/")[2], called_at))
        await asyncio.sleep(self.delay_seconds)
        answer = ANSWERS.get(scope["path"])
        await _answer(send, {} if answer is None else answer(json.loads(body)))


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


async def _answer(send: Send, content: object) -> None:
    body = json.dumps(content).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _effects(items: list[tuple[str, dict[str, object]]]) -> object:
    return {
        "items": [
            {"item": item, "effect": worker.EffectKind.CREATED, "references": references}
            for item, references in items
        ]
    }


def _repositories(kind: str, references: Mapping[str, object]) -> Answer:
    return lambda body: _effects(
        [(f"{kind}/{each['repositoryId']}", dict(references)) for each in body["repositories"]]
    )


def _secrets(body: Mapping[str, Any]) -> object:
    return _effects(
        [
            (
                f"secret/{each['secretId']}",
                {"secretId": each["secretId"], "storePath": STORE_PATH, "version": 1},
            )
            for each in body["secrets"]
        ]
    )


def _reconciled(body: Mapping[str, Any]) -> object:
    return {
        "state": worker.GitOpsState.RECONCILED,
        "expectedRevision": body["revision"],
        "observedRevision": body["revision"],
        "message": "as seen",
    }


def _valid(body: Mapping[str, Any]) -> object:
    return {
        "items": [
            {"id": each["repositoryId"], "passed": True, "expected": "free", "found": "free"}
            for each in body["repositories"]
        ]
    }


ANSWERS: dict[str, Answer] = {
    worker.GIT_REPOSITORIES: _repositories("repository", {"url": "http://forge/repository"}),
    worker.GIT_REPOSITORIES_VALIDATE: _valid,
    worker.GIT_REPOSITORIES_SEED: _repositories("seed", {"revision": REVISION}),
    worker.GIT_BRANCH_PROTECTION: _repositories("protection", {"branch": "main"}),
    worker.APPENV_BRANCH_PROTECTION: _repositories("protection", {"branch": "main"}),
    worker.APPENV_SECRETS: _secrets,
    worker.APPENV_SECRET_BINDINGS: lambda _: _effects([("bindings/1", {"revision": REVISION})]),
    worker.APPENV_GITOPS_VERIFY: _reconciled,
}
"""By path, for the platform's own steps."""


class StubCalls:
    """What a running stub was called for, read piece by piece."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=30)
        self._read = 0
        self._steps: dict[str, dict[str, float]] = {}

    def steps_of(self, request_id: str) -> dict[str, float]:
        """When each step of the request was first called, as of the last `look`."""
        return self._steps.get(request_id, {})

    def look(self) -> None:
        """Reads what is new."""
        calls = self._client.get(f"{CALLS}?{self._read}").json()
        self._read += len(calls)
        for request_id, step, called_at in calls:
            self._steps.setdefault(request_id, {}).setdefault(step, called_at)

    def is_there(self) -> bool:
        """Whether it answers."""
        try:
            self.look()
        except httpx.TransportError:
            return False
        return True

    def close(self) -> None:
        self._client.close()


def main() -> None:
    """Answers until a signal ends it."""
    uvicorn.run(
        StubWorker(float(sys.argv[2]) if len(sys.argv) > 2 else 0.0),
        host=LOOPBACK,
        port=int(sys.argv[1]),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_keep_alive=120,
    )


if __name__ == "__main__":
    main()
