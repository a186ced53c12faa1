"""Logs are events with keys, one JSON object a line (or coloured lines on a terminal)."""

import logging
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

#: Keys whose values never reach a log.
HIDDEN = frozenset(
    {"prompt", "negative_prompt", "secret", "authorization", "api_key", "password", "spec", "body"}
)


def setup(level: str = "info", style: str = "auto", **bound: Any) -> None:
    """Configures structlog and the standard library's logging for this process, on stderr.

    `style` is json, console or auto. `bound` keys (the process's name, ...) go into every event.
    """
    if style == "auto":
        style = "console" if sys.stderr.isatty() else "json"

    def add_bound(_logger: object, _name: str, event: EventDict) -> EventDict:
        # not context variables: threads do not inherit those
        return {**bound, **event}

    shared: list[Processor] = [
        add_bound,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide,
    ]
    render: Processor = structlog.dev.ConsoleRenderer(
        exception_formatter=structlog.dev.plain_traceback  # the default shows variables, so prompts
    )
    if style == "json":
        shared.append(structlog.processors.format_exc_info)
        render = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("alembic", "celery", "httpx", "httpcore"):  # httpx tells URLs, signatures and all
        logging.getLogger(noisy).setLevel(logging.WARNING)


def hide(_logger: object, _name: str, event: EventDict) -> EventDict:
    """Replaces the values of HIDDEN keys."""
    return {key: "[hidden]" if key in HIDDEN else value for key, value in event.items()}


def job_context(job_id: str, attempt: int) -> Any:
    """A context in which every event carries the job's id and attempt."""
    return structlog.contextvars.bound_contextvars(job_id=job_id, attempt=attempt)
