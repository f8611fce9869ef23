"""No secret value anywhere but in the secret store: every other place is searched for it.

Exempt are `keys/`, where the embedded default keeps the platform's own credentials, and
PostgreSQL's SCRAM verifiers, which no search for the password itself finds.
"""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest
from psycopg import sql

from idp_kernel.services import DEFAULT_PORTS
from tests.e2e.failures import fails_to_onboard, fails_to_provision, fails_to_rotate
from tests.e2e.logins import BoundSecret, as_superuser
from tests.e2e.platform import SERVER_PORTS, Platform, Subject

pytestmark = [pytest.mark.e2e, pytest.mark.endurance, pytest.mark.timeout(900)]

SHORTEST = 20
"""Characters; every credential of the platform is longer."""
VALUE_PROPERTIES = ("value", "password")
SECRETS = (
    {"name": "app-key"},
    {"name": "db", "issuer": "postgres"},
    {"name": "payment-gateway", "purpose": "external_integration", "sensitivity": "high"},
)


def test_no_secret_value_is_anywhere_but_in_the_store(
    platform: Platform, onboarded: Subject
) -> None:
    _run_each_workflow_well_and_badly(platform, onboarded)
    stored = dict(_stored_values(platform))
    ended = _end_everything(platform)
    needles = _variants({**stored, **ended, **dict(_credentials(platform))})
    assert len(needles) > 100
    found = {
        f"{name} in {where}"
        for where, content in _places(platform)
        for needle, name in needles.items()
        if needle in content
    }
    assert found == set()


def test_the_search_finds_what_is_there(platform: Platform, onboarded: Subject) -> None:
    """One that finds nothing would pass as well if it looked nowhere."""
    installation_id = (platform.home / "installation-id").read_text()
    needles = _variants({"installation": installation_id, "application": onboarded.application_id})
    found = {where for where, content in _places(platform) for each in needles if each in content}
    for place in ("table ", "environment of ", "spans", "file "):
        assert any(where.startswith(place) for where in found), place


def _run_each_workflow_well_and_badly(platform: Platform, onboarded: Subject) -> None:
    subject = platform.with_new_environment(onboarded)
    appenv = platform.provisioned(subject, *SECRETS)
    for secret in appenv["secrets"]:
        platform.set_grace(secret["id"], 0)
        assert platform.ended(platform.rotate(secret["id"])["requestId"])["state"] == "succeeded"
    assert fails_to_rotate(BoundSecret(platform, subject.team, appenv["id"], "db"))
    assert fails_to_provision(platform, platform.with_new_environment(onboarded), *SECRETS)
    assert fails_to_onboard(platform, onboarded)


def _end_everything(platform: Platform) -> dict[str, str]:
    """A secret, its environment and its application, each by its own workflow; the values that the
    store had until then, by path.
    """
    subject = platform.new_subject()
    appenv = platform.provisioned(subject, *SECRETS)
    stored = dict(_stored_values(platform))
    why = {"reason": "a rehearsal"}
    revocation = platform.ok("POST", f"/v1/secrets/{appenv['secrets'][0]['id']}/revoke", why)
    path, application = f"/v1/application-environments/{appenv['id']}", subject.application_id
    assert platform.ended(revocation["requestId"])["state"] == "succeeded"
    platform.ok("POST", f"{path}/freeze")
    platform.ok("POST", f"/v1/applications/{application}/deprecate")
    for ending in (path, f"/v1/applications/{application}"):
        accepted = platform.ok("POST", f"{ending}/decommission", why)
        assert platform.ended(accepted["requestId"])["state"] == "succeeded"
    ended = {name: value for name, value in stored.items() if appenv["id"] in name}
    assert len(ended) >= len(SECRETS)
    return ended


# ------------------------------------------------------------------- what is looked for


def _stored_values(platform: Platform) -> Iterator[tuple[str, str]]:
    """Every value of every version that the store still has, by path."""
    for path in _paths(platform, ""):
        metadata = _bao(platform, "GET", f"kv/metadata/{path}").json()["data"]
        for version in metadata["versions"]:
            answer = _bao(platform, "GET", f"kv/data/{path}?version={version}")
            values = answer.json().get("data", {}).get("data") or {}
            for name in VALUE_PROPERTIES:
                if name in values:
                    yield f"{path} {name} version {version}", values[name]


