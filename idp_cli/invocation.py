"""What one call of `idp` works with: home, token, the platform's address, where answers go."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import typer

from idp_cli.api import Api
from idp_cli.output import Output, new_console
from idp_cli.supervision.home import Home
from idp_cli.supervision.narration import Narrator
from idp_cli.supervision.ports import shifted_ports
from idp_kernel.errors import InvalidInput, Unauthenticated
from idp_kernel.http.client import DEFAULT_TIMEOUT_SECONDS, ServiceClient
from idp_kernel.services import LOOPBACK, DefaultPorts, ServiceName

USER_AGENT = "idp-cli"


@dataclass(frozen=True)
class Invocation:
    """Made once, from options and environment; everything else is derived."""

    home: Home
    output: Output
    api_url_given: str | None
    forge_url_given: str | None
    token_given: str | None
    token_file: Path | None
    opened: ExitStack = field(default_factory=ExitStack)
    """Closed when the command is through."""

    @cached_property
    def ports(self) -> DefaultPorts:
        """Of the platform that runs in this home; the default ones when none does."""
        record = self.home.record()
        return shifted_ports(record.port_offset if record else 0)

    @property
    def api_url(self) -> str:
        return self.api_url_given or self._api_url_here

    @property
    def is_of_this_home(self) -> bool:
        """Whether the platform that is asked is the one of this home, not another's."""
        return self.api_url.rstrip("/") == self._api_url_here

    @property
    def _api_url_here(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.control_plane_api}"

    @property
    def forge_url(self) -> str:
        return self.forge_url_given or f"http://{LOOPBACK}:{self.ports.local_forge}"

    @property
    def dagster_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.dagster_webserver}"

    @property
    def narrator(self) -> Narrator:
        """For what is said on the way; beside the answer when that is JSON."""
        console = new_console(sys.stderr) if self.output.is_for_programs else self.output.console
        return Narrator(console)

    @cached_property
    def api(self) -> Api:
        """Raises `Unauthenticated` when no token was given and none is here."""
        return Api(self.client(self.api_url, ServiceName.CONTROL_PLANE_API))

    def client(
        self, url: str, party: str, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> ServiceClient:
        """A client of `party` with this invocation's token."""
        token = self.token_for(url)
        return self.client_with(token, url, party, timeout_seconds=timeout_seconds)

    def client_with(
        self,
        token: str | None,
        url: str,
        party: str,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        headers: Mapping[str, str] | None = None,
        authorities: str | None = None,
    ) -> ServiceClient:
        """A client of `party` with another token than this invocation's, or without one."""
        client = ServiceClient(
            url,
            party=party,
            authorization=lambda: token,
            timeout_seconds=timeout_seconds,
            user_agent=USER_AGENT,
            headers=headers,
            authorities=authorities,
        )
        self.opened.callback(client.close)
        return client

    def token_for(self, url: str) -> str:
        """The token as given; else the first admin's, which is for this machine only."""
        if self.token_given:
            return _sendable(self.token_given, "The token in IDP_TOKEN")
        if self.token_file is not None:
            return read_token(self.token_file)
        if urlsplit(url).hostname in (LOOPBACK, "localhost") and self.home.admin_token.exists():
            return read_token(self.home.admin_token)
        raise Unauthenticated(
            f"There is no token for {url}: none was given, and {self.home.admin_token} is not "
            "there or not meant for that address.",
            code="token_missing",
        )


def invocation_of(context: typer.Context) -> Invocation:
    """The invocation that `idp` itself set up for its commands."""
    found: Any = context.obj
    assert isinstance(found, Invocation)  # noqa: S101 - set in idp_cli.main for every command
    return found


def read_token(path: Path) -> str:
    """The token that is all of the file; raises `InvalidInput` when there is none in it."""
    try:
        token = path.read_bytes().decode("ascii", errors="replace").strip()
    except OSError as error:
        raise InvalidInput(
            f"The token file {path} cannot be read: {error.strerror}.", code="token_file_unreadable"
        ) from error
    if not token:
        raise InvalidInput(f"The token file {path} is empty.", code="token_file_empty")
    return _sendable(token, f"What is in the token file {path}")


def _sendable(token: str, told: str) -> str:
    """The token, if a request can carry it at all; the error does not show it."""
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise InvalidInput(
            f"{told} is no token: a token is one word of ASCII letters, digits and signs.",
            code="token_malformed",
        )
    return token
