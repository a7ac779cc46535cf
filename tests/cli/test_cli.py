"""The command as an operator types it: what it prints, its exit codes, and what it does not import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pileus.kernel.clock import FakeClock, SystemClock
from pileus.kernel.db import Database
from pileus.kernel.nudge import Nudges
from pileus.kernel.saga import Ctx, Engine, Json, Saga, Sagas, Step, drain
from pileus.supervisor import processes
from tests.signing import make_signer

PILEUS = Path(sys.executable).with_name("pileus")


class Command:
    """Calls `pileus` with directories of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("PILEUS_")} | {
            "PILEUS_SITE_STATE_DIR": str(home / "state"),
            "PILEUS_SITE_RUN_DIR": str(home / "run"),
            "PILEUS_SITE_LOG_DIR": str(home / "log"),
            "PILEUS_AGENT_HYPERVISOR": "fake",
            "PILEUS_AGENT_NETWORK": "fake",
        }

    def __call__(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PILEUS, *words], env=self.environ | environ, capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture
def pileus(tmp_path: Path) -> Command:
    return Command(tmp_path)


def test_help_names_every_command_and_imports_no_service(pileus: Command) -> None:
    done = pileus("--help", PYTHONPROFILEIMPORTTIME="1")
    for name in ("up", "down", "serve", "conductor", "agent", "config", "doctor", "db", "saga", "image"):
        assert f"\n  {name} " in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"sqlalchemy", "falcon", "granian", "rich", "structlog", "libvirt", "pileus.settings"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["frobnicate"], 2, "No such command"),
        (["up", "--nothing"], 2, "No such option"),
        (["--config", "/none.toml", "config"], 2, "pileus: /none.toml: cannot be read: No such file or directory"),
        (["config", "api.prot"], 1, "pileus: There is no setting or section api.prot."),
        (["saga", "show", "x"], 1, "pileus: The database cannot be used"),
    ],
)
def test_a_mistake_is_told_in_one_line(pileus: Command, words: list[str], code: int, said: str) -> None:
    done = pileus(*words)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_every_mistake_in_the_configuration_is_told(pileus: Command) -> None:
    path = pileus.home / "pileus.toml"
    path.write_text("[api]\nprot = 1\nworkers = -1\n")
    done = pileus("-c", str(path), "config")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"pileus: {path}:2: [api] has no setting 'prot': did you mean 'port'?",
        f"pileus: {path}:3: api.workers must be at least 0, not -1",
    ]


def test_config_shows_value_source_default_and_meaning(pileus: Command) -> None:
    done = pileus("config", "api.port", "site", "database.url", PILEUS_API_PORT="81")
    assert "port = 81  # environment PILEUS_API_PORT; default: 8990\n" in done.stdout
    assert "    the TCP port to listen on (an integer, at least 1, at most 65535)\n" in done.stdout
    assert 'region = "RegionOne"  # default\n' in done.stdout
    assert f'url = "sqlite:///{pileus.home}/state/pileus.db"  # from site.state_dir' in done.stdout
    assert "workers" not in done.stdout


def test_config_does_not_show_secrets(pileus: Command) -> None:
    done = pileus("config", "database", PILEUS_DATABASE_URL="postgresql+psycopg://me:hunter2@db/pileus")
    assert "url = (hidden)  # environment PILEUS_DATABASE_URL" in done.stdout
    assert "hunter2" not in done.stdout


def test_the_written_defaults_are_a_configuration_file(pileus: Command) -> None:
    path = pileus.home / "pileus.toml"
    path.write_text(pileus("config", "--defaults-toml").stdout)
    assert pileus("-c", str(path), "config", "api").returncode == 0


def test_doctor_gives_verdicts_and_remedies(pileus: Command) -> None:
    done = pileus("doctor")
    assert done.returncode == 0
    assert "ok      privileges:" in done.stdout
    assert "warning processes: the cloud is not running here\n        -> pileus up\n" in done.stdout


def test_doctor_fails_if_a_check_does(pileus: Command) -> None:
    run_dir = pileus.home / "run"
    run_dir.mkdir()
    processes.record(run_dir / "conductor.pid", os.getpid())
    done = pileus("doctor")
    assert done.returncode == 1
    assert "failed  processes: left over without a supervisor: conductor" in done.stdout


