"""What parts beside the API say of the embedded platform: its GitOps agent and its consumer.

Another machine's platform has others in their place, which nobody here can ask.
"""

from __future__ import annotations

from functools import cached_property

from idp_cli.invocation import Invocation, read_token
from idp_cli.supervision.keys import AGENT_READER_TOKEN
from idp_kernel.http.client import ServiceClient
from idp_kernel.services import LOOPBACK, ServiceName
from idp_kernel.wire.agent import RECONCILIATION, Reconciliation
from idp_kernel.wire.consumer import CONSUMPTION, ConsumedSecret, Consumption


class EmbeddedObservers:
    """Asks with the reader's own token, which sees this and nothing else."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._token_file = invocation.home.keys / AGENT_READER_TOKEN

    @property
    def can_be_asked(self) -> bool:
        """Whether they are here, and not another machine's."""
        return self._invocation.api_url_given is None and self._token_file.exists()

    def observed_revision(self, owner: str, repository: str) -> str | None:
        """The commit of that repository that the GitOps agent looked at last."""
        path = RECONCILIATION.format(owner=owner, name=repository)
        return self._agent.call("GET", path, Reconciliation).observed_revision

    def consumed(self) -> tuple[ConsumedSecret, ...]:
        """Every database login the consumer uses."""
        return self._consumer.call("GET", CONSUMPTION, Consumption).items

    @cached_property
    def _agent(self) -> ServiceClient:
        ports = self._invocation.ports
        return self._client(ports.local_gitops_agent, ServiceName.LOCAL_GITOPS_AGENT)

    @cached_property
    def _consumer(self) -> ServiceClient:
        return self._client(self._invocation.ports.local_consumer, ServiceName.LOCAL_CONSUMER)

    def _client(self, port: int, party: ServiceName) -> ServiceClient:
        token = read_token(self._token_file)
        return self._invocation.client_with(token, f"http://{LOOPBACK}:{port}", party)
