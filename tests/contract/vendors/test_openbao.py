"""Everything that is asked of OpenBao, asked of a real one, which leaves its own description."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from execution_workers.credentials import SecretFile
from execution_workers.ports import Attempt, Rotation
from execution_workers.providers.calls import ProviderCalls
from execution_workers.providers.openbao.client import OpenBaoClient
from execution_workers.providers.openbao.logins import AppRoleLogin
from execution_workers.providers.openbao.settings import VersionEnd
from execution_workers.providers.openbao.store import OpenBaoStore
from idp_kernel.downstream import OPENBAO
from idp_kernel.ids import new_id
from idp_kernel.telemetry.metrics import downstream_errors
from tests.fixtures.stack import OpenBaoServer
from tests.fixtures.vendors import RECORD_VARIABLE
from tests.fixtures.vendors.recording import Recorder, recording

DESCRIPTION = "/v1/sys/internal/specs/openapi"
ATTEMPT = Attempt("ours", new_id(), lambda: None)


def operation_of(method: str, path: str) -> str:
    """Without what differs from secret to secret."""
    return f"{method.lower()} {'/'.join(path.split('/')[2:4])}"


@dataclass
class MovedClock:
    """The machine's clock and what a test adds to it."""

    ahead: timedelta = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def recorder(openbao_server: OpenBaoServer) -> Iterator[Recorder]:
    with recording(OPENBAO, openbao_server.url, operation_of) as recorder:
        yield recorder


@pytest.fixture
def store(
    openbao_server: OpenBaoServer, recorder: Recorder, clock: MovedClock
) -> Iterator[OpenBaoStore]:
    calls = ProviderCalls(
        OPENBAO, concurrency=4, wait_seconds=1, errors=downstream_errors(CollectorRegistry())
    )
    with closing(
        OpenBaoClient(
            recorder.url,
            AppRoleLogin(SecretFile(openbao_server.workers_file)),
            calls,
            clock,
            timeout_seconds=10,
        )
    ) as client:
        yield OpenBaoStore(client)


def test_a_secrets_whole_life(
    openbao_server: OpenBaoServer, recorder: Recorder, clock: MovedClock, store: OpenBaoStore
) -> None:
    team = f"team-{new_id()[-8:]}"
    path = f"teams/{team}/appenv/{new_id()}/app-key"
    marker = ATTEMPT.marker(new_id())
    assert all(each.granted for each in store.permissions())
    store.let_team_in(team, ATTEMPT)
    store.let_team_in(team, ATTEMPT)
    store.mark(path, None, marker, None)
    first = store.write(path, {"value": "a"}, written_by="r", newest_version=0)
    store.mark(path, store.find(path), marker, Rotation(new_id(), first))
    second = store.write(path, {"value": "b"}, written_by="r", newest_version=first)
    assert store.read(path, second) is not None
    clock.ahead = timedelta(minutes=18)
    store.end(path, [first])
    found = store.find(path)
    assert found is not None
    assert found.kept == {second}
    OpenBaoStore(store._client, VersionEnd.DELETE).end(path, [second])
    assert store.read(path, second) is None
    store.delete(path)
    assert store.find(path) is None
    assert {each.operation_hint for each in recorder.recorded} == {
        "post auth/approle", "post sys/capabilities-self", "get sys/policies",
        "post sys/policies", "get auth/jwt", "post auth/jwt", "get kv/metadata",
        "post kv/metadata", "post kv/data", "get kv/data", "post kv/destroy", "delete kv/metadata",
        "post auth/token", "post kv/delete",
    }  # fmt: skip
    _leave_description(openbao_server)


def _leave_description(server: OpenBaoServer) -> None:
    """For the contract tests, beside the recorded calls."""
    answer = httpx.get(
        f"{server.url}{DESCRIPTION}",
        headers={"X-Vault-Token": server.root_token},
        trust_env=False,
    )
    description = answer.raise_for_status().json()
    assert "/kv/data/{path}" in description["paths"]
    if folder := os.environ.get(RECORD_VARIABLE):
        (Path(folder) / "openbao.json").write_text(json.dumps(description))
