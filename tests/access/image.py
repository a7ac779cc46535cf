"""The image service's operations, each with a request that succeeds for whoever may make it."""

import json
from functools import partial
from typing import Any

from pileus.kernel.auth import Actor
from tests.access.matrix import Attempt, Attempts
from tests.access.stage import ADMIN, MEMBER, Stage, Thing

SETTINGS = {
    "image.fetch.allowed_networks": "127.0.0.0/8",
    "image.fetch.allowed_ports": "",
    "image.show_multiple_locations": "true",
}
STORES = """
[image.stores.local]
directory = "local"
[image.stores.second]
directory = "second"
[image.stores.web]
kind = "http"
"""
DATA = b"\0" * 1024
OCTETS = {"Content_Type": "application/octet-stream"}
KINDS = ("private", "unshared", "shared", "community", "public")
"""How an image is visible. `unshared` is of visibility shared, and shared with none of the personas."""
THIRD = "3" * 32  # a project that nobody here is in


RULES_WITHIN = {
    "get_image_location": "whether an image that is shown tells where its data is: tests/image/test_locations.py",
    "metadef_admin": "other rules refer to it",
}
"""Rules that no operation asks by itself, and what they are for."""


# --- images -------------------------------------------------------------------------------------------------


def image(stage: Stage, kind: str, *, upload: bool = True, active: bool = True, **values: Any) -> Thing:
    """An image of the personas' project."""
    member, admin = stage.apis[MEMBER], stage.apis[ADMIN]
    visibility = {"unshared": "shared", "third": "shared", "public": "private"}.get(kind, kind)
    body = {"disk_format": "raw", "container_format": "bare", "visibility": visibility, "tags": ["old"], **values}
    image_id = member.ok("POST", "/image/v2/images", body)["id"]
    path = f"/image/v2/images/{image_id}"
    if upload:
        member.ok("PUT", f"{path}/file", DATA, **OCTETS)
    if not active:
        member.ok("POST", f"{path}/actions/deactivate")
    if kind in ("shared", "third"):
        member.ok("POST", f"{path}/members", {"member": stage.elsewhere})
    if kind == "public":
        change = [{"op": "replace", "path": "/visibility", "value": "public"}]
        admin.ok("PATCH", path, json.dumps(change).encode(), **PATCH)
    shown = admin.ok("GET", path)
    target = {
        "project_id": shown["owner"],
        **{name: shown[name] for name in ("owner", "visibility", "status", "protected")},
    }
    return Thing(
        {"image_id": image_id, "tag": "old"}, lambda _actor: target, partial(_sees, stage, kind in _SEEN_ELSEWHERE)
    )


_SEEN_ELSEWHERE = {"shared", "third", "community", "public"}


def _sees(stage: Stage, seen_elsewhere: bool, actor: Actor) -> bool:
    return actor.is_admin or actor.project_id == stage.home or seen_elsewhere


def queued(stage: Stage, kind: str) -> Thing:
    """An image without data."""
    return image(stage, kind, upload=False)


def deactivated(stage: Stage, kind: str) -> Thing:
    return image(stage, kind, active=False)


def staged(stage: Stage, kind: str) -> Thing:
    """An image whose data waits to be imported."""
    made = image(stage, kind, upload=False)
    stage.apis[MEMBER].ok("PUT", f"/image/v2/images/{made.params['image_id']}/stage", DATA, **OCTETS)
    return made


def in_two_stores(stage: Stage, kind: str) -> Thing:
    """An image whose data is in two stores."""
    made = staged(stage, kind)
    path = f"/image/v2/images/{made.params['image_id']}"
    stores = ["local", "second"]
    stage.apis[MEMBER].ok("POST", f"{path}/import", {"method": {"name": "glance-direct"}, "stores": stores})
    stage.world.run()
    assert stage.apis[MEMBER].ok("GET", path)["stores"] == ",".join(stores)
    return Thing({**made.params, "store_id": "second"}, made.target, made.seen_by)


