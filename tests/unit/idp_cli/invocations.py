"""Invocations whose every call a stand-in answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from idp_cli.invocation import Invocation
from idp_cli.output import Output
from idp_cli.supervision.home import Home
from idp_kernel.http.client import DEFAULT_TIMEOUT_SECONDS, ServiceClient


@dataclass(frozen=True, kw_only=True)
class _InvocationOn(Invocation):
    transport: httpx.MockTransport

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
        client = ServiceClient(
            url,
            party=party,
            authorization=lambda: token,
            timeout_seconds=timeout_seconds,
            headers=headers,
            authorities=authorities,
            transport=self.transport,
        )
        self.opened.callback(client.close)
        return client


def invocation_on(
    platform: Callable[[httpx.Request], httpx.Response],
    home: Path,
    output: Output,
    *,
    api_url: str | None = None,
    token_file: Path | None = None,
) -> Invocation:
    """One whose calls `platform` answers, as on this machine, or with `api_url` on another's."""
    return _InvocationOn(
        home=Home.at(home),
        output=output,
        api_url_given=api_url,
        forge_url_given=None,
        token_given="a-token",
        token_file=token_file,
        transport=httpx.MockTransport(platform),
    )
