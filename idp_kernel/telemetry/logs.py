"""JSON logs: one object a line on stderr, `trace_id` always there, credentials never."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from opentelemetry import trace

from idp_kernel.services import ServiceName

_REDACTED = "[redacted]"
_SECRET_KEYS = re.compile(
    r"(token|password|secret_value|authorization|private|credential)s?$", re.IGNORECASE
)
_SECRET_VALUES = re.compile(
    r"(Bearer\s+|Basic\s+)[A-Za-z0-9._~+/=-]+|idp_pat_[A-Za-z0-9]+|eyJ[\w-]+\.[\w-]+\.[\w-]+"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)

EventDict = MutableMapping[str, Any]


def redact(text: str) -> str:
    """The text without anything that looks like a credential."""
    return _SECRET_VALUES.sub(_REDACTED, text)


def _redact_event(_logger: object, _name: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if _SECRET_KEYS.search(key):
            event[key] = _REDACTED
        elif isinstance(value, str):
            event[key] = redact(value)
    return event


def _add_trace(_logger: object, _name: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    event["trace_id"] = format(context.trace_id, "032x") if context.is_valid else None
    event["span_id"] = format(context.span_id, "016x") if context.is_valid else None
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
