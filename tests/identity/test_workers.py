"""Revocation as real processes see it: on one machine at once, on another within a second, without a read each time."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pileus.identity.settings import IdentitySettings
from pileus.kernel.clock import SystemClock
from pileus.kernel.db import Database
from tests.identity.conftest import Cloud, cloud_on

# Answers each line, a token, with whether it is valid and how many statements it took to know.
_WORKER = """
import sys
from dataclasses import replace
from pathlib import Path
import sqlalchemy as sa
from pileus.identity.generation import Generation
from pileus.identity.policy import RULES
from pileus.identity.service import Identity
from pileus.identity.settings import IdentitySettings
from pileus.kernel.clock import SystemClock
from pileus.kernel.db import Database, DatabaseSettings
from pileus.kernel.errors import Unauthorized
from pileus.kernel.policy import Policy
url, keys, run = sys.argv[1:]
settings = replace(IdentitySettings(), token_keys=Path(keys))
db = Database(DatabaseSettings(url=url))
identity = Identity(settings, SystemClock(), db, Policy(RULES), Generation(Path(run)), region="RegionOne")
statements = []
sa.event.listen(db.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
for line in sys.stdin:
    statements.clear()
    try:
        identity.authenticate(line.strip())
        print("valid", len(statements), flush=True)
    except Unauthorized:
        print("void", len(statements), flush=True)
"""


class Worker:
    """A process of the API, as far as tokens are concerned."""

    def __init__(self, cloud: Cloud, run_dir: Path) -> None:
        url = cloud.db.engine.url.render_as_string(hide_password=False)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WORKER, url, str(cloud.settings.token_keys), str(run_dir)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, token: str) -> tuple[bool, int]:
        """Whether the token is valid, and the statements that took."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{token}\n")
        self._process.stdin.flush()
        answer, statements = self._process.stdout.readline().split()
        return answer == "valid", int(statements)

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def real(database: Database, settings: IdentitySettings, tmp_path: Path) -> Iterator[Cloud]:
    """A cloud on the machine's own clock, as its workers are."""
    yield from cloud_on(database, settings, tmp_path, SystemClock())  # type: ignore[arg-type]


def test_revocation_in_every_worker_of_the_machine_at_once_and_within_a_second_on_another(
    real: Cloud, tmp_path: Path
) -> None:
    here = [Worker(real, real.run_dir) for _ in range(2)]
    there = Worker(real, tmp_path / "another machine")
    try:
        tokens = [real.token() for _ in range(5)]
        for worker in (*here, there):
            assert [worker.ask(token)[0] for token in tokens] == [True] * 5
        assert sum(here[0].ask(tokens[0])[1] for _ in range(200)) <= 3, "it looks at the database once a second at most"
        for token in tokens:
            answer = real.call("DELETE", "/auth/tokens", token=real.admin, X_Subject_Token=token)
            assert answer.status_code == 204
            assert [worker.ask(token)[0] for worker in here] == [False, False]
            revoked_at = time.monotonic()
            while there.ask(token)[0]:
                assert time.monotonic() < revoked_at + 1.5, "a second, and some time for a busy machine"
                time.sleep(0.01)
    finally:
        for worker in (*here, there):
            worker.stop()
