"""JSON logs: one object a line on stderr, `trace_id` always there, credentials never.

A line says whose work it is (`idp.…`) as the context does; see `subjects`.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog
from opentelemetry import trace

from idp_kernel.services import ServiceName

_REDACTED = "[redacted]"
_SECRET_KEYS = re.compile(
    r"(token|password|passwd|passphrase|secret_value|authorization|api_?key|private_?key|private"
    r"|credential|cookie)s?$",
    re.IGNORECASE,
)
_SECRET_VALUES = re.compile(
    r"(?:Bearer|Basic|Digest)\s+[A-Za-z0-9._~+/=-]+"
    r"|idp_pat_[A-Za-z0-9]+"
    r"|\bhv[sbr]\.[A-Za-z0-9_-]{8,}|\b[sbr]\.[A-Za-z0-9]{24,}"  # tokens of OpenBao and Vault
    r"|\bgh[pousr]_[\w.-]{16,}|\bgithub_pat_\w{16,}"  # tokens of GitHub
    r"|eyJ[\w-]+\.[\w-]+\.[\w-]+"  # a signed JWT
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"
)
_NAMED_VALUES = re.compile(
    r"(?P<name>[\w-]*(?:token|password|passwd|passphrase|api_?key|private_?key))"
    r"(?P<between>=|([\"'])\s*:\s*(?=[\"']))"
    r"(?P<value>\"[^\"]*\"|'[^']*'|[^\s,;&\"']+)",
    re.IGNORECASE,
)
"""`password=…`, `"token": "…"` and the like, in a text of any form."""
_BETWEEN = frozenset("=\"'")
"""Without one of these no name is told from its value: most texts are looked at once."""

EventDict = MutableMapping[str, Any]


def redact(text: str) -> str:
    """The text without anything that looks like a credential."""
    without = _SECRET_VALUES.sub(_REDACTED, text)
    if not _BETWEEN.intersection(without):
        return without
    return _NAMED_VALUES.sub(rf"\g<name>\g<between>{_REDACTED}", without)


def _redacted(key: object, value: object) -> object:
    """The value under that key, whatever it is made of."""
    if isinstance(key, str) and _SECRET_KEYS.search(key):
        return _REDACTED
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {each: _redacted(each, inner) for each, inner in value.items()}
    if isinstance(value, list | set | frozenset) or type(value) is tuple:
        # Other tuples are things of their own; those of Dagster refuse to be gone through.
        return [_redacted(None, inner) for inner in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(repr(value))


def _redact_event(_logger: object, _name: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if not key.startswith("_"):  # structlog's own, gone before the line is written
            event[key] = _redacted(key, value)
    return event


def _add_trace(_logger: object, _name: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = format(context.trace_id, "032x")
        event["span_id"] = format(context.span_id, "016x")
    else:
        event.setdefault("trace_id", None)
        event.setdefault("span_id", None)
    return event


def configure_logs(service: ServiceName, level: str = "INFO") -> None:
    """Sends structlog's and the standard library's records through one JSON formatter."""

    def add_service(_logger: object, _name: str, event: EventDict) -> EventDict:
        event["service"] = service.value
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_service,
        _add_trace,
        structlog.processors.format_exc_info,
        _redact_event,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared[:-1], structlog.stdlib.ExtraAdder(), _redact_event],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = name != "uvicorn.access"
    logging.getLogger("httpx").setLevel(logging.WARNING)
