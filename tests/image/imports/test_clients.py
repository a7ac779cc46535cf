"""The official clients import images, against a real server on the loopback interface."""

import io
import threading
from collections.abc import Iterator
from urllib.parse import unquote

import glanceclient
import openstack
import pytest
from cheroot.wsgi import Server
from keystoneauth1 import session, token_endpoint

from pileus.image import policy
from pileus.image.routes import make_service
from pileus.kernel.app import Dispatcher, make_app
from pileus.kernel.auth import Actor
from pileus.kernel.policy import Policy
from tests.image.conftest import Names
from tests.image.imports.conftest import Importer
from tests.web import serving

ADMIN = "root@p1:admin"
DATA = b"an image's data " * 5000


class Unquoted(Names):
    """Takes tokens as glanceclient sends them: percent-encoded, which makes no difference to real ones."""

    def authenticate(self, token: str) -> Actor:
        return super().authenticate(unquote(token))


@pytest.fixture
def url(importer: Importer) -> Iterator[str]:
    """The image service's address."""
    server = Server(("127.0.0.1", 0), None, numthreads=2)
    server.prepare()
    address = f"http://127.0.0.1:{server.bind_addr[1]}"
    dispatcher = Dispatcher(importer.api.db, Policy(policy.RULES), Unquoted(), address)
    server.wsgi_app = make_app(dispatcher, [make_service(importer.api.images)])
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    yield f"{address}/image"
    server.stop()
    thread.join(5)


def test_glanceclient(importer: Importer, url: str) -> None:
    glance = glanceclient.Client("2", endpoint=url, token=ADMIN).images
    assert "glance-direct" in glance.get_import_info()["import-methods"]["value"]
    image = glance.create(name="staged", disk_format="raw", container_format="bare")
    glance.stage(image.id, io.BytesIO(DATA), len(DATA))
    assert glance.get(image.id).status == "uploading"
    glance.image_import(image.id, "glance-direct", all_stores=True)
    importer.run()
    done = glance.get(image.id)
    assert (done.status, done.size, done.os_glance_failed_import) == ("active", len(DATA), "")
    assert b"".join(glance.data(image.id)) == DATA
    copied = glance.create(name="copied", disk_format="raw", container_format="bare")
    glance.upload(copied.id, io.BytesIO(DATA))
    glance.image_import(copied.id, "copy-image", stores=["second"])
    again = glance.create(name="again", disk_format="raw", container_format="bare")
    glance.image_import(again.id, "glance-download", remote_region="RegionOne", remote_image_id=image.id)
    importer.run()
    assert {glance.get(one.id).status for one in (copied, again)} == {"active"}


def test_openstacksdk(importer: Importer, url: str) -> None:
    auth = token_endpoint.Token(url, ADMIN)
    connection = openstack.connection.Connection(
        session=session.Session(auth=auth), image_endpoint_override=url, identity_api_version="3"
    )
    image = connection.image.create_image(name="staged", disk_format="raw", container_format="bare")
    connection.image.stage_image(image, data=DATA)
    connection.image.import_image(image, stores=["second"], all_stores_must_succeed=True)
    importer.run()
    assert connection.image.get_image(image.id).status == "active"
    assert importer.kept() == {"first": (), "second": (image.id,)}
    with serving() as web:
        web.files["/image"] = DATA
        fetched = connection.image.create_image(name="fetched", disk_format="raw", container_format="bare")
        connection.image.import_image(fetched, method="web-download", uri=f"{web.url}/image")
        importer.run()
    assert connection.image.get_image(fetched.id).size == len(DATA)
    tasks = list(connection.image.tasks(status="success"))
    assert [task.type for task in tasks] == ["api_image_import"] * 2
    shown = [connection.image.get_task(task.id) for task in tasks]
    assert {(task.status, task.owner_id, task.result["image_id"]) for task in shown} == {
        ("success", "p1", image.id), ("success", "p1", fetched.id),
    }  # fmt: skip
    connection.close()
