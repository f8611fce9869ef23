"""Reads what the agent saw."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from execution_workers.credentials import SecretFile
from execution_workers.ports import Permission
from execution_workers.providers.calls import ProviderCalls
from execution_workers.providers.local_agent.errors import ERRORS
from execution_workers.providers.problems import expect, translate
from idp_kernel.errors import NotAllowed, NotFound, PlatformError, Unauthenticated
from idp_kernel.http.client import ServiceClient
from idp_kernel.services import ServiceName
from idp_kernel.wire.agent import RECONCILIATION, RECONCILIATIONS, Reconciliation, Reconciliations

_OPERATION = "read reconciliation"
_LIST = "read reconciliations"
_NOT_SEEN_YET = "no_such_reconciliation"


class LocalAgent:
    """The port `GitOpsAgent` on the embedded default's agent. Thread-safe."""

    def __init__(
        self, base_url: str, token: SecretFile, calls: ProviderCalls, *, timeout_seconds: float
    ) -> None:
        self._token = token
        self._calls = calls
        self._client = ServiceClient(
            base_url,
            party=calls.provider,
            user_agent=ServiceName.EXECUTION_WORKERS,
            timeout_seconds=timeout_seconds,
        )

    def permissions(self) -> Sequence[Permission]:
        with self._calls.calling(_LIST):
            bearer = self._token.read()
            try:
                self._client.call("GET", RECONCILIATIONS, Reconciliations, bearer=bearer)
                granted = True
            except (NotAllowed, Unauthenticated):
                granted = False
            except PlatformError as error:
                raise translate(ERRORS, error, self._calls.provider, _LIST) from error
        return (
            Permission(
                "read reconciliations",
                granted,
                "GITOPS_AGENT_TOKEN_FILE has to hold the token in the agent's READER_TOKEN_FILE.",
            ),
        )

    def reconciliation(self, owner: str, name: str) -> Reconciliation | None:
        """What the agent saw last; None while it does not know the repository."""
        path = RECONCILIATION.format(owner=quote(owner), name=quote(name))
        with self._calls.calling(_OPERATION):
            return self._read(path, self._token.read())

    def close(self) -> None:
        """Closes the pooled connections."""
        self._client.close()

    def _read(self, path: str, token: str) -> Reconciliation | None:
        try:
            return self._look(path, token)
        except PlatformError as error:
            raise translate(ERRORS, error, self._calls.provider, _OPERATION) from error

    def _look(self, path: str, token: str) -> Reconciliation | None:
        try:
            return self._client.call("GET", path, Reconciliation, bearer=token)
        except NotFound as error:
            expect(error, _NOT_SEEN_YET)
            return None
