"""The official clients against a real server on the loopback interface."""

import threading
from collections.abc import Iterator
from urllib.parse import unquote

import glanceclient
import openstack
import pytest
from cheroot.wsgi import Server
from keystoneauth1 import session, token_endpoint
from openstack.exceptions import ForbiddenException

from pileus.image import policy
from pileus.image.routes import make_service
from pileus.kernel.app import Dispatcher, make_app
from pileus.kernel.auth import Actor
from pileus.kernel.policy import Policy
from tests.image.conftest import Api, Names
from tests.image.metadefs.conftest import ADMIN

DISK = {"title": "Disk", "type": "string", "enum": ["ssd", "hdd"], "default": "ssd"}


class Unquoted(Names):
    """Takes tokens as glanceclient sends them: percent-encoded, which makes no difference to real ones."""

    def authenticate(self, token: str) -> Actor:
        return super().authenticate(unquote(token))


@pytest.fixture
def url(api: Api) -> Iterator[str]:
    """The image service's address."""
    server = Server(("127.0.0.1", 0), None, numthreads=2)
    server.prepare()
    address = f"http://127.0.0.1:{server.bind_addr[1]}"
    dispatcher = Dispatcher(api.db, Policy(policy.RULES), Unquoted(), address)
    server.wsgi_app = make_app(dispatcher, [make_service(api.images)])
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    yield f"{address}/image"
    server.stop()
    thread.join(5)


def test_glanceclient(url: str) -> None:
    glance = glanceclient.Client("2", endpoint=url, token=ADMIN)
    spaces, properties = glance.metadefs_namespace, glance.metadefs_property
    types, objects, tags = glance.metadefs_resource_type, glance.metadefs_object, glance.metadefs_tag
    made = spaces.create(namespace="Ours::Disks", description="d", resource_type_associations=[{"name": "image"}])
    assert (made.namespace, made.visibility) == ("Ours::Disks", "private")
    for number in range(30):
        spaces.create(namespace=f"n{number}", visibility="public")
    assert len([one.namespace for one in spaces.list()]) == 31, "in two pages"
    assert len(list(spaces.list(filters={"visibility": "public"}, page_size=7, sort_key="namespace"))) == 30
    assert [one.namespace for one in spaces.list(filters={"resource_types": ["image"]})] == ["Ours::Disks"]

    assert types.associate("Ours::Disks", name="volume", prefix="hw_").prefix == "hw_"
    assert [one.name for one in types.get("Ours::Disks")] == ["image", "volume"]
    types.deassociate("Ours::Disks", "image")
    assert {one.name for one in types.list()} == {"image", "volume"}

    properties.create("Ours::Disks", name="disk", **DISK)
    assert properties.update("Ours::Disks", "disk", name="drive", title="Drive").title == "Drive"
    assert [(one.name, one.default) for one in properties.list("Ours::Disks")] == [("drive", "ssd")]
    objects.create("Ours::Disks", name="Speed", properties={"iops": {"title": "IOPS", "type": "integer"}})
    assert objects.update("Ours::Disks", "Speed", required=["iops"]).required == ["iops"]
    assert [one.name for one in objects.list("Ours::Disks")] == ["Speed"]
    assert [one.name for one in tags.create_multiple("Ours::Disks", tags=["a", "b"])] == ["a", "b"]
    tags.create("Ours::Disks", "c")
    tags.update("Ours::Disks", "a", name="z")
    tags.delete("Ours::Disks", "b")
    assert {one.name for one in tags.list("Ours::Disks")} == {"c", "z"}

    whole = spaces.update("Ours::Disks", display_name="Our disks", protected=True)
    assert (whole.display_name, whole.description, whole.protected) == ("Our disks", "d", True)
    assert list(spaces.get("Ours::Disks", resource_type="volume").properties) == ["hw_drive"]
    spaces.update("Ours::Disks", protected=False)
    objects.delete("Ours::Disks", "Speed")
    for kind in (objects, properties, tags):
        kind.delete_all("Ours::Disks")
        assert list(kind.list("Ours::Disks")) == []
    spaces.delete("Ours::Disks")
    assert "Ours::Disks" not in [one.namespace for one in spaces.list()]


def test_openstacksdk(url: str) -> None:
    cloud = openstack.connection.Connection(session=session.Session(auth=token_endpoint.Token(f"{url}/v2", ADMIN)))
    image = cloud.image
    made = image.create_metadef_namespace(namespace="Ours::Disks", visibility="public", is_protected=False)
    assert (made.namespace, made.owner, made.is_protected) == ("Ours::Disks", "adm", False)
    assert [one.namespace for one in image.metadef_namespaces()] == ["Ours::Disks"]
    assert image.update_metadef_namespace(made, description="d").description == "d"

    association = image.create_metadef_resource_type_association("Ours::Disks", name="OS::Glance::Image")
    assert [one.name for one in image.metadef_resource_type_associations("Ours::Disks")] == ["OS::Glance::Image"]
    assert [one.name for one in image.metadef_resource_types()] == ["OS::Glance::Image"]
    image.delete_metadef_resource_type_association(association, "Ours::Disks")

    one = image.create_metadef_property("Ours::Disks", name="disk", **DISK)
    assert [found.name for found in image.metadef_properties("Ours::Disks")] == ["disk"]
    assert image.update_metadef_property(one, "Ours::Disks", name="disk", **DISK | {"title": "New"}).title == "New"
    image.delete_metadef_property("disk", "Ours::Disks", ignore_missing=False)
    thing = image.create_metadef_object("Ours::Disks", name="Speed")
    assert image.get_metadef_object("Speed", "Ours::Disks").required == []
    image.update_metadef_object(thing, "Ours::Disks", name="Speed", description="how fast")
    assert [found.description for found in image.metadef_objects("Ours::Disks")] == ["how fast"]
    image.delete_all_metadef_objects("Ours::Disks")
    image.add_tag_to_metadef_namespace(made, "fast")
    made.set_tags(image, ["slow"], append=True)
    assert sorted(tag["name"] for tag in image.get_metadef_namespace("Ours::Disks").tags) == ["fast", "slow"]
    assert image.get_metadef_namespace_schema().name == "namespace"
    image.update_metadef_namespace(made, is_protected=True)
    with pytest.raises(ForbiddenException, match="is protected and cannot be deleted"):
        image.delete_metadef_namespace("Ours::Disks")
    image.update_metadef_namespace(made, is_protected=False)
    image.delete_metadef_namespace("Ours::Disks", ignore_missing=False)
    assert list(image.metadef_namespaces()) == []
