from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from idp_cli.supervision.keys import (
    CONTROL_PLANE_KEY,
    SERVICES_JWKS,
    STATIC_TOKENS,
    ensure_keys,
    readable_by_others,
    service_key_file,
)
from idp_kernel.clock import SystemClock
from idp_kernel.errors import InvalidInput
from idp_kernel.services import SERVICE_SCOPES, ServiceName
from idp_kernel.tokens import (
    AUDIENCE_CONTROL_PLANE,
    AssertionClaims,
    SigningKey,
    public_key_set,
    service_assertion,
    verify,
)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    ensure_keys(tmp_path)
    return tmp_path


def test_all_files_are_there_and_closed_to_others(keys: Path) -> None:
    wanted = {CONTROL_PLANE_KEY, SERVICES_JWKS, *STATIC_TOKENS}
    wanted |= {service_key_file(service) for service in SERVICE_SCOPES}
    assert {path.name for path in keys.iterdir()} == wanted
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys.iterdir()} == {0o600}
    assert readable_by_others(keys) == []


def test_a_second_start_changes_nothing(keys: Path) -> None:
    before = {path: path.read_bytes() for path in keys.iterdir()}
    assert ensure_keys(keys) == 0
    assert {path: path.read_bytes() for path in keys.iterdir()} == before


@pytest.mark.parametrize("service", SERVICE_SCOPES)
def test_what_a_service_signs_is_known_by_the_published_set(
    keys: Path, service: ServiceName
) -> None:
    assertion = service_assertion(
        SigningKey.read(keys / service_key_file(service)), service, SystemClock()
    )
    published = public_key_set((keys / SERVICES_JWKS).read_text())
    claims = verify(
        assertion,
        published,
        AssertionClaims,
        audience=AUDIENCE_CONTROL_PLANE,
        clock=SystemClock(),
    )
    assert claims.sub == service


def test_a_replaced_key_is_published(keys: Path) -> None:
    (keys / service_key_file(ServiceName.LOCAL_FORGE)).unlink()
    before = json.loads((keys / SERVICES_JWKS).read_text())
    assert ensure_keys(keys) == 2
    after = json.loads((keys / SERVICES_JWKS).read_text())
    assert before != after
    assert not any("d" in key for key in after["keys"]), "public halves only"


def test_open_files_are_found(keys: Path) -> None:
    (keys / CONTROL_PLANE_KEY).chmod(0o644)
    assert [path.name for path in readable_by_others(keys)] == [CONTROL_PLANE_KEY]


@pytest.mark.parametrize("content", ["", "secret{", "[]", "{}", '"secret"', '{"kty": "OKP"}'])
def test_a_spoilt_key_is_named_and_not_shown(keys: Path, content: str) -> None:
    spoilt = keys / service_key_file(ServiceName.LOCAL_FORGE)
    spoilt.write_text(content)
    with pytest.raises(InvalidInput, match=str(spoilt)) as refused:
        ensure_keys(keys)
    assert refused.value.code == "key_file_unusable"
    assert "secret" not in refused.value.message


def test_a_folder_or_a_public_key_is_no_key(keys: Path) -> None:
    path = keys / service_key_file(ServiceName.LOCAL_FORGE)
    path.write_text(json.dumps(SigningKey.read(path).public))
    with pytest.raises(InvalidInput, match="no private key"):
        SigningKey.read(path)
    with pytest.raises(InvalidInput, match="cannot be read"):
        SigningKey.read(keys)
