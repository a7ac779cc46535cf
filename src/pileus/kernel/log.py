"""Logs: one event per line, in JSON or text, and on each the request and the server that it is about.

Context is bound for a stretch of work (`with bound(request_id=..., server=...)`) and reaches every event logged
within it, by our code or by a library through the standard `logging`. An event with a traceback is written as
several lines, and each carries the same context, so that a search for a server's UUID finds the whole
traceback. Secrets are blanked by the name they are logged under.

INFO is for what an operator wants to read on a good day: starts, stops and completed operations.
"""

import logging
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars, get_contextvars

from pileus.kernel.config import setting

_SECRET_WORDS = (
    "password",
    "passwd",
    "adminpass",
    "admin_pass",
    "token",
    "secret",
    "private_key",
    "x-auth-token",
    "x-subject-token",
    "authorization",
    "user_data",
)
_HIDDEN = "***"
_CHATTY = {
    "alembic": logging.WARNING,
    "cheroot": logging.WARNING,
    "_granian": logging.WARNING,
    "granian.access": logging.WARNING,
    "pyroute2": logging.WARNING,
    "urllib3": logging.WARNING,
    "sqlalchemy": logging.WARNING,
}
CONTEXT = ("request_id", "server", "project", "saga", "host")
"""The usual keys of the context, in the order that text logs show them. Others may be bound."""


@dataclass(frozen=True)
class LogSettings:
    """`[log]`: what is logged, and how."""

    level: str = setting(
        "INFO", "the least severe events that are logged", choices=("DEBUG", "INFO", "WARNING", "ERROR")
    )
    format: str = setting(
        "text", "text for people, json (one object per line) for a log collector", choices=("text", "json")
    )
    levels: dict[str, str] = setting({}, 'levels for single loggers, such as {"pileus.saga" = "DEBUG"}')


def configure(settings: LogSettings, process: str, stream: TextIO | None = None) -> None:
    """Send all logging of this process to `stream` (default: standard error). May be called again.

    `process` is the name that each line carries: serve, conductor, agent, up.
    """
    out = stream if stream is not None else sys.stderr
    render = _json_lines if settings.format == "json" else _text_lines
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _Lines(process, render),
            ],
        )
    )
    _set_levels(settings, handler)


def _set_levels(settings: LogSettings, handler: logging.Handler) -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level)
    logging.captureWarnings(True)
    for name, level in _CHATTY.items():
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(max(level, root.level))
    for name, named_level in settings.levels.items():
        logging.getLogger(name).setLevel(named_level.upper())


@contextmanager
def bound(**context: Any) -> Iterator[None]:
    """Bind `context` to every event of this thread within the block; None values are left out."""
    with bound_contextvars(**{key: value for key, value in context.items() if value is not None}):
        yield


def bind(**context: Any) -> None:
    """Add to the context of this thread; an enclosing `bound` block restores only the keys it names itself."""
    bind_contextvars(**{key: value for key, value in context.items() if value is not None})


def context() -> dict[str, Any]:
    """A copy of the present context, to bind it again in another thread or send it to another process."""
    return dict(get_contextvars())


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank every value that is logged under the name of a secret, at any depth."""
    for key, value in event.items():
        if _is_secret(key):
            event[key] = _HIDDEN
        elif isinstance(value, Mapping | list | tuple):
            event[key] = _redacted(value)
    return event


def _redacted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _HIDDEN if _is_secret(key) else _redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item) for item in value]
    return value


def _is_secret(key: Any) -> bool:
    name = str(key).lower()
    return any(word in name for word in _SECRET_WORDS)


class _Lines:
    """Last processor: an event becomes text, with a traceback as further lines that carry the same context."""

    def __init__(self, process: str, render: Any) -> None:
        self._process = process
        self._render = render

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
        error = _exception(event.pop("exc_info", None))
        event.pop("stack_info", None)
        event["process"] = self._process
        lines = [str(self._render(event))]
        if error is not None:
            context = {
                key: value for key, value in event.items() if key in _HEAD or key in CONTEXT or key in get_contextvars()
            }
            lines += [self._render({**context, "event": line}) for line in _traceback(error)]
        return "\n".join(lines)


_HEAD = ("timestamp", "level", "logger", "process")


def _exception(info: Any) -> BaseException | None:
    if isinstance(info, BaseException):
        return info
    if isinstance(info, tuple):
        return info[1] if isinstance(info[1], BaseException) else None
    return sys.exc_info()[1] if info else None


def _traceback(error: BaseException) -> Iterable[str]:
    for block in traceback.format_exception(error):
        for line in block.rstrip().splitlines():
            yield f"| {line}"


def _json_lines(event: Mapping[str, Any]) -> str:
    import msgspec.json  # noqa: PLC0415 - the text form does without

    return msgspec.json.encode(dict(event), enc_hook=str, order="deterministic").decode()


def _text_lines(event: Mapping[str, Any]) -> str:
    rest = dict(event)
    stamp = str(rest.pop("timestamp", ""))
    level = str(rest.pop("level", "")).upper()
    logger = str(rest.pop("logger", "")).removeprefix("pileus.")
    process = rest.pop("process", "")
    message = str(rest.pop("event", "")).replace("\n", "\\n")
    ordered = [key for key in CONTEXT if key in rest] + [key for key in rest if key not in CONTEXT]
    pairs = " ".join(f"{key}={_text_value(rest[key])}" for key in ordered)
    line = f"{stamp} {level:7} {process} {logger}: {message}"
    return f"{line}  {pairs}" if pairs else line


def _text_value(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value) if not isinstance(value, Path) else str(value)
    if not text or any(character in text for character in ' "=\n\r'):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r") + '"'
    return text
