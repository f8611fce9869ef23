"""How every HTTP server of the platform is run: what they all ask of uvicorn."""

from __future__ import annotations

from typing import Any

import uvicorn
from starlette.types import ASGIApp

IDLE_CLOSED_AFTER_SECONDS = 75
"""A connection that nobody uses is closed after this. It has to be longer than any client keeps
one: who sends while the server closes gets no answer, and cannot know whether it acted.
"""
SHUTDOWN_SECONDS = 5
"""What is being answered when a server is asked to end has so long to be through."""
_OPTIONS: dict[str, Any] = {
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "timeout_keep_alive": IDLE_CLOSED_AFTER_SECONDS,
}


def serve(app: ASGIApp, *, host: str, port: int) -> None:
    """Answers until a signal ends it; exits with uvicorn's own status if it cannot begin."""
    uvicorn.run(app, host=host, port=port, timeout_graceful_shutdown=SHUTDOWN_SECONDS, **_OPTIONS)


def serving(app: ASGIApp, *, host: str, port: int, stop_within_seconds: int) -> uvicorn.Config:
    """The same as a configuration, for a server that has more to do when it ends."""
    return uvicorn.Config(
        app, host=host, port=port, timeout_graceful_shutdown=stop_within_seconds, **_OPTIONS
    )
