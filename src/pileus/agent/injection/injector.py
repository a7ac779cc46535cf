"""Injection as the agent asks for it: one process for each disk, its outcome in the log, and nothing left behind."""

import subprocess
import sys
from pathlib import Path

import msgspec
import structlog

from pileus.agent.api import Injection
from pileus.agent.errors import AgentError, ImageUnusable, InvalidRequest
from pileus.agent.injection.content import size_of
from pileus.agent.injection.programs import text_of
from pileus.agent.injection.settings import InjectionSettings
from pileus.agent.injection.tree import InjectionRefusedError, check_path
from pileus.agent.injection.worker import Job, Outcome

log = structlog.get_logger("pileus.agent.injection")

_WORKER = "pileus.agent.injection.worker"
_CONFINEMENT = (
    "setpriv", "--pdeathsig=KILL", "--",  # this process dies with the agent, and its namespaces with it
    "unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--ipc",
    "--",
)  # fmt: skip


class Injector:
    """Writes into disks that no guest has seen yet."""

    def __init__(self, settings: InjectionSettings, scratch: Path) -> None:
        """`scratch` is a directory of the agent's own; nothing is ever kept in it."""
        self._settings = settings
        self._scratch = scratch

    def inject(self, server_id: str, disk: Path, disk_format: str, injection: Injection) -> None:
        """Write into a disk that is being made and does not count yet: whoever is killed here makes it anew.

        Content other than files is left out where it cannot be written, and that is logged. ImageUnusable if files
        cannot be written into this image, AgentError if they cannot on this host.
        """
        told = log.bind(server=server_id)
        for one in injection.files:
            _check(one.path)
        if size_of(injection) > self._settings.max_bytes:
            raise InvalidRequest(f"more than {self._settings.max_bytes} bytes are to be written into the disk")
        outcome = self._outcome(disk, disk_format, injection)
        passed = {one.what: one.why for one in outcome.passed_over}
        if outcome.left_out:
            told.warning("not injected", **{one.what: one.why for one in outcome.left_out})
        if outcome.refused is None:
            told.info("injected into the disk", handler=outcome.handler, written=outcome.written, passed_over=passed)
            return
        told.warning("injection failed", reason=outcome.refused, handler=outcome.handler, passed_over=passed)
        reasons = "; ".join([outcome.refused, *(f"{name}: {why}" for name, why in passed.items())])
        if injection.files:
            refusal = ImageUnusable if outcome.of_image else AgentError
            raise refusal(f"the files cannot be written into the disk: {reasons}")
        if outcome.handler is not None and not outcome.of_image:
            raise AgentError(f"the disk may be damaged by an injection that was cut off: {reasons}")

    def _outcome(self, disk: Path, disk_format: str, injection: Injection) -> Outcome:
        settings = self._settings
        if not settings.enabled:
            return Outcome(refused="injection is not enabled on this host")
        job = Job(
            path=str(disk.absolute()),
            format=disk_format,
            injection=injection,
            handlers=tuple(dict.fromkeys(settings.handlers.split(","))),
            partition=settings.partition,
            memory=settings.memory,
        )
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [*_CONFINEMENT, sys.executable, "-m", _WORKER, str(self._scratch.absolute())]
        try:
            done = subprocess.run(
                command, input=msgspec.json.encode(job), capture_output=True, check=False, timeout=settings.timeout
            )
        except subprocess.TimeoutExpired as err:
            raise AgentError(f"the injection took more than {settings.timeout:.0f} s") from err
        if done.returncode:
            raise AgentError(f"the injection failed: {text_of(done.stderr) or done.returncode}")
        return msgspec.json.decode(done.stdout, type=Outcome)


def _check(path: str) -> None:
    try:
        check_path(path)
    except InjectionRefusedError as err:
        raise InvalidRequest(str(err)) from err
