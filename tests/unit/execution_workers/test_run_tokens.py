"""Keys: fetched once, again for an unknown one but not at every call, kept through an outage."""

from __future__ import annotations

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from execution_workers.run_tokens import REFETCH_AFTER, REFRESH_AFTER, RunTokens
from idp_kernel.errors import NotAllowed, Unauthenticated, Unavailable
from idp_kernel.http.client import ServiceClient
from idp_kernel.ids import new_id
from idp_kernel.services import Scope, ServiceName
from idp_kernel.tokens import SigningKey, issue_run_token, issue_service_token

START = datetime(2026, 1, 1, tzinfo=UTC)


def _set_event() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@dataclass
class ControlPlane:
    """Publishes keys, counts how often it is asked, can be away; its clock is moved by hand."""

    keys: list[SigningKey] = field(default_factory=list)
    asked: int = 0
    away: bool = False
    questions: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    answering: threading.Event = field(default_factory=_set_event)
    moment: datetime = START

    def now(self) -> datetime:
        return self.moment

    def answer(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/.well-known/jwks.json"
        self.asked += 1
        self.questions.release()
        assert self.answering.wait(10)
        if self.away:
            raise httpx.ConnectError("away")
        return httpx.Response(200, content=json.dumps({"keys": [key.public for key in self.keys]}))

    def token(self, key: SigningKey, *, fence: int = 1) -> str:
        return issue_run_token(
            key, request_id=new_id(), run_id=new_id(), attempt=1, generation=1, fence=fence,
            team_id=new_id(), team="payments", now=self.moment,
            until=self.moment + timedelta(hours=2), deadline=self.moment + timedelta(hours=2),
        )  # fmt: skip


@pytest.fixture
def control_plane() -> ControlPlane:
    return ControlPlane([SigningKey.generate("first")])


@pytest.fixture
def tokens(control_plane: ControlPlane) -> RunTokens:
    transport = httpx.MockTransport(control_plane.answer)
    client = ServiceClient("http://control-plane", party="control-plane-api", transport=transport)
    return RunTokens(client, control_plane)


def test_keys_are_fetched_once(control_plane: ControlPlane, tokens: RunTokens) -> None:
    for fence in (1, 2, 3):
        token = control_plane.token(control_plane.keys[0], fence=fence)
        assert tokens.claims(token).fence == fence
    assert control_plane.asked == 1


def test_a_new_key_is_fetched(control_plane: ControlPlane, tokens: RunTokens) -> None:
    tokens.claims(control_plane.token(control_plane.keys[0]))
    control_plane.keys.append(SigningKey.generate("second"))
    control_plane.moment += REFETCH_AFTER
    assert tokens.claims(control_plane.token(control_plane.keys[1])).team == "payments"


def test_unknown_keys_do_not_make_a_fetch_each(
    control_plane: ControlPlane, tokens: RunTokens
) -> None:
    tokens.claims(control_plane.token(control_plane.keys[0]))
    for name in ("x", "y", "z"):
        with pytest.raises(Unauthenticated):
            tokens.claims(control_plane.token(SigningKey.generate(name)))
    assert control_plane.asked == 1


def test_known_keys_outlive_an_outage(control_plane: ControlPlane, tokens: RunTokens) -> None:
    token = control_plane.token(control_plane.keys[0])
    tokens.claims(token)
    control_plane.away = True
    control_plane.moment += REFRESH_AFTER * 2
    assert tokens.claims(token).team == "payments"


def test_a_control_plane_that_hangs_stops_no_call_with_a_known_key(
    control_plane: ControlPlane, tokens: RunTokens
) -> None:
    tokens.claims(control_plane.token(control_plane.keys[0]))
    assert control_plane.questions.acquire(timeout=5)
    control_plane.answering.clear()
    control_plane.moment += REFRESH_AFTER * 2
    unknown = control_plane.token(SigningKey.generate("unknown"))
    with ThreadPoolExecutor(2) as others:
        fetching = others.submit(tokens.claims, unknown)
        assert control_plane.questions.acquire(timeout=5)
        known = others.submit(tokens.claims, control_plane.token(control_plane.keys[0]))
        assert known.result(timeout=5).team == "payments"
        control_plane.answering.set()
        assert isinstance(fetching.exception(), Unauthenticated)


@pytest.mark.parametrize("kid", [["x"], {"x": 1}, 1, True])
def test_a_key_id_that_is_no_text_is_invalid(
    control_plane: ControlPlane, tokens: RunTokens, kid: object
) -> None:
    tokens.claims(control_plane.token(control_plane.keys[0]))
    control_plane.moment += REFETCH_AFTER
    header = json.dumps({"alg": "EdDSA", "kid": kid}).encode()
    parts = (base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, b"{}", b"x"))
    with pytest.raises(Unauthenticated) as refused:
        tokens.claims(b".".join(parts).decode())
    assert refused.value.code == "token_invalid"


def test_without_any_key_nothing_can_be_said(
    control_plane: ControlPlane, tokens: RunTokens
) -> None:
    control_plane.away = True
    with pytest.raises(Unavailable) as away:
        tokens.claims(control_plane.token(control_plane.keys[0]))
    assert away.value.code == "keys_unavailable"
    control_plane.away = False
    control_plane.moment += REFETCH_AFTER
    assert tokens.claims(control_plane.token(control_plane.keys[0])).team == "payments"


def test_a_withdrawn_key_ends(control_plane: ControlPlane, tokens: RunTokens) -> None:
    former = control_plane.keys[0]
    tokens.claims(control_plane.token(former))
    control_plane.keys = [SigningKey.generate("second")]
    control_plane.moment += REFRESH_AFTER * 2
    with pytest.raises(Unauthenticated):
        tokens.claims(control_plane.token(former))


def _service_token(control_plane: ControlPlane, *scopes: Scope) -> str:
    return issue_service_token(
        control_plane.keys[0],
        ServiceName.WORKFLOW_ENGINE,
        frozenset(scopes),
        now=START,
        until=START + timedelta(hours=1),
    )


@pytest.mark.parametrize("scope", [Scope.CLAIMS, Scope.PROBES])
def test_a_services_token_is_no_run_token(
    control_plane: ControlPlane, tokens: RunTokens, scope: Scope
) -> None:
    with pytest.raises(Unauthenticated) as refused:
        tokens.claims(_service_token(control_plane, scope))
    assert refused.value.code == "token_invalid"


def test_a_service_with_the_scope_may_probe(control_plane: ControlPlane, tokens: RunTokens) -> None:
    token = _service_token(control_plane, Scope.PROBES, Scope.CLAIMS)
    assert tokens.prober(token).sub == ServiceName.WORKFLOW_ENGINE


def test_a_run_token_is_no_services(control_plane: ControlPlane, tokens: RunTokens) -> None:
    with pytest.raises(Unauthenticated) as refused:
        tokens.prober(control_plane.token(control_plane.keys[0]))
    assert refused.value.code == "token_invalid"


def test_a_service_without_the_scope_may_not_probe(
    control_plane: ControlPlane, tokens: RunTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unauthenticated):
        tokens.prober(_service_token(control_plane, Scope.CLAIMS))
    # A token for these workers that was issued for something else, should there ever be one.
    monkeypatch.setattr("idp_kernel.tokens.AUDIENCE_CONTROL_PLANE", "execution-workers")
    with pytest.raises(NotAllowed, match="probes"):
        tokens.prober(_service_token(control_plane, Scope.CLAIMS))