def cached(stage: Stage, kind: str) -> Thing:
    """An image that waits to be cached."""
    made = image(stage, kind)
    stage.apis[ADMIN].ok("PUT", f"/image/v2/cache/{made.params['image_id']}")
    return made


def listed(stage: Stage, _kind: str) -> Thing:
    """Images of all kinds."""
    for kind in KINDS:
        image(stage, kind)
    return Thing({})


def nothing(_stage: Stage, _kind: str) -> Thing:
    return Thing({})


# --- members ------------------------------------------------------------------------------------------------


def members(stage: Stage, kind: str) -> Thing:
    """An image's list of members. The policy is asked whether its caller is one."""
    made = _with_third(stage, kind)
    assert made.target is not None
    of_image = made.target
    return Thing(made.params, lambda actor: {**of_image(actor), "member_id": actor.owner}, made.seen_by)


def member(stage: Stage, kind: str) -> Thing:
    """A member of an image: the other project, or for the kind `third` one that the other project cannot know of."""
    made = image(stage, kind) if kind == "shared" else _with_third(stage, kind)
    assert made.target is not None
    of_image = made.target
    member_id = stage.elsewhere if kind == "shared" else THIRD
    return Thing(
        {**made.params, "member_id": member_id},
        lambda actor: {**of_image(actor), "member_id": member_id},
        partial(_sees, stage, kind == "shared"),
    )


def _with_third(stage: Stage, kind: str) -> Thing:
    made = image(stage, kind)
    stage.apis[MEMBER].ok("POST", f"/image/v2/images/{made.params['image_id']}/members", {"member": THIRD})
    return made


# --- tasks --------------------------------------------------------------------------------------------------


def _new_task(stage: Stage) -> dict[str, Any]:
    properties = {"container_format": "bare"}
    source = {"import_from": stage.url, "import_from_format": "raw", "image_properties": properties}
    return {"type": "import", "input": source}


def task(stage: Stage, _kind: str) -> Thing:
    return Thing({"task_id": stage.apis[ADMIN].ok("POST", "/image/v2/tasks", _new_task(stage))["id"]})


# --- metadata definitions -----------------------------------------------------------------------------------

_PROPERTY = {"name": "old", "title": "Old", "type": "string"}
_RESOURCE_TYPE = "OS::Nova::Server"


def namespace(stage: Stage, kind: str) -> Thing:
    """A namespace of the personas' project, with one thing of each kind in it."""
    name = stage.new_name()
    body = {
        "namespace": name,
        "visibility": kind,
        "owner": stage.home,
        "objects": [{"name": "old"}],
        "properties": {"old": {"title": "Old", "type": "string"}},
        "tags": [{"name": "old"}],
        "resource_type_associations": [{"name": _RESOURCE_TYPE}],
    }
    stage.apis[ADMIN].ok("POST", "/image/v2/metadefs/namespaces", body)
    names = dict.fromkeys(("object_name", "property_name", "tag_name"), "old")
    target = {"project_id": stage.home, "owner": stage.home, "visibility": kind}
    return Thing(
        {"namespace_name": name, "resource_type_name": _RESOURCE_TYPE, **names},
        lambda _actor: target,
        partial(_sees, stage, kind == "public"),
    )


def namespace_with_new_tag(stage: Stage, kind: str) -> Thing:
    made = namespace(stage, kind)
    return Thing({**made.params, "tag_name": "new"}, made.target, made.seen_by)


def namespaces(stage: Stage, _kind: str) -> Thing:
    """Namespaces of both kinds."""
    for kind in ("private", "public"):
        namespace(stage, kind)
    return Thing({})


# --- the table ----------------------------------------------------------------------------------------------

PATCH = {"Content_Type": "application/openstack-images-v2.1-json-patch"}


