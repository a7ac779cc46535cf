"""What a token shall be for: the `scope` of a login, found in the database."""

from typing import Any

import msgspec

from pileus.identity.application_credentials.domain import ApplicationCredential
from pileus.identity.domain import Project, User
from pileus.identity.fernet import ScopeKind
from pileus.identity.oauth1.domain import AccessToken
from pileus.identity.projects import store as projects_store
from pileus.identity.roles.service import Roles
from pileus.identity.tokens.methods import Login, domain_id_of
from pileus.identity.trusts.domain import Trust
from pileus.identity.trusts.service import Trusts
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Forbidden, Unauthorized


class Place(msgspec.Struct, frozen=True):
    """What a token is asked for. `trust`, `application_credential`, `access_token`: what limits it."""

    kind: ScopeKind
    project: Project | None = None
    trust: Trust | None = None
    application_credential: ApplicationCredential | None = None
    access_token: AccessToken | None = None


class Scopes:
    """Finds places."""

    def __init__(self, roles: Roles, trusts: Trusts) -> None:
        self._roles = roles
        self._trusts = trusts

    def place(self, tx: Tx, login: Login, scope: Any) -> Place:
        """What the token shall be for. BadRequest if the scope makes no sense; Unauthorized if it does not exist."""
        user = login.user
        if login.access_token is not None:
            if login.application_credential is not None:
                raise Unauthorized("Application credentials and access tokens cannot be combined.")
            return _of_access_token(tx, login.access_token, user, scope)
        if login.application_credential is not None:
            return self.of_application_credential(tx, login.application_credential, scope)
        if scope == "unscoped":
            return Place("unscoped")
        if not scope:
            return self._default(tx, user)
        if not isinstance(scope, dict) or len(scope) != 1:
            raise BadRequest("scope must be 'unscoped', or name one of project, domain and system.")
        kind, value = next(iter(scope.items()))
        if not isinstance(value, dict):
            raise BadRequest(f"scope.{kind} must be an object.")
        if kind == "system":
            if value.get("all") is not True:
                raise BadRequest("scope.system must be {'all': true}.")
            return Place("system")
        if kind == "domain":
            return Place("domain", _found_domain(tx, user, value))
        if kind == "project":
            return Place("project", _found_project(tx, user, value))
        if kind == "OS-TRUST:trust":
            return self._of_trust_asked(tx, user, value)
        raise BadRequest(f"Tokens cannot be scoped to '{kind}'.")

    @staticmethod
    def of_application_credential(tx: Tx, credential: ApplicationCredential, scope: Any = None) -> Place:
        """An application credential is for its project, and nothing else can be asked for."""
        if scope:
            raise Unauthorized("Application credentials cannot request a scope.")
        project = projects_store.PROJECTS.get(tx, credential.project_id)
        return Place("project", project, application_credential=credential)

    def of_trust(self, tx: Tx, trust: Trust | None, user: User) -> Place:
        """What a trust is for. Unauthorized if it is not there or used up; Forbidden for all but its trustee."""
        if trust is None or not self._trusts.is_usable(trust):
            raise Unauthorized("Could not find the trust.")
        if trust.trustee_user_id != user.id:
            raise Forbidden("User is not a trustee.")
        if trust.project_id is None:
            return Place("unscoped", trust=trust)
        return Place("project", projects_store.PROJECTS.get(tx, trust.project_id), trust=trust)

    def _of_trust_asked(self, tx: Tx, user: User, value: dict[str, Any]) -> Place:
        trust_id = value.get("id")
        if not isinstance(trust_id, str):
            raise BadRequest("scope.OS-TRUST:trust must have an id.")
        return self.of_trust(tx, self._trusts.find(tx, trust_id), user)

    def _default(self, tx: Tx, user: User) -> Place:
        """The user's default project where the user has a role on it, else nothing."""
        project = projects_store.PROJECTS.get(tx, user.default_project_id) if user.default_project_id else None
        if project is None or not project.enabled or not self._roles.on_project(tx, user.id, project):
            return Place("unscoped")
        domain = projects_store.PROJECTS.get(tx, project.home)
        return Place("project", project) if domain is not None and domain.enabled else Place("unscoped")


def _of_access_token(tx: Tx, token: AccessToken, user: User, scope: Any) -> Place:
    """An access token of OAuth is for its project; the request may name that one, and nothing else."""
    if scope:
        value = scope.get("project") if isinstance(scope, dict) and len(scope) == 1 else None
        if not isinstance(value, dict) or _found_project(tx, user, value).id != token.project_id:
            raise Unauthorized("An access token is for its own project only.")
    return Place("project", projects_store.PROJECTS.get(tx, token.project_id), access_token=token)


def _found_domain(tx: Tx, user: User, value: dict[str, Any]) -> Project:
    reference = _reference(value, "scope.domain")
    found = (
        projects_store.PROJECTS.get(tx, reference.id)
        if reference.id is not None
        else projects_store.by_name(tx, reference.name or "", "")
    )
    if found is None or not found.is_domain:
        raise Unauthorized(f"User {user.id} has no access to domain {reference.id or reference.name}.")
    return found


def _found_project(tx: Tx, user: User, value: dict[str, Any]) -> Project:
    reference = _reference(value, "scope.project")
    if reference.id is not None:
        found = projects_store.PROJECTS.get(tx, reference.id)
    else:
        domain = value.get("domain")
        if not isinstance(domain, dict):
            raise BadRequest("A project is named by its id, or by its name and domain.")
        named = _reference(domain, "scope.project.domain")
        domain_id = domain_id_of(tx, named.id, named.name)
        found = projects_store.by_name(tx, reference.name or "", domain_id) if domain_id else None
    if found is None:
        raise Unauthorized(f"User {user.id} has no access to project {reference.id or reference.name}.")
    return found


class _Reference(msgspec.Struct, frozen=True):
    id: str | None = None
    name: str | None = None


def _reference(value: dict[str, Any], where: str) -> _Reference:
    thing_id, name = value.get("id"), value.get("name")
    if not isinstance(thing_id, str) and not isinstance(name, str):
        raise BadRequest(f"{where} must have an id or a name.")
    return _Reference(thing_id if isinstance(thing_id, str) else None, name if isinstance(name, str) else None)
