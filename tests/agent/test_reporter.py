"""The agent reports whatever happens: to a silent control plane, and after a clean-up that failed."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import msgspec
import pytest

from pileus.agent import reporter as module
from pileus.agent.api import DiskFile, GuestSpec, HostReport, PowerReport, PowerState
from pileus.agent.control_plane import ControlPlane
from pileus.agent.errors import ControlPlaneSilent, ImageUnusable
from pileus.agent.host import Host
from pileus.agent.reporter import Reporter
from pileus.drivers.hypervisor.base import GuestPlan
from pileus.drivers.hypervisor.fake import FakeHypervisor
from pileus.kernel.rpc import HOST_SECRET_HEADER
from tests.agent.conftest import SERVER, Site


class FakeControlPlane(ControlPlane):
    """Hears reports, or does not."""

    def __init__(self) -> None:
        self.reports: list[HostReport] = []
        self.powers: list[dict[str, PowerState]] = []
        self.tried = 0
        self.silent = False
        self.hold: Event | None = None

    def report(self, report: HostReport) -> None:
        self.tried += 1
        if self.silent:
            raise ControlPlaneSilent("nobody")
        self.reports.append(report)

    def power(self, states: Mapping[str, PowerState]) -> None:
        if self.hold is not None:
            self.hold.wait(10)
        if self.silent:
            raise ControlPlaneSilent("nobody")
        self.powers.append(dict(states))


def soon(look: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not look():
        assert time.monotonic() < deadline, "not within 10 s"
        time.sleep(0.005)


@pytest.fixture
def host(site: Site) -> Host:
    host = site.boot()
    spec = GuestSpec(
        id=SERVER, name="web", instance_name="i", project_id="p", user_id="u", flavor_name="f", vcpus=1, memory_mb=64
    )
    root = DiskFile(role="root", path="fake", format="raw", size=1)
    host.hypervisor.ensure_guest(GuestPlan(spec=spec, disks=(root,), taps={}, console_log=site.directory / "log"))
    return host


@pytest.fixture
def hypervisor(host: Host) -> FakeHypervisor:
    assert isinstance(host.hypervisor, FakeHypervisor)
    return host.hypervisor


@pytest.fixture
def control() -> FakeControlPlane:
    return FakeControlPlane()


@pytest.fixture
def reporter(host: Host, control: FakeControlPlane) -> Iterator[Reporter]:
    reporter = Reporter(host, control, 0.01, booted_at=17)
    yield reporter
    reporter.stop()


def test_it_reports_at_once_and_again(reporter: Reporter, control: FakeControlPlane) -> None:
    reporter.start()
    soon(lambda: len(control.reports) > 3)
    first = control.reports[0]
    assert (first.booted_at, first.power, first.inventory.host) == (17, {SERVER: PowerState.RUNNING}, "h1")
    assert first.address.startswith("unix:///")


def test_a_silent_control_plane_is_asked_until_it_answers(
    reporter: Reporter, control: FakeControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    control.silent = True
    reporter.start()
    soon(lambda: control.tried > 3)
    control.silent = False
    soon(lambda: control.reports)
    said = caplog.text
    assert said.count("the control plane does not answer") == 1
    soon(lambda: "the control plane answers again" in caplog.text)


def test_guests_changes_are_told_at_once(
    reporter: Reporter, control: FakeControlPlane, hypervisor: FakeHypervisor
) -> None:
    reporter.start()
    hypervisor.end(SERVER)
    soon(lambda: control.powers)
    assert control.powers == [{SERVER: PowerState.SHUTDOWN}]
    hypervisor.start(SERVER)
    soon(lambda: len(control.powers) == 2)
    assert control.powers[-1] == {SERVER: PowerState.RUNNING}


def test_changes_that_pile_up_are_told_together_by_their_last(
    reporter: Reporter, control: FakeControlPlane, hypervisor: FakeHypervisor
) -> None:
    control.hold = Event()
    reporter.start()
    hypervisor.end(SERVER)
    soon(reporter._changes.empty)
    for _ in range(3):
        hypervisor.start(SERVER)
        hypervisor.end(SERVER, PowerState.CRASHED)
    control.hold.set()
    soon(lambda: len(control.powers) == 2)
    assert control.powers == [{SERVER: PowerState.SHUTDOWN}, {SERVER: PowerState.CRASHED}]


def test_a_change_that_nobody_heard_does_not_end_reporting(
    reporter: Reporter, control: FakeControlPlane, hypervisor: FakeHypervisor
) -> None:
    control.silent = True
    reporter.start()
    hypervisor.end(SERVER)
    soon(reporter._changes.empty)
    control.silent = False
    hypervisor.start(SERVER)
    soon(lambda: {SERVER: PowerState.RUNNING} in control.powers)


def test_it_ends_at_once_even_with_changes_waiting(
    reporter: Reporter, control: FakeControlPlane, hypervisor: FakeHypervisor
) -> None:
    control.hold = Event()
    reporter.start()
    hypervisor.end(SERVER)
    soon(reporter._changes.empty)
    hypervisor.start(SERVER)
    with ThreadPoolExecutor(1) as pool:
        begun = time.monotonic()
        ended = pool.submit(reporter.stop)
        soon(lambda: reporter._stopping.is_set() and reporter._changes.qsize() == 2)
        control.hold.set()
        ended.result(10)
    assert time.monotonic() - begun < 4


@pytest.mark.parametrize("verb", ["tidy", "facts"])
def test_a_hypervisor_that_fails_does_not_end_reporting(
    reporter: Reporter,
    control: FakeControlPlane,
    hypervisor: FakeHypervisor,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
) -> None:
    failed = Event()
    works = getattr(hypervisor, verb)

    def fail_once() -> Any:
        if failed.is_set():
            return works()
        failed.set()
        raise RuntimeError("libvirtd is away")

    monkeypatch.setattr(module, "TIDY_SECONDS", 0.02)
    monkeypatch.setattr(hypervisor, verb, fail_once)
    reporter.start()
    assert failed.wait(10)
    before = len(control.reports)
    soon(lambda: len(control.reports) > before + 2)


# --- the real client ----------------------------------------------------------------------------------------


class _Answers(BaseHTTPRequestHandler):
    """A control plane of few words: images by id, everything that is posted is kept."""

    protocol_version = "HTTP/1.1"
    images: dict[str, bytes] = {}  # noqa: RUF012 - set by the fixture
    heard: list[tuple[str, str | None, bytes]] = []  # noqa: RUF012
    status = 204
    stall: Event | None = None  # after the first MiB, the rest of an image is waited for in vain

    def do_GET(self) -> None:
        data = self.images.get(self.path.split("/")[-2])
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.send_response(404 if data is None else 206 if start else 200)
        self.send_header("Content-Length", str(len((data or b"")[start:])))
        self.end_headers()
        if self.stall is not None and data is not None:
            self.wfile.write(data[: 1 << 20])
            self.stall.wait(10)
            self.close_connection = True
            return
        self.wfile.write((data or b"")[start:])

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.heard.append((self.path, self.headers[HOST_SECRET_HEADER], body))
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        del format, args


@pytest.fixture
def served() -> Iterator[tuple[ControlPlane, type[_Answers]]]:
    class Answers(_Answers):
        images = {"i1": b"0123456789" * 500_000}  # noqa: RUF012
        heard: list[tuple[str, str | None, bytes]] = []  # noqa: RUF012

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield ControlPlane(f"http://127.0.0.1:{server.server_port}/", "h1", "secret"), Answers
    server.shutdown()
    thread.join(10)
    server.server_close()


def test_the_real_client(served: tuple[ControlPlane, type[_Answers]], host: Host) -> None:
    control, answers = served
    assert b"".join(control.image("i1")) == answers.images["i1"]
    assert b"".join(control.image("i1", 4_999_990)) == b"0123456789"
    with pytest.raises(ImageUnusable):
        list(control.image("nope"))
    control.report(host.report(3))
    control.power({SERVER: PowerState.PAUSED})
    assert [(path, secret) for path, secret, _ in answers.heard] == [
        ("/agent/v1/hosts/h1/report", "secret"),
        ("/agent/v1/hosts/h1/power", "secret"),
    ]
    assert msgspec.json.decode(answers.heard[1][2], type=PowerReport).states == {SERVER: PowerState.PAUSED}


def test_a_download_that_is_broken_off_disturbs_nothing_after_it(
    served: tuple[ControlPlane, type[_Answers]],
) -> None:
    control, answers = served
    for stall in (None, Event()):
        answers.stall = stall
        chunks = control.image("i1")
        assert next(chunks)
        chunks.close()  # type: ignore[attr-defined]  # it is a generator
        control.power({SERVER: PowerState.RUNNING})
        if stall is not None:
            stall.set()
    assert len(answers.heard) == 2
    answers.stall = None
    assert b"".join(control.image("i1")) == answers.images["i1"]


def test_refused_and_unreachable_is_silence(served: tuple[ControlPlane, type[_Answers]]) -> None:
    control, answers = served
    answers.status = 503
    with pytest.raises(ControlPlaneSilent, match="503"):
        control.power({})
    away = ControlPlane("http://127.0.0.1:1", "h1", "secret")
    for call in (lambda: away.power({}), lambda: list(away.image("i1"))):
        with pytest.raises(ControlPlaneSilent):
            call()