def test_up_says_that_the_cloud_runs_already(pileus: Command) -> None:
    run_dir = pileus.home / "run"
    run_dir.mkdir()
    lock = processes.InstanceLock(run_dir)
    assert lock.acquire()
    done = pileus("up", "--detach")
    lock.release()
    assert done.returncode == 0
    assert done.stdout == f"Pileus is running already: http://127.0.0.1:8990 (process {os.getpid()}).\n"


def test_up_refuses_a_machine_that_cannot_run_it(pileus: Command) -> None:
    (pileus.home / "state").write_text("a file in the way")
    done = pileus("up", PILEUS_API_HOST="192.0.2.1")
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith(f"pileus: directories: {pileus.home}/state cannot be written")
    assert second.startswith("pileus: port: 192.0.2.1:8990 cannot be listened on")


# --- sagas --------------------------------------------------------------------------------------------------


class Broken:
    """A saga whose step and undo fail."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.clock = FakeClock()
        self.sagas = Sagas(self.clock, Nudges())
        self.sagas.register(Saga("disk.make", (Step("disk", do=self._fail, undo=self._fail),), action="create"))

    def _fail(self, _ctx: Ctx) -> Json:
        raise LookupError("the disk is on fire")

    def make_stuck(self) -> str:
        with self.db.write() as tx:
            one = self.sagas.start(
                tx, "disk.make", resource="d-1", project="p-1", user="u-1", request_id="req-1", params={}
            )
        drain(Engine(self.db, self.sagas, None, self.clock), patience=300.0)
        return one


@pytest.fixture
def stuck(pileus: Command, sqlite: Database) -> str:
    """The id of a stuck saga, in the database that `pileus` uses."""
    pileus.environ["PILEUS_DATABASE_URL"] = f"sqlite:///{sqlite.engine.url.database}"
    return Broken(sqlite).make_stuck()


def test_a_stuck_saga_is_listed_shown_and_abandoned(pileus: Command, stuck: str) -> None:
    listed = pileus("saga", "list").stdout
    assert stuck in listed
    assert "disk.make" in listed
    shown = pileus("saga", "show", stuck).stdout
    assert "disk.make version 1 of d-1: stuck\n" in shown
    assert "LookupError: the disk is on fire" in shown
    assert pileus("saga", "retry", stuck).stdout == f"{stuck} will be tried now.\n"
    assert pileus("saga", "abandon", stuck).returncode == 0


def test_what_is_not_stuck_cannot_be_abandoned(pileus: Command, stuck: str) -> None:
    assert stuck
    done = pileus("saga", "abandon", "no-such")
    assert done.returncode == 1
    assert done.stderr == "pileus: There is no stuck operation no-such.\n"


def test_purge_deletes_what_ended_long_ago(pileus: Command, sqlite: Database) -> None:
    pileus.environ["PILEUS_DATABASE_URL"] = f"sqlite:///{sqlite.engine.url.database}"
    sagas = Sagas(SystemClock(), Nudges())
    with sqlite.write() as tx:
        sagas.record(tx, "lock", resource="s-1", project="p-1", user="u-1", request_id="req-1")
    assert "Deleted 0 operations" in pileus("db", "purge").stdout
    assert "Deleted 1 operations" in pileus("db", "purge", "--days", "0").stdout


def test_certificates_of_those_who_sign_images(pileus: Command) -> None:
    signer = make_signer(name="somebody")
    path = pileus.home / "signer.pem"
    path.write_text(signer.pem)
    added = pileus("image", "certificate", "add", str(path))
    assert added.returncode == 0, added.stderr
    name = added.stdout.strip()
    assert pileus("image", "certificate", "list").stdout == f"{name}  2040-01-01  CN=somebody\n"
    again = pileus("image", "certificate", "add", str(path), "--id", name)
    assert (again.returncode, again.stderr) == (1, f"pileus: There is a certificate {name} already.\n")
    path.write_text("nonsense")
    assert "no certificate in PEM form" in pileus("image", "certificate", "add", str(path)).stderr
    assert pileus("image", "certificate", "remove", name).returncode == 0
    assert pileus("image", "certificate", "list").stdout == ""
    assert pileus("image", "certificate", "remove", name).returncode == 1
