"""Real PostgreSQL and MariaDB servers for tests, started from Debian's packages in a temporary directory.

They listen on Unix sockets only, write without waiting for the disk, and die with the test session.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa


class DatabaseServer:
    """One running server with one empty database, `pileus`."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], directory: Path) -> None:
        self.url = url
        self._process = process
        self._directory = directory

    def stop(self) -> None:
        self._process.send_signal(signal.SIGQUIT if "postgres" in self.url else signal.SIGKILL)
        self._process.wait(10)
        shutil.rmtree(self._directory, ignore_errors=True)


def start_postgresql() -> DatabaseServer:
    """PostgreSQL, as the user `postgres` (it refuses to run as root)."""
    programs = max(Path("/usr/lib/postgresql").iterdir(), key=lambda path: float(path.name)) / "bin"
    directory = _directory("postgres")
    data = directory / "data"
    _run(
        directory,
        "postgres",
        [programs / "initdb", "-D", data, "-A", "trust", "-U", "pileus", "--no-sync", "-E", "UTF8"],
    )
    process = _start(
        directory,
        "postgres",
        [
            programs / "postgres", "-D", data, "-k", directory, "-c", "listen_addresses=", "-c", "fsync=off",
            "-c", "full_page_writes=off", "-c", "synchronous_commit=off", "-c", "max_connections=200",
        ],
    )  # fmt: skip
    admin = f"postgresql+psycopg://pileus@/postgres?host={directory}"
    _wait(admin, process, directory)
    _execute(admin, "CREATE DATABASE pileus")
    return DatabaseServer(f"postgresql+psycopg://pileus@/pileus?host={directory}", process, directory)


def start_mariadb() -> DatabaseServer:
    """MariaDB, as the user `mysql`."""
    directory = _directory("mysql")
    data = directory / "data"
    _run(
        directory,
        "mysql",
        ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal",
         "--skip-test-db", "--skip-name-resolve", "--innodb-log-file-size=8M"],
    )  # fmt: skip
    process = _start(
        directory,
        "mysql",
        ["mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={directory}/sock", "--skip-networking",
         "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=8M",
         "--skip-log-bin", f"--pid-file={directory}/pid", "--max-connections=200", "--skip-grant-tables"],
    )  # fmt: skip
    admin = f"mysql+pymysql://root@localhost/mysql?unix_socket={directory}/sock"
    _wait(admin, process, directory)
    _execute(admin, "CREATE DATABASE pileus CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
    return DatabaseServer(
        f"mysql+pymysql://root@localhost/pileus?unix_socket={directory}/sock&charset=utf8mb4", process, directory
    )


STARTERS: dict[str, Callable[[], DatabaseServer]] = {"postgresql": start_postgresql, "mariadb": start_mariadb}


def _directory(user: str) -> Path:
    directory = Path(tempfile.mkdtemp(prefix="pileus-db-"))
    shutil.chown(directory, user)
    return directory


def _as(user: str, command: list[object]) -> list[str]:
    words = [str(word) for word in command]
    return ["setpriv", f"--reuid={user}", "--regid", user, "--clear-groups", *words] if os.geteuid() == 0 else words


def _run(directory: Path, user: str, command: list[object]) -> None:
    done = subprocess.run(_as(user, command), cwd=directory, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.decode(errors='replace')}")


def _start(directory: Path, user: str, command: list[object]) -> subprocess.Popen[bytes]:
    with (directory / "log").open("wb") as log:
        return subprocess.Popen(_as(user, command), cwd=directory, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


def _wait(url: str, process: subprocess.Popen[bytes], directory: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            _execute(url, "SELECT 1")
        except sa.exc.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((directory / "log").read_text(errors="replace")) from None
            time.sleep(0.05)
        else:
            return


def _execute(url: str, statement: str) -> None:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
