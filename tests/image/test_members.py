"""Images shared with other projects."""

from pathlib import Path

import pytest

from pileus.image.settings import ImageSettings
from pileus.kernel.db import Database
from tests.image.conftest import Api, make_api

BOB, CAROL = "bob@p2:member", "carol@p3:member"
ADMIN = "root@adm:admin"


def share(api: Api, image_id: str, member: str = "p2", token: str | None = None) -> int:
    return api.call("POST", f"/images/{image_id}/members", token, json={"member": member}).status_code


def answer(api: Api, image_id: str, status: object, token: str = BOB, member: str = "p2") -> int:
    return api.call("PUT", f"/images/{image_id}/members/{member}", token, json={"status": status}).status_code


def members(api: Api, image_id: str, token: str | None = None) -> list[tuple[str, str]]:
    found = api.call("GET", f"/images/{image_id}/members", token).json
    assert found["schema"] == "/v2/schemas/members"
    return [(member["member_id"], member["status"]) for member in found["members"]]


def test_an_image_is_shared_accepted_and_withdrawn(api_everywhere: Api) -> None:
    api = api_everywhere
    image_id = api.create(name="guest")
    assert api.show(image_id)["visibility"] == "shared"
    assert api.call("GET", f"/images/{image_id}", BOB).status_code == 404
    made = api.call("POST", f"/images/{image_id}/members", json={"member": "p2"})
    assert made.status_code == 200
    assert made.json == {
        "image_id": image_id,
        "member_id": "p2",
        "status": "pending",
        "created_at": made.json["created_at"],
        "updated_at": made.json["created_at"],
        "schema": "/v2/schemas/member",
    }
    assert api.call("GET", f"/images/{image_id}", BOB).status_code == 200
    assert api.list(token=BOB) == []
    api.clock.advance(60)
    assert answer(api, image_id, "accepted") == 200
    assert api.list(token=BOB) == ["guest"]
    shown = api.call("GET", f"/images/{image_id}/members/p2").json
    assert shown["status"] == "accepted"
    assert shown["updated_at"] > shown["created_at"]
    assert answer(api, image_id, "rejected") == 200
    assert api.list(token=BOB) == []
    assert api.call("DELETE", f"/images/{image_id}/members/p2").status_code == 204
    assert api.call("GET", f"/images/{image_id}", BOB).status_code == 404
    assert api.call("DELETE", f"/images/{image_id}/members/p2").status_code == 404


def test_lists_by_visibility_and_what_the_member_said(api: Api) -> None:
    for name, status in (("offered", None), ("taken", "accepted"), ("refused", "rejected")):
        image_id = api.create(name=name)
        share(api, image_id)
        if status:
            answer(api, image_id, status)
    api.create(ADMIN, name="public", visibility="public")
    api.create(name="community", visibility="community")
    assert sorted(api.list(token=BOB)) == ["public", "taken"]
    assert api.list("visibility=shared", BOB) == ["taken"]
    assert api.list("visibility=shared&member_status=pending", BOB) == ["offered"]
    assert api.list("visibility=shared&member_status=rejected", BOB) == ["refused"]
    assert sorted(api.list("visibility=shared&member_status=all", BOB)) == ["offered", "refused", "taken"]
    assert sorted(api.list("visibility=all", BOB)) == ["community", "public", "taken"]
    assert api.list("visibility=private", BOB) == []
    assert sorted(api.list("visibility=shared")) == ["offered", "refused", "taken"]
    assert sorted(api.list("visibility=shared", ADMIN)) == ["offered", "refused", "taken"]
    assert api.list("member_status=all", CAROL) == ["public"]
    assert api.call("GET", "/images", BOB, query_string="member_status=unsure").status_code == 400


def test_members_use_an_image_and_cannot_change_it(api: Api) -> None:
    image_id = api.create()
    api.upload(image_id, b"x" * 1024)
    share(api, image_id)
    assert api.call("GET", f"/images/{image_id}/file", BOB).content == b"x" * 1024
    assert api.call("GET", f"/images/{image_id}/file", CAROL).status_code == 404
    assert api.call("DELETE", f"/images/{image_id}", BOB).status_code == 403
    assert api.patch(image_id, [{"op": "replace", "path": "/name", "value": "mine"}], BOB).status_code == 403


