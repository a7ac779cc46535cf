"""`docs/identity.md`: every command in its boxes succeeds, in order, on a cloud with the settings on the page."""

from pathlib import Path

import pytest

from tests.cloud import Cloud
from tests.pages import boxes, not_shown, settings, typed
from tests.warm_client import warm_client

PAGE = "identity.md"


def test_the_page_shows_every_command_of_the_client() -> None:
    assert not_shown(PAGE, "openstack.identity.v3") == set()
    text = boxes(PAGE, "sh")
    for command in ("identity rotate-keys", "identity bootstrap", "policy list", "policy check"):
        assert f"pileus {command} " in text.replace("\n", " ")


@pytest.mark.real
def test_every_command_works_as_it_is_written(tmp_path: Path) -> None:
    with Cloud("qd", settings(PAGE)) as cloud, warm_client(tmp_path) as programs:
        environment = cloud.environment()
        code, output = typed(PAGE, tmp_path, environment | {"PATH": f"{programs}:{environment['PATH']}"})
        print(output)
        assert code == 0, output[-3000:]
        assert "The database and the hosts agree." in output
