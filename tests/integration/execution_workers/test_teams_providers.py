"""One process, two forges: each team's repositories are at its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from execution_workers.credentials import SecretFile
from execution_workers.ports import Attempt
from execution_workers.providers.calls import ProviderCalls
from execution_workers.providers.local_forge.client import ForgeClient
from execution_workers.providers.local_forge.forge import LocalForge
from execution_workers.providers.of_teams import ForgeOfTeams
from idp_kernel.ids import new_id
from idp_kernel.telemetry.metrics import downstream_errors
from idp_kernel.tokens import write_private_file
from idp_kernel.wire.forge import REPOSITORY
from idp_kernel.wire.worker import (
    ApplicationSubject,
    EffectKind,
    RepositoryKind,
    RepositoryWanted,
)
from tests.fixtures.forge import ForgeServer, KnownPeople, running_forge

pytestmark = pytest.mark.endurance

ATTEMPT = Attempt("ours", new_id(), lambda: None)


@pytest.fixture
def people() -> Iterator[KnownPeople]:
    with KnownPeople() as people:
        yield people


@contextmanager
def adapter(server: ForgeServer, home: Path) -> Iterator[LocalForge]:
    write_private_file(home / "workers-bot.token", server.bot_token)
    calls = ProviderCalls(
        "local-forge", concurrency=4, wait_seconds=1, errors=downstream_errors(CollectorRegistry())
    )
    client = ForgeClient(
        server.url,
        SecretFile(home / "workers-bot.token"),
        calls,
        timeout_seconds=10,
        git_timeout_seconds=20,
    )
    with closing(client):
        yield LocalForge(client, "ours")


def has(server: ForgeServer, team: str) -> bool:
    path = REPOSITORY.format(owner=team, name="checkout")
    answer: httpx.Response = server.call("GET", path, token=server.bot_token)
    return answer.status_code == 200


def test_teams_have_their_repositories_at_their_own_forges(
    people: KnownPeople, tmp_path: Path
) -> None:
    homes = [tmp_path / "first", tmp_path / "second"]
    for home in homes:
        home.mkdir()
    with (
        running_forge(homes[0], people) as first,
        running_forge(homes[1], people) as second,
        adapter(first, homes[0]) as at_first,
        adapter(second, homes[1]) as at_second,
    ):
        forges = ForgeOfTeams(at_first, {"payments": at_second})
        actions = {}
        for team in ("search", "payments"):
            wanted = RepositoryWanted(
                repository_id=new_id(), kind=RepositoryKind.CODE, owner=team, name="checkout"
            )
            subject = ApplicationSubject(application_id=new_id(), team=team, application="checkout")
            actions[team] = forges.repository(subject, wanted)
            assert actions[team].do(ATTEMPT).created
            assert forges.standing(wanted) is not None
        assert (has(first, "search"), has(second, "search")) == (True, False)
        assert (has(first, "payments"), has(second, "payments")) == (False, True)
        assert actions["payments"].undo(ATTEMPT).effect is EffectKind.UNDONE
        assert (has(first, "search"), has(second, "payments")) == (True, False)