def _image(thing: Any = image, **more: Any) -> Attempt:
    return Attempt(thing, more.pop("kinds", KINDS), **more)


def _change(kind: str, path: str, value: Any = None, **more: Any) -> Attempt:
    """An image that is changed by one operation of a JSON patch."""
    patch = json.dumps([{"op": kind, "path": path, "value": value}]).encode()
    return _image(more.pop("thing", image), body=_body(patch), headers=PATCH, **more)


def _new_location(stage: Stage) -> bytes:
    return json.dumps([{"op": "add", "path": "/locations/-", "value": {"url": stage.url, "metadata": {}}}]).encode()


def _definition(**more: Any) -> Attempt:
    return Attempt(more.pop("thing", namespace), ("private", "public"), **more)


def _body(value: Any) -> Any:
    return lambda _stage: value


def _images_of(body: Any, _thing: Thing) -> list[str]:
    return [f"/images/{one['id']}" for one in body["images"]]


def _members_of(body: Any, thing: Thing) -> list[str]:
    return [f"/images/{thing.params['image_id']}/members/{one['member_id']}" for one in body["members"]]


def _tasks_of(body: Any, _thing: Thing) -> list[str]:
    return [f"/tasks/{one['id']}" for one in body["tasks"]]


def _namespaces_of(body: Any, _thing: Thing) -> list[str]:
    return [f"/metadefs/namespaces/{one['namespace']}" for one in body["namespaces"]]


_ALL = "/metadefs/namespaces"
_ONE = f"{_ALL}/{{namespace_name}}"
_ASK = Attempt(nothing)