def test_who_may_do_what_with_members(api: Api) -> None:
    image_id = api.create()
    assert share(api, image_id, token="eve@p1:reader") == 403
    assert share(api, image_id, token=BOB) == 404
    assert share(api, image_id) == 200
    assert share(api, image_id, "p3") == 200
    assert share(api, image_id, "p4", token=BOB) == 403
    assert members(api, image_id) == [("p2", "pending"), ("p3", "pending")]
    assert members(api, image_id, "eve@p1:reader") == members(api, image_id, ADMIN) == members(api, image_id)
    assert members(api, image_id, BOB) == [("p2", "pending")]
    assert api.call("GET", f"/images/{image_id}/members/p3", BOB).status_code == 404
    assert api.call("GET", f"/images/{image_id}/members", "dan@p4:member").status_code == 404
    assert answer(api, image_id, "accepted", token=api.token) == 403
    assert answer(api, image_id, "accepted", token="ben@p2:reader") == 403
    assert answer(api, image_id, "accepted", token=BOB, member="p3") == 404
    assert api.call("DELETE", f"/images/{image_id}/members/p2", BOB).status_code == 403
    assert members(api, image_id) == [("p2", "pending"), ("p3", "pending")]
    assert answer(api, image_id, "accepted", token=ADMIN) == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 400), ({"member": ""}, 400), ({"member": None}, 400), ({"member": "é"}, 400), ({"member": "p" * 37}, 400),
     ([], 400), ({"member": "p2", "more": 1}, 200)],
)  # fmt: skip
def test_malformed_members(api: Api, body: object, status: int) -> None:
    image_id = api.create()
    assert api.call("POST", f"/images/{image_id}/members", json=body).status_code == status


def test_malformed_answers(api: Api) -> None:
    image_id = api.create()
    share(api, image_id)
    for status in ("pendin", "all", "", None, 1):
        assert answer(api, image_id, status) == 400
    assert api.call("PUT", f"/images/{image_id}/members/p2", BOB, json={}).status_code == 400
    assert members(api, image_id) == [("p2", "pending")]


def test_a_project_is_a_member_once_and_members_are_limited(sqlite: Database, tmp_path: Path) -> None:
    api = make_api(sqlite, tmp_path, ImageSettings(member_limit=2))
    image_id = api.create()
    assert [share(api, image_id, member) for member in ("p2", "p2", "p3", "p4")] == [200, 409, 200, 413]


@pytest.mark.parametrize("visibility", ["private", "community", "public"])
def test_only_shared_images_have_members(api: Api, visibility: str) -> None:
    image_id = api.create()
    share(api, image_id)
    answer(api, image_id, "accepted")
    change = [{"op": "replace", "path": "/visibility", "value": visibility}]
    assert api.patch(image_id, change, ADMIN).status_code == 200
    assert api.list("visibility=shared", BOB) == []
    seen = api.call("GET", f"/images/{image_id}", BOB).status_code
    assert seen == (404 if visibility == "private" else 200)
    assert share(api, image_id, "p3") == 403
    assert api.call("GET", f"/images/{image_id}/members").status_code == 403
    assert api.call("GET", f"/images/{image_id}/members/p2").status_code == 404
    assert api.call("DELETE", f"/images/{image_id}/members/p2").status_code == 403
    api.patch(image_id, [{"op": "replace", "path": "/visibility", "value": "shared"}], ADMIN)
    assert members(api, image_id) == [("p2", "accepted")]


def test_members_go_with_their_image(api: Api) -> None:
    image_id = api.create()
    share(api, image_id)
    assert api.call("DELETE", f"/images/{image_id}").status_code == 204
    again = api.create(id=image_id)
    assert members(api, again) == []


@pytest.mark.parametrize("name", ["member", "members"])
def test_schemas_of_members(api: Api, name: str) -> None:
    assert api.call("GET", f"/schemas/{name}").json["name"] == name
