"""URLs of key pairs."""

from typing import Any

from pileus.compute.keypairs import keys
from pileus.compute.keypairs.domain import SSH
from pileus.compute.keypairs.policy import KEYPAIRS
from pileus.compute.keypairs.schemas import CREATE, CREATED, LISTED, SHOWN
from pileus.compute.keypairs.service import Keypairs
from pileus.compute.query_strings import page_size, refuse_unknown
from pileus.kernel.fields import UNSET, given
from pileus.kernel.http import Call, Route
from pileus.kernel.paging import next_link
from pileus.kernel.versions import Version

_FOR_OTHERS = Version(2, 10)
_PAGED = Version(2, 35)


def _user(call: Call) -> str:
    """Whose key pairs are meant; from 2.10 administrators may name another user. Forbidden to others."""
    asked = call.query.get("user_id") if call.version is None or call.version >= _FOR_OTHERS else None
    user_id = asked or call.actor.user_id
    call.authorize({"user_id": user_id})
    return user_id


def list_keypairs(call: Call, svc: Keypairs) -> dict[str, Any]:
    refuse_unknown(call, {"user_id", "limit", "marker"})
    user_id = _user(call)
    if call.version is not None and call.version < _PAGED:
        with call.read() as tx:
            found = svc.all(tx, user_id)
        limit = len(found)
    else:
        limit = page_size(call, svc.settings.max_limit)
        with call.read() as tx:
            found = svc.page(tx, user_id, limit, call.query.get("marker") or None)
    document: dict[str, Any] = {"keypairs": [{"keypair": LISTED.render(one, call.version)} for one in found[:limit]]}
    if len(found) > limit:
        href = next_link(f"{call.base_url}/os-keypairs", call.query.pairs, found[limit - 1].name)
        document["keypairs_links"] = [{"rel": "next", "href": href}]
    return document


def create_keypair(call: Call, svc: Keypairs) -> dict[str, Any]:
    body = call.body
    user_id: str = given(getattr(body, "user_id", UNSET), call.actor.user_id)
    call.authorize({"user_id": user_id})
    kind = getattr(body, "type", SSH)
    # Outside the transaction: a pair takes a tenth of a second to generate.
    material = keys.generated(kind, user_id) if body.public_key is None else keys.imported(kind, body.public_key)
    made = call.transact(lambda tx: svc.create(tx, call.actor, user_id, body.name, material))
    document = CREATED.render(made, call.version)
    if material.private_key is not None:
        document["private_key"] = material.private_key
    return {"keypair": document}


def show_keypair(call: Call, svc: Keypairs) -> dict[str, Any]:
    refuse_unknown(call, {"user_id"})
    user_id = _user(call)
    with call.read() as tx:
        return {"keypair": SHOWN.render(svc.get(tx, user_id, call.params["name"]), call.version)}


def delete_keypair(call: Call, svc: Keypairs) -> None:
    refuse_unknown(call, {"user_id"})
    user_id = _user(call)
    call.transact(lambda tx: svc.delete(tx, user_id, call.params["name"]))


_ALL, _ONE = "/os-keypairs", "/os-keypairs/{name}"

ROUTES: tuple[Route[Keypairs], ...] = (
    Route("GET", _ALL, list_keypairs, f"{KEYPAIRS}index", targeted=True),
    Route("POST", _ALL, create_keypair, f"{KEYPAIRS}create", targeted=True, body=CREATE, until="2.1"),
    Route("POST", _ALL, create_keypair, f"{KEYPAIRS}create", targeted=True, body=CREATE, since="2.2", status=201),
    Route("GET", _ONE, show_keypair, f"{KEYPAIRS}show", targeted=True),
    Route("DELETE", _ONE, delete_keypair, f"{KEYPAIRS}delete", targeted=True, until="2.1", status=202),
    Route("DELETE", _ONE, delete_keypair, f"{KEYPAIRS}delete", targeted=True, since="2.2", status=204),
)
