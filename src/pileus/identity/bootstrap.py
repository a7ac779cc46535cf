"""What a new cloud's identity begins with. Idempotent: run again, it adds what is missing and changes nothing else."""

from collections.abc import Mapping

from pileus.identity.domain import DEFAULT_DOMAIN, SYSTEM, Assignment, Role
from pileus.identity.jws import create_keypair, has_keypair
from pileus.identity.keys import create_keys as create_repository
from pileus.identity.projects import store as projects_store
from pileus.identity.rest import Sent, missing
from pileus.identity.roles import store as roles_store
from pileus.identity.rows import Wanted
from pileus.identity.service import Identity
from pileus.identity.settings import IdentitySettings
from pileus.identity.users import store as users_store
from pileus.kernel.auth import Actor
from pileus.kernel.db import Tx

ADMIN = "admin"
SERVICE = "service"
ROLES = (ADMIN, "manager", "member", "reader", SERVICE)
IMPLIED = ((ADMIN, "manager"), ("manager", "member"), ("member", "reader"))
NAMES: Mapping[str, str] = {
    "identity": "keystone",
    "image": "glance",
    "compute": "nova",
    "network": "neutron",
    "placement": "placement",
    "volumev3": "cinder",
    "block-storage": "cinder",
    "object-store": "swift",
}
_ADMIN_OPTIONS = {"ignore_change_password_upon_first_use": True}  # the cloud's own programs log in with it
_SYSTEM_ACTOR = Actor(user_id="bootstrap")


def create_keys(settings: IdentitySettings) -> None:
    """Make the key repositories for tokens, receipts and credentials, where they do not exist."""
    create_repository(settings.token_keys)
    create_repository(settings.receipt_keys)
    create_repository(settings.credential_keys)
    if settings.token_provider == "jws" and not has_keypair(settings.jws_private_keys):  # noqa: S105 - a format
        create_keypair(settings.jws_private_keys, settings.jws_public_keys)


def bootstrap(
    tx: Tx,
    identity: Identity,
    *,
    admin_password: str,
    region: str,
    endpoints: Mapping[str, str],
    public_url: str,
) -> Actor:
    """Have the default domain, the roles, the projects admin and service, the user admin, region and catalog.

    `endpoints`: service type -> path below `public_url` ("/compute/v2.1"); addresses that differ are corrected.
    `admin_password` is only used when the user is created. The user admin holds the role admin on the project
    admin and on the system.

    Answers that administrator, for what else a new cloud begins with.
    """
    if projects_store.get(tx, DEFAULT_DOMAIN) is None:
        sent = Sent({"name": "Default", "description": "The default domain"}, {})
        identity.projects.create_domain(tx, sent, DEFAULT_DOMAIN)
    roles = {name: _role(tx, identity, name) for name in ROLES}
    for prior, implied in IMPLIED:
        roles_store.imply(tx, roles[prior].id, roles[implied].id)
    projects = {name: _project(tx, identity, name) for name in (ADMIN, SERVICE)}
    admin = users_store.USERS.named(tx, ADMIN, domain_id=DEFAULT_DOMAIN)
    if admin is None:
        sent = Sent({"name": ADMIN, "password": admin_password, "options": _ADMIN_OPTIONS}, {})
        admin = identity.users.create(tx, DEFAULT_DOMAIN, sent, identity.users.hashed(sent, checked=False))
    for kind, target_id in (("project", projects[ADMIN]), ("system", SYSTEM)):
        assignment = Assignment(
            actor_kind="user",
            actor_id=admin.id,
            target_kind="system" if kind == "system" else "project",
            target_id=target_id,
            role_id=roles[ADMIN].id,
        )
        identity.roles.grant(tx, assignment, roles[ADMIN], DEFAULT_DOMAIN)
    for service_type, path in endpoints.items():
        name = NAMES.get(service_type, service_type)
        identity.catalog.ensure(tx, service_type, name, region, public_url.rstrip("/") + path)
    return Actor(
        user_id=admin.id,
        user_name=ADMIN,
        project_id=projects[ADMIN],
        project_name=ADMIN,
        project_domain_id=DEFAULT_DOMAIN,
        roles=frozenset(ROLES) - {SERVICE},
        is_admin=True,
    )


def admit(tx: Tx, identity: Identity, user_id: str, password: str) -> None:
    """Let the administrator in with this password: it is set if it is another one, and the user enabled.

    For who has lost the password, or is locked out.
    """
    user = identity.users.find(tx, user_id)
    if user is None:
        raise missing("user", user_id)
    if not identity.logins.has_password(tx, user, password):
        sent = Sent({"password": password}, {})
        user = identity.users.update(tx, user, sent, identity.users.hashed(sent, checked=False))
    identity.users.update(tx, user, Sent({"enabled": True}, {}), None)


def _role(tx: Tx, identity: Identity, name: str) -> Role:
    found = identity.roles.page(tx, Wanted({"name": name, "domain_id": None})).things
    options = {"immutable": True} if name != SERVICE else {}
    return found[0] if found else identity.roles.create(tx, Sent({"name": name, "options": options}, {}))


def _project(tx: Tx, identity: Identity, name: str) -> str:
    project = projects_store.by_name(tx, name, DEFAULT_DOMAIN)
    if project is None:
        sent = Sent({"name": name, "description": f"Bootstrap project {name}."}, {})
        project = identity.projects.create_project(tx, identity.projects.place_of(tx, _SYSTEM_ACTOR, sent), sent)
    return project.id