def _paths(platform: Platform, folder: str) -> Iterator[str]:
    listed = _bao(platform, "LIST", f"kv/metadata/{folder}").json()["data"]["keys"]
    for name in listed:
        if name.endswith("/"):
            yield from _paths(platform, folder + name)
        else:
            yield folder + name


def _bao(platform: Platform, method: str, path: str) -> httpx.Response:
    return platform.client.request(
        method,
        platform.url(DEFAULT_PORTS.openbao, f"/v1/{path}"),
        headers={"X-Vault-Token": platform.openbao_root_token},
    )


def _credentials(platform: Platform) -> Iterator[tuple[str, str]]:
    """The platform's own: tokens, passwords, private keys."""
    keys = platform.home / "keys"
    for path in sorted(each for each in keys.rglob("*") if each.is_file()):
        for number, value in enumerate(_secrets_in(path)):
            yield f"{path.relative_to(keys)} {number}", value


def _secrets_in(path: Path) -> Iterator[str]:
    if path.suffix == ".token":
        yield path.read_text().strip()
    elif path.suffix == ".pgpass":
        yield path.read_text().strip().rpartition(":")[2]
    elif path.suffix == ".json" and "jwks" not in path.name:
        document = json.loads(path.read_text())
        names = ("d", "root_token", "secret_id")
        yield from (str(document[name]) for name in names if name in document)
        yield from document.get("recovery_keys", ())


def _variants(secrets: dict[str, str]) -> dict[bytes, str]:
    """Each secret as it is, in base64, in hexadecimal and as URLs write it."""
    variants: dict[bytes, str] = {}
    for name, value in secrets.items():
        assert len(value) >= SHORTEST, f"{name} is too short to be searched for"
        raw = value.encode()
        variants[raw] = name
        variants[raw.hex().encode()] = f"{name} (hexadecimal)"
        variants[urllib.parse.quote(value, safe="").encode()] = f"{name} (URL)"
        for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
            for shift in range(3):
                # What stands before the secret shifts its base64; the ends depend on neighbours.
                encoded = encode(b"\0" * shift + raw)
                variants[encoded[4:-4]] = f"{name} (base64)"
    return variants


# ------------------------------------------------------------------- where it is looked for


def _places(platform: Platform) -> Iterator[tuple[str, bytes]]:
    yield from _tables(platform)
    yield from _processes(platform)
    yield from _metrics(platform)
    yield "spans", platform.otlp.content()
    yield from _files(platform)


def _tables(platform: Platform) -> Iterator[tuple[str, bytes]]:
    """Every table of every database, as text; binary columns as hexadecimal."""
    for database in ("idp", "dagster", "applications"):
        with closing(as_superuser(platform, database)) as connection:
            tables = connection.execute(
                "SELECT schemaname, tablename FROM pg_tables"
                " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            ).fetchall()
            assert tables or database == "applications"
            for schema, table in tables:
                copy = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(schema, table))
                with connection.cursor().copy(copy) as rows:
                    content = b"".join(bytes(row) for row in rows)
                yield f"table {database}.{schema}.{table}", content


def _processes(platform: Platform) -> Iterator[tuple[str, bytes]]:
    for process in platform.processes():
        try:
            name = f"{process.name()} {process.pid}"
            yield f"command line of {name}", "\0".join(process.cmdline()).encode()
            environment = "\0".join(f"{key}={value}" for key, value in process.environ().items())
            yield f"environment of {name}", environment.encode("utf-8", "surrogateescape")
        except psutil.NoSuchProcess:
            continue


def _metrics(platform: Platform) -> Iterator[tuple[str, bytes]]:
    for port in SERVER_PORTS:
        answer = platform.client.get(platform.url(port, "/metrics"))
        assert answer.status_code == 200
        yield f"metrics at {port}", answer.content


def _files(platform: Platform) -> Iterator[tuple[str, bytes]]:
    """Everything below the home, logs and the stores' own files too."""
    for path in sorted(platform.home.rglob("*")):
        try:
            within = path.relative_to(platform.home)
            if within.parts[0] != "keys" and path.is_file() and not path.is_symlink():
                yield f"file {within}", path.read_bytes()
        except FileNotFoundError:
            continue  # a file of a running server may be gone by now
