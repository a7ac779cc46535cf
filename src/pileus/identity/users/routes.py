"""Operations on users and groups."""

from collections.abc import Mapping
from typing import Any

from pileus.identity.domain import COMPARATORS, Comparator, Group, User
from pileus.identity.federation.domain import FederatedObject
from pileus.identity.projects.routes import show as show_project
from pileus.identity.rest import many, missing, one, permitted, target, wanted, within_own_domain
from pileus.identity.service import Identity
from pileus.identity.users.schemas import (
    GROUP,
    GROUP_CREATE,
    GROUP_UPDATE,
    PASSWORD_CHANGE,
    USER,
    USER_CREATE,
    USER_UPDATE,
    USER_WITH_PROJECT,
)
from pileus.kernel.clock import iso_micro_z, parse_iso
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Call, Route
from pileus.kernel.policy import PUBLIC

_CAME_BY = ("idp_id", "protocol_id", "unique_id")
_FILTERS = {"name": "name", "domain_id": "domain_id"}
_SORTABLE = ("name", "domain_id")
_SORTABLE_USERS = (*_SORTABLE, "enabled", "default_project_id", "password_expires_at")


def show(call: Call, user: User) -> dict[str, Any]:
    """A user in a response."""
    return one(call, "users", USER_WITH_PROJECT if user.default_project_id else USER, user)


def show_a_group(call: Call, group: Group) -> dict[str, Any]:
    """A group in a response."""
    return one(call, "groups", GROUP, group)


def target_of(user: User | None, group: Group | None = None) -> Mapping[str, Any]:
    """What rules may ask about a user and a group."""
    return {
        **(target(user__id=user.id, user__domain_id=user.domain_id) if user else {}),
        **(target(group__id=group.id, group__domain_id=group.domain_id) if group else {}),
    }


def _expiring(call: Call) -> list[tuple[Comparator, int]]:
    """The filter `password_expires_at=lt:2026-11-21T10:00:00Z`; without a comparator it is eq."""
    found = []
    for text in call.query.all("password_expires_at"):
        comparator, colon, moment = text.partition(":")
        if not colon or comparator[:1].isdigit():
            comparator, moment = "eq", text
        if comparator not in COMPARATORS:
            raise BadRequest(f"The operator {comparator} is not one of: {', '.join(COMPARATORS)}.")
        try:
            found.append((COMPARATORS[comparator], parse_iso(moment)))
        except ValueError as err:
            raise BadRequest(f"password_expires_at: '{moment}' is no timestamp like 2026-11-21T10:00:00Z.") from err
    return found


