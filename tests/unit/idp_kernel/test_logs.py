"""Logs: JSON, traceable, without credentials."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from idp_kernel.telemetry.logs import redact

PROGRAM = """
import logging, structlog
from idp_kernel.services import ServiceName
from idp_kernel.telemetry.export import configure_traces
from idp_kernel.telemetry.logs import configure_logs
from idp_kernel.telemetry.subjects import subject_attributes
from idp_kernel.telemetry.traces import span
configure_logs(ServiceName.LOCAL_FORGE)
configure_traces(ServiceName.LOCAL_FORGE, None)
log, library = structlog.get_logger("a"), logging.getLogger("lib")
ids = subject_attributes(workflow_request_id="r-1", team_id="t-1", secret_id="s-1")
with span("work", attributes={**ids, "idp.attempt": 1}):
    log.info("took", token="t0psecret", header="Bearer abc.def", count=3)
    library.info("ours too")
library.warning("to %s", "https://bot:hunter2@forge.example/x.git")
try:
    raise ValueError("with idp_pat_ABCDEF0123456789 inside, password='pa55 word'")
except ValueError:
    library.exception("failed")
log.info(
    "deep",
    body={"user": "ana", "auth": {"password": "deep1", "list": [{"api_key": "deep2"}]}},
    headers=[("Authorization", "Bearer deep3")],
    answer='{"run_token": "deep4", "state": "running"}',
    jwt="eyJhbGciOi.eyJzdWIiOi.deep5",
    error=ValueError("postgresql://me:deep6@host/db"),
    secret_id="s-2",
)
library.info("sent %s", {"client_token": "deep7"})


class Record(tuple):
    def __iter__(self):
        raise Exception("Iteration is not allowed")

    def __repr__(self):
        return "Record(text='seen', token='deep8')"


log.info("with a record", records=[Record()])
"""
SECRETS = (
    "t0psecret", "abc.def", "hunter2", "idp_pat_ABCDEF0123456789", "pa55", "deep1", "deep2",
    "deep3", "deep4", "deep5", "deep6", "deep7", "deep8",
)  # fmt: skip


@pytest.fixture(scope="module")
def written() -> str:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    return ran.stderr


@pytest.fixture(scope="module")
def lines(written: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.splitlines()]


def test_both_kinds_of_loggers_write_json(lines: list[dict[str, Any]]) -> None:
    took, _, warned, failed, *_ = lines
    assert (took["event"], took["count"], took["service"]) == ("took", 3, "local-forge")
    assert len(took["trace_id"]) == 32
    assert warned["trace_id"] is None
    assert failed["level"] == "error"


def test_lines_say_whose_work_it_is_as_the_span_does(lines: list[dict[str, Any]]) -> None:
    took, library, warned, *_ = lines
    for line in (took, library):
        assert line["idp.workflow_request_id"] == "r-1"
        assert line["idp.team_id"] == "t-1"
        assert line["idp.secret_id"] == "s-1"
    assert took["trace_id"] == library["trace_id"]
    assert not [name for name in warned if name.startswith("idp.")]


def test_no_credential_is_written_wherever_it_stands(
    written: str, lines: list[dict[str, Any]]
) -> None:
    for secret in SECRETS:
        assert secret not in written
    (deep,) = [line for line in lines if line["event"] == "deep"]
    assert deep["body"]["user"] == "ana"
    assert deep["secret_id"] == "s-2"
    assert '"state": "running"' in deep["answer"]
    assert lines[-1]["records"] == ["Record(text='seen', token=[redacted])"]


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abcdef",
        "Basic dXNlcjpwYXNz",
        "postgresql://me:secret@host/db",
        "redis://:secret@host/0",
        "token idp_pat_0123456789abcdef",
        "eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl",
        "login with hvs.CAESIJ0123456789 failed",
        "sent ghs_CAESIJ0123456789abcdef in vain",
        "sent ghs_4711_eyJhbGciOi.CAESIJ0123456789.c-_g in vain",
        "sent github_pat_11CAESIJ0123456789_ab in vain",
        "password=hunter2&user=ana",
        "{'password': 'hunter2'}",
        "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
    ],
)
def test_credentials_are_cut_out(text: str) -> None:
    assert "[redacted]" in redact(text)
    for secret in ("abcdef", "dXNlcjpwYXNz", "secret", "hunter2", "CAESIJ", "MIIE"):
        assert secret not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "repository appenv-01a2 at http://127.0.0.1:8083/payments is ready",
        "This needs a bearer token. Password: ask who runs the platform.",
        "secret_id=01a2 issuer=postgres passfile=/keys/dagster.pgpass",
        "PostgreSQL refused: password authentication failed for user ana",
        "the token's run is run 01a2; see http://host:8080/v1/tokens?limit=2",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text) == text