ATTEMPTS: Attempts = {
    "GET /images": Attempt(listed, shows=_images_of),
    "POST /images": Attempt(nothing, body=_body({"name": "new"})),
    "GET /images/{image_id}": _image(),
    "POST /images (public)": Attempt(nothing, body=_body({"visibility": "public"}), also=("publicize_image",)),
    "POST /images (community)": Attempt(nothing, body=_body({"visibility": "community"}), also=("communitize_image",)),
    "PATCH /images/{image_id}": _change("replace", "/name", "new"),
    "PATCH /images/{image_id} (public)": _change("replace", "/visibility", "public", also=("publicize_image",)),
    "PATCH /images/{image_id} (community)": _change("replace", "/visibility", "community", also=("communitize_image",)),
    "PATCH /images/{image_id} (add location)": _image(
        queued, body=_new_location, headers=PATCH, also=("set_image_location",)
    ),
    "PATCH /images/{image_id} (remove location)": _change(
        "remove", "/locations/0", thing=in_two_stores, also=("delete_image_location",)
    ),
    "DELETE /images/{image_id}": _image(),
    "POST /images/{image_id}/actions/deactivate": _image(),
    "POST /images/{image_id}/actions/reactivate": _image(deactivated),
    "PUT /images/{image_id}/tags/{tag}": _image(),
    "DELETE /images/{image_id}/tags/{tag}": _image(),
    "PUT /images/{image_id}/file": _image(queued, body=_body(DATA), headers=OCTETS),
    "GET /images/{image_id}/file": _image(),
    "PUT /images/{image_id}/stage": _image(queued, body=_body(DATA), headers=OCTETS),
    "POST /images/{image_id}/import": _image(staged, body=_body({"method": {"name": "glance-direct"}})),
    "POST /images/{image_id}/import (copy)": _image(
        body=_body({"method": {"name": "copy-image"}, "stores": ["second"]}), rule="copy_image"
    ),
    "GET /images/{image_id}/tasks": _image(staged),
    "POST /images/{image_id}/locations": _image(queued, body=lambda stage: {"url": stage.url}),
    "GET /images/{image_id}/locations": _image(),
    "GET /images/{image_id}/members": _image(members, kinds=("unshared", "shared"), shows=_members_of),
    "POST /images/{image_id}/members": _image(kinds=("unshared", "shared"), body=_body({"member": THIRD})),
    "GET /images/{image_id}/members/{member_id}": _image(member, kinds=("unshared", "shared", "third")),
    "PUT /images/{image_id}/members/{member_id}": _image(
        member, kinds=("unshared", "shared", "third"), body=_body({"status": "accepted"})
    ),
    "DELETE /images/{image_id}/members/{member_id}": _image(member, kinds=("unshared", "shared", "third")),
    "DELETE /stores/{store_id}/{image_id}": _image(in_two_stores),
    "GET /cache": _ASK,
    "DELETE /cache": _ASK,
    "POST /cache/clean": _ASK,
    "POST /cache/prune": _ASK,
    "PUT /cache/{image_id}": _image(kinds=("private",)),
    "DELETE /cache/{image_id}": _image(cached, kinds=("private",)),
    "GET /info/import": _ASK,
    "GET /info/stores": _ASK,
    "GET /info/stores/detail": _ASK,
    "GET /info/usage": _ASK,
    "POST /tasks": Attempt(nothing, body=_new_task, also=("add_task",)),
    "GET /tasks": Attempt(task, also=("get_tasks",), shows=_tasks_of),
    "GET /tasks/{task_id}": Attempt(task, also=("get_task",)),
    "GET /schemas/{schema}": Attempt(lambda _stage, _kind: Thing({"schema": "image"})),
    "GET /schemas/metadefs/{schema}": Attempt(lambda _stage, _kind: Thing({"schema": "namespace"})),
    f"GET {_ALL}": Attempt(namespaces, also=("list_metadef_resource_types",), shows=_namespaces_of),
    f"POST {_ALL}": Attempt(nothing, body=lambda stage: {"namespace": stage.new_name()}),
    f"GET {_ONE}": _definition(
        also=("list_metadef_resource_types", "get_metadef_objects", "get_metadef_properties", "get_metadef_tags")
    ),
    f"PUT {_ONE}": _definition(body=lambda stage: {"namespace": stage.new_name()}),
    f"DELETE {_ONE}": _definition(),
    f"GET {_ONE}/objects": _definition(),
    f"POST {_ONE}/objects": _definition(body=_body({"name": "new"})),
    f"DELETE {_ONE}/objects": _definition(),
    f"GET {_ONE}/objects/{{object_name}}": _definition(),
    f"PUT {_ONE}/objects/{{object_name}}": _definition(body=_body({"name": "new"})),
    f"DELETE {_ONE}/objects/{{object_name}}": _definition(),
    f"GET {_ONE}/properties": _definition(),
    f"POST {_ONE}/properties": _definition(body=_body({**_PROPERTY, "name": "new"})),
    f"DELETE {_ONE}/properties": _definition(),
    f"GET {_ONE}/properties/{{property_name}}": _definition(),
    f"PUT {_ONE}/properties/{{property_name}}": _definition(body=_body({**_PROPERTY, "name": "new"})),
    f"DELETE {_ONE}/properties/{{property_name}}": _definition(),
    f"GET {_ONE}/tags": _definition(),
    f"POST {_ONE}/tags": _definition(body=_body({"tags": [{"name": "new"}]})),
    f"DELETE {_ONE}/tags": _definition(also=("delete_metadef_tags",)),
    f"GET {_ONE}/tags/{{tag_name}}": _definition(),
    f"POST {_ONE}/tags/{{tag_name}}": _definition(thing=namespace_with_new_tag),
    f"PUT {_ONE}/tags/{{tag_name}}": _definition(body=_body({"name": "new"})),
    f"DELETE {_ONE}/tags/{{tag_name}}": _definition(),
    "GET /metadefs/resource_types": _ASK,
    f"GET {_ONE}/resource_types": _definition(),
    f"POST {_ONE}/resource_types": _definition(body=_body({"name": "OS::Nova::Flavor"})),
    f"DELETE {_ONE}/resource_types/{{resource_type_name}}": _definition(),
}