def list_users(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /users"""
    call.authorize(target(domain_id=call.actor.domain_id))
    want = within_own_domain(wanted(call, svc.max_limit, _FILTERS, ("enabled",), sortable=_SORTABLE_USERS), call.actor)
    svc.directories.refresh(want.equal.get("domain_id"), "user", want.equal.get("name"))
    with call.read() as tx:
        came_by = {name: value for name in _CAME_BY if (value := call.query.get(name)) is not None}
        found = svc.users.page(tx, want, _expiring(call), came_by)
    return many(call, "users", found, lambda user: show(call, user))


def create_user(call: Call, svc: Identity) -> dict[str, Any]:
    """POST /users"""
    domain_id = call.body.get("domain_id") or svc.projects.default_domain_of(call.actor)
    call.authorize(target(user__domain_id=domain_id))
    hashed = svc.users.hashed(call.body)

    def create(tx: Tx) -> dict[str, Any]:
        return _linked(call, svc, tx, svc.users.create(tx, domain_id, call.body, hashed))

    return {"user": call.transact(create)}


def _linked(call: Call, svc: Identity, tx: Tx, user: User) -> dict[str, Any]:
    """A user in a response, with the identity providers it comes through: those in the body, if there are any."""
    federated = call.body.get("federated")
    if federated is not None:
        svc.federation.link(
            tx,
            user,
            [
                FederatedObject(idp_id=by.idp_id, protocol_id=one.protocol_id, unique_id=one.unique_id)
                for by in federated
                for one in by.protocols
            ],
        )
    return _with_federated(call, svc, tx, user)


def _with_federated(call: Call, svc: Identity, tx: Tx, user: User) -> dict[str, Any]:
    shown, by_provider = show(call, user), dict[str, list[dict[str, str]]]()
    for way in svc.federation.objects_of(tx, user.id):
        protocol = {"protocol_id": way.protocol_id, "unique_id": way.unique_id}
        by_provider.setdefault(way.idp_id, []).append(protocol)
    federated = [{"idp_id": idp_id, "protocols": protocols} for idp_id, protocols in by_provider.items()]
    return {**shown, "federated": federated} if federated else shown


def _user(call: Call, svc: Identity, tx: Tx) -> User:
    user_id = call.params["user_id"]
    user = svc.users.find(tx, user_id)
    return permitted(call, user, "user", user_id, target_of(user) or target(user__id=user_id))


def _seen_anew(call: Call, svc: Identity) -> None:
    """Look at a user of a directory there, if the caller may know of the user."""
    if svc.directories.are_none():
        return
    with call.read() as tx:
        user = _user(call, svc, tx)
    svc.directories.refresh_groups_of(user.id)


def show_user(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /users/{user_id}"""
    _seen_anew(call, svc)
    with call.read() as tx:
        return {"user": _with_federated(call, svc, tx, _user(call, svc, tx))}


def update_user(call: Call, svc: Identity) -> dict[str, Any]:
    """PATCH /users/{user_id}"""
    with call.read() as tx:
        _user(call, svc, tx)
    hashed = svc.users.hashed(call.body)

    def update(tx: Tx) -> dict[str, Any]:
        return _linked(call, svc, tx, svc.users.update(tx, _user(call, svc, tx), call.body, hashed))

    return {"user": call.transact(update)}


def delete_user(call: Call, svc: Identity) -> None:
    """DELETE /users/{user_id}"""
    call.transact(lambda tx: svc.users.delete(tx, _user(call, svc, tx)))


def revoke_tokens(call: Call, svc: Identity) -> None:
    """DELETE /users/{user_id}/tokens: all of them, also for users whose password is not here"""
    call.transact(lambda tx: svc.users.revoke_tokens(tx, _user(call, svc, tx)))


def change_password(call: Call, svc: Identity) -> None:
    """POST /users/{user_id}/password: whoever knows the present password needs no token"""
    svc.logins.change_password(call.params["user_id"], call.body.original_password, call.body.password)


def list_user_groups(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /users/{user_id}/groups"""
    _seen_anew(call, svc)
    with call.read() as tx:
        want = within_own_domain(wanted(call, svc.max_limit, {"name": "name"}), call.actor)
        user = _user(call, svc, tx)
        found = svc.users.groups_of(tx, user, want)
        ends = svc.users.ends_of_memberships(tx, user)

    def shown(group: Group) -> dict[str, Any]:
        return {**show_a_group(call, group), "membership_expires_at": iso_micro_z(ends.get(group.id))}

    return many(call, "groups", found, shown)


def list_user_projects(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /users/{user_id}/projects"""
    _seen_anew(call, svc)
    with call.read() as tx:
        user = _user(call, svc, tx)
        found = svc.roles.projects_of(tx, user.id, wanted(call, svc.max_limit, _FILTERS, ("enabled",)))
    return many(call, "projects", found, lambda project: show_project(call, project))


def list_groups(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /groups"""
    call.authorize(target(group__domain_id=call.actor.domain_id))
    want = within_own_domain(wanted(call, svc.max_limit, _FILTERS, sortable=_SORTABLE), call.actor)
    svc.directories.refresh(want.equal.get("domain_id"), "group", want.equal.get("name"))
    with call.read() as tx:
        found = svc.users.groups(tx, want)
    return many(call, "groups", found, lambda group: show_a_group(call, group))


def create_group(call: Call, svc: Identity) -> dict[str, Any]:
    """POST /groups"""
    domain_id = call.body.get("domain_id") or svc.projects.default_domain_of(call.actor)
    call.authorize(target(group__domain_id=domain_id))
    group = call.transact(lambda tx: svc.users.create_group(tx, domain_id, call.body))
    return {"group": show_a_group(call, group)}


def _group(call: Call, svc: Identity, tx: Tx) -> Group:
    group_id = call.params["group_id"]
    group = svc.users.find_group(tx, group_id)
    return permitted(call, group, "group", group_id, target_of(None, group))


def show_group(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /groups/{group_id}"""
    with call.read() as tx:
        return {"group": show_a_group(call, _group(call, svc, tx))}


def update_group(call: Call, svc: Identity) -> dict[str, Any]:
    """PATCH /groups/{group_id}"""
    group = call.transact(lambda tx: svc.users.update_group(tx, _group(call, svc, tx), call.body))
    return {"group": show_a_group(call, group)}


def delete_group(call: Call, svc: Identity) -> None:
    """DELETE /groups/{group_id}"""
    call.transact(lambda tx: svc.users.delete_group(tx, _group(call, svc, tx)))


def list_members(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /groups/{group_id}/users"""
    with call.read() as tx:
        group_id = _group(call, svc, tx).id
    svc.directories.refresh_members_of(group_id)
    with call.read() as tx:
        group = _group(call, svc, tx)
        want = wanted(call, svc.max_limit, {"name": "name"}, ("enabled",))
        found = svc.users.members(tx, group, want, _expiring(call))
    return many(call, "users", found, lambda user: show(call, user))


def _membership(call: Call, svc: Identity, tx: Tx) -> tuple[Group, User]:
    group_id, user_id = call.params["group_id"], call.params["user_id"]
    group, user = svc.users.find_group(tx, group_id), svc.users.find(tx, user_id)
    found = permitted(call, group, "group", group_id, target_of(user, group))
    if user is None:
        raise missing("user", user_id)
    return found, user


def add_member(call: Call, svc: Identity) -> None:
    """PUT /groups/{group_id}/users/{user_id}"""
    call.transact(lambda tx: svc.users.add_member(tx, *_membership(call, svc, tx)))


def check_member(call: Call, svc: Identity) -> None:
    """HEAD and GET /groups/{group_id}/users/{user_id}"""
    with call.read() as tx:
        _, user = _membership(call, svc, tx)
    svc.directories.refresh_groups_of(user.id)
    with call.read() as tx:
        svc.users.check_member(tx, *_membership(call, svc, tx))


def remove_member(call: Call, svc: Identity) -> None:
    """DELETE /groups/{group_id}/users/{user_id}"""
    call.transact(lambda tx: svc.users.remove_member(tx, *_membership(call, svc, tx)))


_USER = "/users/{user_id}"
_GROUP = "/groups/{group_id}"
_MEMBER = f"{_GROUP}{_USER}"
ROUTES: tuple[Route[Identity], ...] = (
    Route("GET", "/users", list_users, "identity:list_users", targeted=True),
    Route("POST", "/users", create_user, "identity:create_user", 201, USER_CREATE, targeted=True),
    Route("GET", _USER, show_user, "identity:get_user", targeted=True),
    Route("PATCH", _USER, update_user, "identity:update_user", body=USER_UPDATE, targeted=True),
    Route("DELETE", _USER, delete_user, "identity:delete_user", 204, targeted=True),
    Route("DELETE", f"{_USER}/tokens", revoke_tokens, "identity:revoke_tokens_for_user", 204, targeted=True),
    Route("POST", f"{_USER}/password", change_password, PUBLIC, 204, PASSWORD_CHANGE),
    Route("GET", f"{_USER}/groups", list_user_groups, "identity:list_groups_for_user", targeted=True),
    Route("GET", f"{_USER}/projects", list_user_projects, "identity:list_user_projects", targeted=True),
    Route("GET", "/groups", list_groups, "identity:list_groups", targeted=True),
    Route("POST", "/groups", create_group, "identity:create_group", 201, GROUP_CREATE, targeted=True),
    Route("GET", _GROUP, show_group, "identity:get_group", targeted=True),
    Route("PATCH", _GROUP, update_group, "identity:update_group", body=GROUP_UPDATE, targeted=True),
    Route("DELETE", _GROUP, delete_group, "identity:delete_group", 204, targeted=True),
    Route("GET", f"{_GROUP}/users", list_members, "identity:list_users_in_group", targeted=True),
    Route("PUT", _MEMBER, add_member, "identity:add_user_to_group", 204, targeted=True),
    Route("GET", _MEMBER, check_member, "identity:check_user_in_group", 204, targeted=True),
    Route("DELETE", _MEMBER, remove_member, "identity:remove_user_from_group", 204, targeted=True),
)
