"""Tells the control plane what the host has and which guests run, every few seconds and whenever that changes."""

import contextlib
import queue
import threading

import structlog

from pileus.agent.api import PowerState
from pileus.agent.control_plane import ControlPlane
from pileus.agent.errors import ControlPlaneSilent
from pileus.agent.host import Host

log = structlog.get_logger("pileus.agent")

TIDY_SECONDS = 300.0


class Reporter:
    """A thread for the regular report and one for guests' own changes. Both outlive a silent control plane."""

    def __init__(self, host: Host, control_plane: ControlPlane, interval: float, booted_at: int) -> None:
        self._host = host
        self._control_plane = control_plane
        self._interval = interval
        self._booted_at = booted_at
        self._changes: queue.SimpleQueue[tuple[str, PowerState] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._silent = False
        self.heard = threading.Event()  # the control plane knows of this host
        self._threads = (
            threading.Thread(target=self._report_regularly, name="report", daemon=True),
            threading.Thread(target=self._report_changes, name="report-power", daemon=True),
        )

    def start(self) -> None:
        """Begin to report."""
        self._host.hypervisor.watch(lambda guest, state: self._changes.put((guest, state)))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop reporting."""
        self._stopping.set()
        self._changes.put(None)
        for thread in self._threads:
            thread.join(5)

    def _report_regularly(self) -> None:
        tidied = 0.0
        delay = 0.1
        while True:
            heard = self._try_to_report()
            # The control plane may start after the agent: ask often at first, then at the usual pace.
            delay = self._interval if heard else min(delay * 1.2, self._interval)
            tidied += delay
            if tidied >= TIDY_SECONDS:
                self._tidy()
                tidied = 0.0
            if self._stopping.wait(delay):
                return

    def _try_to_report(self) -> bool:
        try:
            self._control_plane.report(self._host.report(self._booted_at))
        except ControlPlaneSilent as err:
            if not self._silent:
                log.warning("the control plane does not answer", reason=str(err))
            self._silent = True
            return False
        except Exception:
            log.exception("no report could be made")
            return False
        if self._silent:
            log.info("the control plane answers again")
        self._silent = False
        self.heard.set()
        return True

    def _tidy(self) -> None:
        try:
            self._host.tidy()
        except Exception:
            log.exception("the host could not be tidied")  # reports must go on

    def _report_changes(self) -> None:
        while (change := self._changes.get()) is not None:
            changes = dict([change])
            with contextlib.suppress(queue.Empty):
                while (more := self._changes.get_nowait()) is not None:
                    changes[more[0]] = more[1]
                self._changes.put(None)  # the end, which is not for this loop
            try:
                self._control_plane.power(changes)
            except ControlPlaneSilent as err:
                log.info("a change of power was not heard; the next report carries it", reason=str(err))
