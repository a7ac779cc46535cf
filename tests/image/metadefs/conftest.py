"""Metadata definitions through the API: an administrator writes, members of two projects read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import falcon.testing
import pytest
import sqlalchemy as sa

from tests.image.conftest import Api

ADMIN, ANN, BOB = "root@adm:admin", "ann@p1:member", "bob@p2:reader"
FILES = Path(__file__).parent / "files"


@dataclass
class Metadefs:
    """Calls the API's part under /metadefs/namespaces; names are encoded as they must be in a path."""

    api: Api

    def call(self, method: str, *steps: str, token: str = ADMIN, **more: Any) -> falcon.testing.Result:
        path = "/metadefs/namespaces" + "".join(f"/{quote(step, safe='')}" for step in steps)
        return self.api.call(method, path, token, **more)

    def make(self, namespace: str, /, *steps: str, **fields: Any) -> dict[str, Any]:
        """Make a namespace, or something in it: the time goes on by a second after each."""
        body = fields if steps else {"namespace": namespace, **fields}
        answer = self.call("POST", *((namespace, *steps) if steps else ()), json=body)
        assert answer.status_code == 201, answer.text
        self.api.clock.advance(1)
        made: dict[str, Any] = answer.json
        return made

    def get(self, *steps: str, token: str = ADMIN, query: str = "") -> Any:
        answer = self.call("GET", *steps, token=token, query_string=query)
        assert answer.status_code == 200, answer.text
        return answer.json

    def names(self, query: str = "", token: str = ADMIN) -> list[str]:
        return [one["namespace"] for one in self.get(query=query, token=token)["namespaces"]]

    def status(self, method: str, *steps: str, token: str = ADMIN, **more: Any) -> int:
        return self.call(method, *steps, token=token, **more).status_code

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """The statements that are sent to the database meanwhile."""
        seen: list[str] = []

        def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            seen.append(statement)

        engine = self.api.db.engine
        sa.event.listen(engine, "before_cursor_execute", note)
        yield seen
        sa.event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def metadefs(api: Api) -> Metadefs:
    return Metadefs(api)


@pytest.fixture
def metadefs_everywhere(api_everywhere: Api) -> Metadefs:
    """On every kind of database."""
    return Metadefs(api_everywhere)
