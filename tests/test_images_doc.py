"""`docs/images.md`: every command in its boxes succeeds, in order, on a cloud with the settings that the page shows."""

import gzip
import subprocess
from pathlib import Path

import pytest

from tests.cloud import Cloud
from tests.pages import boxes, not_shown, settings, typed
from tests.real_things import require
from tests.warm_client import warm_client
from tests.web import serving

PAGE = "images.md"


def test_the_page_shows_every_command_of_the_client() -> None:
    assert not_shown(PAGE, "openstack.image.v2") == set()
    text = boxes(PAGE, "sh")
    for command in ("aggregate cache image", "limit create", "registered limit create"):
        assert f"openstack {command} " in text
    for command in ("move", "evacuate", "certificate", "metadefs", "cache"):
        assert f"pileus image {command} " in text


@pytest.mark.real
def test_every_command_works_as_it_is_written(tmp_path: Path) -> None:
    require("qemu-img", "openssl")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "disk", "16M"], check=True)
    with Cloud("qi", settings(PAGE)) as cloud, warm_client(tmp_path) as programs, serving() as web:
        web.files["/disk.qcow2.gz"] = gzip.compress((tmp_path / "disk").read_bytes())
        environment = cloud.environment(MIRROR=web.url)
        code, output = typed(PAGE, tmp_path, environment | {"PATH": f"{programs}:{environment['PATH']}"})
        print(output)
        assert code == 0, output[-3000:]
        assert "The database and the hosts agree." in output
