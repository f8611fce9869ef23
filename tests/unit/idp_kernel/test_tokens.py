"""Tokens: only what the right key signed, for the right audience, in its time."""

from __future__ import annotations

import base64
import json
import stat
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from idp_kernel.errors import InvariantBroken, Unauthenticated
from idp_kernel.services import SERVICE_SCOPES, Scope, ServiceName
from idp_kernel.tokens import (
    AUDIENCE_CONTROL_PLANE,
    AUDIENCE_SECRET_STORE,
    AUDIENCE_WORKERS,
    AssertionClaims,
    RunClaims,
    ServiceClaims,
    SigningKey,
    StoreAccess,
    StoreLoginClaims,
    issue_run_token,
    issue_service_token,
    issue_store_login,
    public_key_set,
    service_assertion,
    verify,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class FixedClock:
    moment: datetime = NOW

    def now(self) -> datetime:
        return self.moment


KEY = SigningKey.generate("control-plane")
KEYS = public_key_set({"keys": [KEY.public]})


def run_token(key: SigningKey = KEY, until: datetime = NOW + timedelta(seconds=15)) -> str:
    return issue_run_token(
        key,
        request_id="request",
        run_id="run",
        attempt=1,
        generation=1,
        fence=4,
        team_id="team-id",
        team="payments",
        now=NOW,
        until=until,
        deadline=NOW + timedelta(minutes=30),
    )


def test_a_run_token_says_what_the_run_may_do() -> None:
    claims = verify(run_token(), KEYS, RunClaims, audience=AUDIENCE_WORKERS, clock=FixedClock())
    assert (claims.request_id, claims.fence, claims.team) == ("request", 4, "payments")


def test_a_token_ends_with_its_time() -> None:
    late = FixedClock(NOW + timedelta(seconds=15))
    with pytest.raises(Unauthenticated) as refused:
        verify(run_token(), KEYS, RunClaims, audience=AUDIENCE_WORKERS, clock=late)
    assert refused.value.code == "token_expired"


def with_header(header: str) -> str:
    """A token nobody signed."""
    return base64.urlsafe_b64encode(header.encode()).rstrip(b"=").decode() + ".e30.e30"


@pytest.mark.parametrize(
    "token",
    [
        run_token(SigningKey.generate("control-plane")),
        run_token(SigningKey.generate("somebody")),
        "not.a.token",
        "",
        service_assertion(KEY, ServiceName.WORKFLOW_ENGINE, FixedClock()),
        with_header('{"alg":"Ed25519","crit":5}'),
        with_header('{"alg":"Ed25519","crit":[[]]}'),
        with_header('{"alg":"Ed25519","crit":' + "[" * 100_000),
    ],
    ids=[
        "same-kid-other-key",
        "other-kid",
        "garbage",
        "empty",
        "other-kind",
        "crit-is-a-number",
        "crit-holds-a-list",
        "nested-deeply",
    ],
)
def test_anything_else_is_refused(token: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        verify(token, KEYS, RunClaims, audience=AUDIENCE_WORKERS, clock=FixedClock())
    assert refused.value.code == "token_invalid"


def service_token(service: ServiceName) -> str:
    until = NOW + timedelta(minutes=5)
    return issue_service_token(KEY, service, SERVICE_SCOPES[service], now=NOW, until=until)


@pytest.mark.parametrize("service", SERVICE_SCOPES)
def test_a_service_token_opens_the_control_plane_within_its_scopes(service: ServiceName) -> None:
    token = service_token(service)
    claims = verify(token, KEYS, ServiceClaims, audience=AUDIENCE_CONTROL_PLANE, clock=FixedClock())
    assert set(claims.scopes) == SERVICE_SCOPES[service]


@pytest.mark.parametrize("service", SERVICE_SCOPES)
def test_a_service_token_opens_the_workers_only_for_probes(service: ServiceName) -> None:
    token = service_token(service)
    if Scope.PROBES in SERVICE_SCOPES[service]:
        verify(token, KEYS, ServiceClaims, audience=AUDIENCE_WORKERS, clock=FixedClock())
        return
    with pytest.raises(Unauthenticated):
        verify(token, KEYS, ServiceClaims, audience=AUDIENCE_WORKERS, clock=FixedClock())


def store_login() -> str:
    until = NOW + timedelta(minutes=5)
    return issue_store_login(
        KEY, "ann", team="payments", access=StoreAccess.READ, now=NOW, until=until
    )


def test_a_store_login_has_a_good_signature_under_the_name_that_stores_know() -> None:
    head, claims, signature = store_login().split(".")
    assert json.loads(decoded(head)) == {"typ": "JWT", "alg": "EdDSA", "kid": "control-plane"}
    told = json.loads(decoded(claims))
    assert (told["team"], told["access"], told["aud"]) == ("payments", "read", ["secret-store"])
    public = load_pem_public_key(KEY.public_pem.encode())
    assert isinstance(public, Ed25519PublicKey)
    public.verify(decoded(signature), f"{head}.{claims}".encode())


@pytest.mark.parametrize(
    "audience", [AUDIENCE_CONTROL_PLANE, AUDIENCE_WORKERS, AUDIENCE_SECRET_STORE]
)
def test_a_store_login_opens_nothing_of_ours(audience: str) -> None:
    with pytest.raises(Unauthenticated):
        verify(store_login(), KEYS, StoreLoginClaims, audience=audience, clock=FixedClock())


def test_the_public_half_as_pem_holds_no_private_one() -> None:
    assert KEY.public_pem.startswith("-----BEGIN PUBLIC KEY-----")
    assert "PRIVATE" not in KEY.public_pem


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_a_token_from_the_future_is_refused() -> None:
    early = replace(FixedClock(), moment=NOW - timedelta(seconds=30))
    token = service_assertion(KEY, ServiceName.LOCAL_FORGE, FixedClock())
    with pytest.raises(Unauthenticated):
        verify(token, KEYS, AssertionClaims, audience=AUDIENCE_CONTROL_PLANE, clock=early)


def test_no_run_token_is_born_expired() -> None:
    with pytest.raises(InvariantBroken):
        run_token(until=NOW)


def test_keys_are_private_files_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    KEY.write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.read(path).public == KEY.public
    with pytest.raises(FileExistsError):
        SigningKey.generate("other").write(path)
    assert SigningKey.read(path).public == KEY.public
    assert [each.name for each in tmp_path.iterdir()] == ["key.json"]


def test_the_public_half_has_nothing_private() -> None:
    assert "d" not in KEY.public
