"""Logs: context on every line, also of tracebacks and of libraries, and no secrets."""

import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from pileus.kernel import log
from pileus.kernel.log import LogSettings, bound, configure


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    output = io.StringIO()
    configure(LogSettings(format="json"), "serve", output)
    yield output
    configure(LogSettings(level="DEBUG"), "test")


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_carries_the_context_of_its_thread(stream: io.StringIO) -> None:
    with bound(request_id="req-1", server="s-1", project=None):
        structlog.get_logger("pileus.compute").info("created", flavor="m1")
        logging.getLogger("somelib").warning("odd %s", "thing")
        thread = threading.Thread(target=lambda: structlog.get_logger("pileus.other").info("elsewhere"))
        thread.start()
        thread.join()
    structlog.get_logger("pileus.compute").info("after")
    created, odd, elsewhere, after = events(stream)
    assert (created["event"], created["request_id"], created["server"]) == ("created", "req-1", "s-1")
    assert (created["process"], created["logger"], created["flavor"]) == ("serve", "pileus.compute", "m1")
    assert "project" not in created
    assert (odd["event"], odd["server"]) == ("odd thing", "s-1")
    assert "server" not in elsewhere
    assert "server" not in after


def test_context_can_be_carried_to_another_thread(stream: io.StringIO) -> None:
    def work(context: dict[str, Any]) -> None:
        with bound(**context):
            structlog.get_logger("pileus.x").info("there")

    with bound(request_id="req-1"):
        log.bind(server="s-1")
        thread = threading.Thread(target=work, args=(log.context(),))
        thread.start()
        thread.join()
    (there,) = events(stream)
    assert (there["request_id"], there["server"]) == ("req-1", "s-1")


def test_every_line_of_a_traceback_carries_the_context(stream: io.StringIO) -> None:
    with bound(request_id="req-1", server="s-1"):
        try:
            int("two\nlines")
        except ValueError:
            structlog.get_logger("pileus.x").exception("failed", step="disks")
            logging.getLogger("somelib").exception("failed too")
    lines = events(stream)
    assert len(lines) > 6
    assert all((line["request_id"], line["server"]) == ("req-1", "s-1") for line in lines)
    assert {line["level"] for line in lines} == {"error"}
    assert any("ValueError: invalid literal" in line["event"] for line in lines)
    assert sum("Traceback" in line["event"] for line in lines) == 2


@pytest.mark.parametrize("key", ["password", "adminPass", "X-Auth-Token", "host_secret", "admin_password", "token"])
def test_secrets_are_blanked_at_any_depth(stream: io.StringIO, key: str) -> None:
    value = "hunter2"
    structlog.get_logger("pileus.x").info("body", **{key: value}, body={"auth": [{key: value, "name": "kept"}]})
    assert value not in stream.getvalue()
    assert events(stream)[0]["body"] == {"auth": [{key: "***", "name": "kept"}]}


def test_libraries_are_quiet_at_info_and_levels_can_be_set_singly() -> None:
    output = io.StringIO()
    try:
        configure(LogSettings(levels={"pileus.saga": "DEBUG"}), "conductor", output)
        for name in ("alembic.runtime.migration", "cheroot.access", "granian.access", "_granian", "urllib3"):
            logging.getLogger(name).info("chatter")
        structlog.get_logger("pileus.compute").debug("detail")
        structlog.get_logger("pileus.saga").debug("wanted detail")
    finally:
        configure(LogSettings(level="DEBUG"), "test")
    assert len(output.getvalue().splitlines()) == 1
    assert "wanted detail" in output.getvalue()


def test_text_is_one_line_for_each_event() -> None:
    output = io.StringIO()
    try:
        configure(LogSettings(), "agent", output)
        with bound(server="s-1", request_id="req-1"):
            structlog.get_logger("pileus.agent").info("line\nbreak", note='say "no"\n')
    finally:
        configure(LogSettings(level="DEBUG"), "test")
    (line,) = output.getvalue().splitlines()
    assert line.endswith(r'INFO    agent agent: line\nbreak  request_id=req-1 server=s-1 note="say \"no\"\n"')


def test_values_of_any_type_can_be_logged(stream: io.StringIO) -> None:
    structlog.get_logger("pileus.x").info("odd", error=ValueError("x"), where=object)
    (event,) = events(stream)
    assert event["error"] == "x"
