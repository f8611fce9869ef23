"""Logs: JSON, traceable, without credentials."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from idp_kernel.telemetry.logs import redact

PROGRAM = """
import logging, structlog
from idp_kernel.services import ServiceName
from idp_kernel.telemetry.logs import configure_logs
from idp_kernel.telemetry.traces import configure_traces, span
configure_logs(ServiceName.LOCAL_FORGE)
configure_traces(ServiceName.LOCAL_FORGE, None)
with span("work"):
    structlog.get_logger("a").info("took", token="t0psecret", header="Bearer abc.def", count=3)
logging.getLogger("lib").warning("to %s", "https://bot:hunter2@forge.example/x.git")
try:
    raise ValueError("with idp_pat_ABCDEF0123456789 inside")
except ValueError:
    logging.getLogger("lib").exception("failed")
"""


def test_both_kinds_of_loggers_write_redacted_json() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    first, second, third = (json.loads(line) for line in ran.stderr.splitlines())
    assert (first["event"], first["count"], first["service"]) == ("took", 3, "local-forge")
    assert len(first["trace_id"]) == 32
    assert second["trace_id"] is None
    assert third["level"] == "error"
    for secret in ("t0psecret", "abc.def", "hunter2", "idp_pat_ABCDEF0123456789"):
        assert secret not in ran.stderr


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abcdef",
        "Basic dXNlcjpwYXNz",
        "postgresql://me:secret@host/db",
        "token idp_pat_0123456789abcdef",
        "eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl",
    ],
)
def test_credentials_are_cut_out(text: str) -> None:
    assert "[redacted]" in redact(text)


def test_ordinary_text_stays() -> None:
    text = "repository appenv-01a2 at http://127.0.0.1:8083/payments is ready"
    assert redact(text) == text
