"""Identity's operations, each with a request that succeeds for whoever may make it."""

from collections.abc import Callable, Iterable
from typing import Any

from tests.access import identity_things as things
from tests.access.domains import PASSWORD, SYSTEM_ADMIN, login
from tests.access.identity_things import on
from tests.access.matrix import Attempt, Attempts, Body
from tests.access.stage import MEMBER, Stage, Thing

BOTH = ("here", "there")
"""Things of the personas' domain, and of the other one."""
OWN = (*BOTH, "own")

_PART = "other rules refer to it"
RULES_WITHIN = {
    "context_is_admin": "who is an administrator at all, which every token says of its owner",
    "service_admin_or_token_subject": "policy files refer to it",
    **dict.fromkeys(
        (
            "admin_required", "admin_or_owner", "admin_or_token_subject", "domain_managed_target_role", "owner",
            "service_or_admin", "service_role", "token_subject",
        ),
        _PART,
    ),
}  # fmt: skip
"""Rules that no operation asks by itself, and what they are for."""


def _none(_stage: Stage) -> None:
    """No body."""


def _new(key: str, **values: Any) -> Callable[[Stage], Any]:
    """A body that makes something with a new name."""
    return lambda stage: {key: {"name": stage.new_name(), **values}}


def _in(key: str, kind: str, **values: Any) -> Callable[[Stage], Any]:
    """A body that makes something with a new name in a domain."""
    return lambda stage: {key: {"name": stage.new_name(), "domain_id": on(stage).domain(kind), **values}}


def _body(value: Any) -> Callable[[Stage], Any]:
    return lambda _stage: value


def _change(key: str, **values: Any) -> Callable[[Stage], Any]:
    return _body({key: values or {"description": "changed"}})


def _shows(key: str, path: str = "") -> Callable[[Any, Thing], Iterable[str]]:
    """The paths of what a list shows."""
    return lambda body, _thing: [f"{path or '/' + key}/{one['id']}" for one in body[key]]


def _simple(one: str, many: str, thing: things.Maker, create: Body = _none, **more: Any) -> Attempts:
    """The five operations on things of a kind that rules ask nothing about."""
    parameter = more.get("parameter", f"{{{one}_id}}")
    path = more.get("path", f"/{many}")
    return {
        f"GET {path}": Attempt(things.all_of(thing, ""), shows=_shows(many, path)),
        f"POST {path}": Attempt(more.get("new", things.nothing), body=create),
        f"GET {path}/{parameter}": Attempt(thing),
        f"PATCH {path}/{parameter}": Attempt(thing, body=more.get("change", _change(one))),
        f"DELETE {path}/{parameter}": Attempt(thing),
    }


# --- tokens -------------------------------------------------------------------------------------------------


def _login(stage: Stage) -> Any:
    member = stage.apis[MEMBER]
    return login(member.user_id, "password of home", {"project": {"id": stage.home}})


TOKENS: Attempts = {
    "POST /auth/tokens": Attempt(things.nothing, body=_login),
    "GET /auth/tokens": Attempt(things.token),
    "HEAD /auth/tokens": Attempt(things.token),
    "DELETE /auth/tokens": Attempt(things.token),
    **{f"GET /auth/{what}": Attempt(things.nothing) for what in ("catalog", "projects", "domains", "system")},
    "GET /OS-REVOKE/events": Attempt(things.nothing),
    "GET /OS-SIMPLE-CERT/ca": Attempt(things.nothing, answer=410),
    "GET /OS-SIMPLE-CERT/certificates": Attempt(things.nothing, answer=410),
    "GET /auth/tokens/OS-PKI/revoked": Attempt(things.nothing, answer=410),
}

# --- domains, projects, users, groups -----------------------------------------------------------------------

_DOMAIN, _PROJECT, _USER, _GROUP = (
    "/domains/{domain_id}",
    "/projects/{project_id}",
    "/users/{user_id}",
    "/groups/{group_id}",
)
_PASSWORDS = "identity:get_security_compliance_domain_config"
_CONFIG = {"config": {"ldap": {"url": "ldap://other.example"}}}

DOMAINS: Attempts = {
    "GET /domains": Attempt(things.nothing_of_domain("domain.id"), shows=_shows("domains")),
    "POST /domains": Attempt(things.nothing, body=_new("domain")),
    f"GET {_DOMAIN}": Attempt(things.domain, ("here", "new")),
    f"PATCH {_DOMAIN}": Attempt(things.domain, ("here", "new"), body=_change("domain")),
    f"DELETE {_DOMAIN}": Attempt(things.domain),
    f"PUT {_DOMAIN}/config": Attempt(things.domain_config, ("without",), body=_body(_CONFIG)),
    f"PATCH {_DOMAIN}/config": Attempt(things.domain_config, body=_body(_CONFIG)),
    f"PATCH {_DOMAIN}/config/{{group}}": Attempt(things.domain_config, body=_body(_CONFIG)),
    f"PATCH {_DOMAIN}/config/{{group}}/{{option}}": Attempt(
        things.domain_config, body=_body({"config": {"url": "ldap://other.example"}})
    ),
    **{
        f"{method} {_DOMAIN}/config{part}": Attempt(things.domain_config)
        for method in ("GET", "DELETE")
        for part in ("", "/{group}", "/{group}/{option}")
    },
    **{
        f"GET {_DOMAIN}/config{part} (passwords)": Attempt(things.domain_config, ("passwords",), rule=_PASSWORDS)
        for part in ("/{group}", "/{group}/{option}")
    },
    **{
        f"GET /domains/config{part}/default": Attempt(things.domain_config)
        for part in ("", "/{group}", "/{group}/{option}")
    },
}

PROJECTS: Attempts = {
    "GET /projects": Attempt(things.nothing_of_domain("domain_id"), shows=_shows("projects")),
    "POST /projects": Attempt(things.of_domain("project__domain_id"), ("here",), body=_in("project", "here")),
    "POST /projects (there)": Attempt(things.of_domain("project__domain_id"), ("there",), body=_in("project", "there")),
    "POST /projects (domain)": Attempt(
        things.nothing, body=_new("project", is_domain=True), rule="identity:create_domain"
    ),
    f"GET {_PROJECT}": Attempt(things.project, OWN),
    f"PATCH {_PROJECT}": Attempt(things.project, OWN, body=_change("project")),
    f"DELETE {_PROJECT}": Attempt(things.project, BOTH),
    f"GET {_PROJECT}/tags": Attempt(things.project, OWN),
    f"PUT {_PROJECT}/tags": Attempt(things.project, OWN, body=_body({"tags": ["new"]})),
    f"DELETE {_PROJECT}/tags": Attempt(things.project, OWN),
    f"GET {_PROJECT}/tags/{{tag}}": Attempt(things.project, OWN),
    f"PUT {_PROJECT}/tags/{{tag}}": Attempt(things.project, OWN),
    f"DELETE {_PROJECT}/tags/{{tag}}": Attempt(things.project, OWN),
}

_NEW_PASSWORD = {"user": {"original_password": PASSWORD, "password": "the one after it"}}
USERS: Attempts = {
    "GET /users": Attempt(things.nothing_of_domain("domain_id"), shows=_shows("users")),
    "POST /users": Attempt(things.of_domain("user__domain_id"), ("here",), body=_in("user", "here")),
    "POST /users (there)": Attempt(things.of_domain("user__domain_id"), ("there",), body=_in("user", "there")),
    f"GET {_USER}": Attempt(things.user, OWN),
    f"PATCH {_USER}": Attempt(things.user, OWN, body=_change("user")),
    f"DELETE {_USER}": Attempt(things.user, BOTH),
    f"DELETE {_USER}/tokens": Attempt(things.user, BOTH),
    f"POST {_USER}/password": Attempt(things.user, BOTH, body=_body(_NEW_PASSWORD)),
    f"GET {_USER}/groups": Attempt(things.user, OWN),
    f"GET {_USER}/projects": Attempt(things.user, OWN),
    "GET /groups": Attempt(things.groups, shows=_shows("groups")),
    "POST /groups": Attempt(things.of_domain("group__domain_id"), ("here",), body=_in("group", "here")),
    "POST /groups (there)": Attempt(things.of_domain("group__domain_id"), ("there",), body=_in("group", "there")),
    f"GET {_GROUP}": Attempt(things.group, BOTH),
    f"PATCH {_GROUP}": Attempt(things.group, BOTH, body=_change("group")),
    f"DELETE {_GROUP}": Attempt(things.group, BOTH),
    f"GET {_GROUP}/users": Attempt(things.group, BOTH),
    f"PUT {_GROUP}{_USER}": Attempt(things.pair, (*BOTH, "mixed")),
    f"GET {_GROUP}{_USER}": Attempt(things.membership, (*BOTH, "mixed")),
    f"DELETE {_GROUP}{_USER}": Attempt(things.membership, (*BOTH, "mixed")),
}

# --- roles --------------------------------------------------------------------------------------------------

_ROLE = "/roles/{role_id}"
_IMPLIED = f"{_ROLE}/implies/{{implied_role_id}}"
_OF_DOMAIN = ("of a domain",)


def _grants() -> Attempts:
    """Every operation on the roles of users and groups, on projects, domains and the system."""
    found: dict[str, Attempt] = {}
    for who in ("/users/{user_id}", "/groups/{group_id}"):
        for place in (_PROJECT, _DOMAIN):
            found |= _operations(f"{place}{who}/roles", "")
            found |= _operations(f"/OS-INHERIT{place}{who}/roles", "/inherited_to_projects")
        found |= _operations(f"/system{who}/roles", "")
    return found


def _operations(path: str, end: str) -> Attempts:
    one = f"{path}/{{role_id}}{end}"
    kinds = ("here",) if path.startswith("/system") else BOTH
    granted = things.granting(one)
    attempts = {
        f"GET {path}{end}": Attempt(granted, kinds),
        f"GET {one}": Attempt(granted, kinds),
        f"PUT {one}": Attempt(things.granting(one, granted=False), kinds),
        f"DELETE {one}": Attempt(granted, kinds),
    }
    if not path.startswith("/system"):
        attempts[f"PUT {one} (as admin)"] = Attempt(things.granting(one, granted=False, role_name="admin"), kinds)
        attempts[f"DELETE {one} (as admin)"] = Attempt(things.granting(one, role_name="admin"), kinds)
    return attempts


ROLES: Attempts = {
    "GET /roles": Attempt(things.all_of(things.role, "")),
    "GET /roles (of a domain)": Attempt(
        things.role, _OF_DOMAIN, query="?domain_id={domain_id}", rule="identity:list_domain_roles",
        shows=_shows("roles"),
    ),
    "POST /roles": Attempt(things.nothing, body=_new("role")),
    "POST /roles (of a domain)": Attempt(
        things.nothing, body=_in("role", "here"), rule="identity:create_domain_role"
    ),
    f"GET {_ROLE}": Attempt(things.role, ("", "manager")),
    f"GET {_ROLE} (of a domain)": Attempt(things.role, _OF_DOMAIN, rule="identity:get_domain_role"),
    f"PATCH {_ROLE}": Attempt(things.role, body=_change("role")),
    f"PATCH {_ROLE} (of a domain)": Attempt(
        things.role, _OF_DOMAIN, body=_change("role"), rule="identity:update_domain_role"
    ),
    f"DELETE {_ROLE}": Attempt(things.role),
    f"DELETE {_ROLE} (of a domain)": Attempt(things.role, _OF_DOMAIN, rule="identity:delete_domain_role"),
    "GET /role_inferences": Attempt(things.nothing),
    f"GET {_ROLE}/implies": Attempt(things.two_roles, ("implied",)),
    f"GET {_IMPLIED}": Attempt(things.two_roles, ("implied",)),
    f"HEAD {_IMPLIED}": Attempt(things.two_roles, ("implied",)),
    f"PUT {_IMPLIED}": Attempt(things.two_roles),
    f"DELETE {_IMPLIED}": Attempt(things.two_roles, ("implied",)),
    "GET /role_assignments": Attempt(things.nothing_of_domain("domain_id")),
    "GET /role_assignments (below)": Attempt(
        things.project, OWN, query="?scope.project.id={project_id}&include_subtree",
        rule="identity:list_role_assignments_for_tree",
    ),
    **_grants(),
}  # fmt: skip

# --- catalog ------------------------------------------------------------------------------------------------


_LIMITED = ("project", "elsewhere", "domain")
CATALOG: Attempts = {
    **_simple("region", "regions", things.region, lambda stage: {"region": {"id": stage.new_name()}}),
    "PUT /regions/{region_id}": Attempt(things.new_region, body=_body({"region": {}})),
    **_simple("service", "services", things.service, lambda stage: {"service": {"type": stage.new_name()}}),
    **_simple("endpoint", "endpoints", things.endpoint, new=things.new_endpoint, change=_change("endpoint", url="http://f.example")),
    **_simple(
        "policy", "policies", things.policy, _body({"policy": {"type": "text/plain", "blob": "b"}}),
        change=_change("policy", blob="c"),
    ),
    **_simple(
        "registered_limit", "registered_limits", things.registered_limit, new=things.new_registered_limit,
        change=_change("registered_limit", default_limit=3),
    ),
    "GET /limits/model": Attempt(things.nothing),
    "GET /limits": Attempt(things.all_of(things.limit, *_LIMITED), shows=_shows("limits")),
    "POST /limits": Attempt(things.new_limit),
    "GET /limits/{limit_id}": Attempt(things.limit, _LIMITED),
    "PATCH /limits/{limit_id}": Attempt(things.limit, _LIMITED, body=_change("limit", resource_limit=0)),
    "DELETE /limits/{limit_id}": Attempt(things.limit, _LIMITED),
}  # fmt: skip


def _associations(path: str, thing: things.Maker) -> Attempts:
    """Checking, making and ending an association of two things."""
    return {
        f"GET {path}": Attempt(things.associated(thing, path)),
        f"PUT {path}": Attempt(thing),
        f"DELETE {path}": Attempt(things.associated(thing, path)),
    }


_FILTER = "/OS-EP-FILTER"
_ENDPOINT_GROUP = f"{_FILTER}/endpoint_groups/{{endpoint_group_id}}"
_OF_POLICY = "/policies/{policy_id}/OS-ENDPOINT-POLICY"
_ENDPOINT = "/endpoints/{endpoint_id}"
ASSOCIATIONS: Attempts = {
    **_simple(
        "endpoint_group", "endpoint_groups", things.endpoint_group,
        _new("endpoint_group", filters={"interface": "public"}), path=f"{_FILTER}/endpoint_groups",
    ),
    f"GET {_ENDPOINT_GROUP}/endpoints": Attempt(things.endpoint_group),
    f"GET {_ENDPOINT_GROUP}/projects": Attempt(things.endpoint_group),
    **_associations(f"{_ENDPOINT_GROUP}{_PROJECT}", things.endpoint_group),
    f"GET {_FILTER}{_PROJECT}/endpoint_groups": Attempt(things.endpoint_group),
    f"GET {_FILTER}{_PROJECT}/endpoints": Attempt(things.endpoint_and_project),
    **_associations(f"{_FILTER}{_PROJECT}{_ENDPOINT}", things.endpoint_and_project),
    f"GET {_FILTER}{_ENDPOINT}/projects": Attempt(things.endpoint),
    **{
        name: attempt
        for place in (_ENDPOINT, "/services/{service_id}", "/services/{service_id}/regions/{region_id}")
        for name, attempt in _associations(f"{_OF_POLICY}{place}", things.endpoint_and_policy).items()
    },
    f"GET {_OF_POLICY}/endpoints": Attempt(things.policy),
    f"GET {_ENDPOINT}/OS-ENDPOINT-POLICY/policy": Attempt(things.with_policy(_ENDPOINT)),
}  # fmt: skip

# --- what users have ----------------------------------------------------------------------------------------


def _new_credential(stage: Stage) -> Any:
    return {"credential": {"user_id": stage.apis[MEMBER].user_id, "type": "certificate", "blob": stage.new_name()}}


_CREDENTIAL = "/credentials/{credential_id}"
_EC2 = f"{_USER}/credentials/OS-EC2"
_APPLICATION = f"{_USER}/application_credentials"
_ACCESS = f"{_USER}/access_rules"
_TRUST = "/OS-TRUST/trusts/{trust_id}"
_GRANTED = f"{_USER}/OS-OAUTH1/access_tokens"
_SIGNATURE = {"credentials": {"access": "a", "signature": "s", "token": "dA=="}}
OWNED: Attempts = {
    "GET /credentials": Attempt(things.credentials, shows=_shows("credentials")),
    "POST /credentials": Attempt(things.own, body=_new_credential),
    f"GET {_CREDENTIAL}": Attempt(things.credential),
    f"PATCH {_CREDENTIAL}": Attempt(things.credential, body=_change("credential", blob="c")),
    f"DELETE {_CREDENTIAL}": Attempt(things.credential),
    f"GET {_EC2}": Attempt(things.own),
    f"POST {_EC2}": Attempt(things.own, body=lambda stage: {"tenant_id": stage.home}),
    f"GET {_EC2}/{{credential_id}}": Attempt(things.ec2_credential),
    f"DELETE {_EC2}/{{credential_id}}": Attempt(things.ec2_credential),
    "POST /OS-OAUTH2/token": Attempt(things.client),
    "POST /ec2tokens": Attempt(things.nothing, body=_body(_SIGNATURE), answer=401),
    "POST /s3tokens": Attempt(things.nothing, body=_body(_SIGNATURE), answer=401),
    f"GET {_APPLICATION}": Attempt(things.own),
    f"POST {_APPLICATION}": Attempt(things.own, body=_new("application_credential")),
    f"GET {_APPLICATION}/{{application_credential_id}}": Attempt(things.application_credential),
    f"DELETE {_APPLICATION}/{{application_credential_id}}": Attempt(things.application_credential),
    f"GET {_ACCESS}": Attempt(things.own),
    f"GET {_ACCESS}/{{access_rule_id}}": Attempt(things.application_credential),
    f"DELETE {_ACCESS}/{{access_rule_id}}": Attempt(things.application_credential, ("gone",)),
    "GET /OS-TRUST/trusts": Attempt(things.all_of(things.trust, ""), shows=_shows("trusts", "/OS-TRUST/trusts")),
    "GET /OS-TRUST/trusts (of a trustor)": Attempt(
        things.trusts_of("trustor"), query="?trustor_user_id={user_id}", rule="identity:list_trusts_for_trustor",
        shows=_shows("trusts", "/OS-TRUST/trusts"),
    ),
    "GET /OS-TRUST/trusts (of a trustee)": Attempt(
        things.trusts_of("trustee"), query="?trustee_user_id={user_id}", rule="identity:list_trusts_for_trustee",
        shows=_shows("trusts", "/OS-TRUST/trusts"),
    ),
    "POST /OS-TRUST/trusts": Attempt(things.own, body=things.new_trust),
    f"GET {_TRUST}": Attempt(things.trust),
    f"DELETE {_TRUST}": Attempt(things.trust),
    f"GET {_TRUST}/roles": Attempt(things.trust),
    f"GET {_TRUST}/roles/{{role_id}}": Attempt(things.trust),
    **_simple(
        "consumer", "consumers", things.consumer, _change("consumer"), path="/OS-OAUTH1/consumers",
    ),
    "POST /OS-OAUTH1/request_token": Attempt(things.nothing, answer=400),
    "PUT /OS-OAUTH1/authorize/{request_token_id}": Attempt(
        things.request_token, body=_body({"roles": [{"name": "member"}]}), besides={SYSTEM_ADMIN: 401}
    ),
    "POST /OS-OAUTH1/access_token": Attempt(things.nothing, answer=401),
    f"GET {_GRANTED}": Attempt(things.access_token),
    f"GET {_GRANTED}/{{access_token_id}}": Attempt(things.access_token),
    f"DELETE {_GRANTED}/{{access_token_id}}": Attempt(things.access_token),
    f"GET {_GRANTED}/{{access_token_id}}/roles": Attempt(things.access_token),
    f"GET {_GRANTED}/{{access_token_id}}/roles/{{role_id}}": Attempt(things.access_token),
}  # fmt: skip

# --- federation ---------------------------------------------------------------------------------------------


def _put(path: str, many: str, thing: things.Maker, parameter: str, body: Any, change: Any) -> Attempts:
    """The five operations on things that are made under a name of the caller's choice."""
    one = f"{path}/{{{parameter}}}"
    return {
        f"GET {path}": Attempt(things.all_of(thing, ""), shows=_shows(many, path)),
        f"PUT {one}": Attempt(things.new(parameter), body=_body(body)),
        f"GET {one}": Attempt(thing),
        f"PATCH {one}": Attempt(thing, body=_body(change)),
        f"DELETE {one}": Attempt(thing),
    }


_FED = "/OS-FEDERATION"
_IDP = f"{_FED}/identity_providers"
_PROTOCOL = f"{_IDP}/{{idp_id}}/protocols"
_SP = {"auth_url": "http://s.example/auth", "sp_url": "http://s.example/sp"}
_SSO = f"/auth{_FED}"
_NOBODY = Attempt(things.protocol, answer=401)
FEDERATION: Attempts = {
    **_put(_IDP, "identity_providers", things.provider, "idp_id",
           {"identity_provider": {}}, {"identity_provider": {"description": "d"}}),
    **_put(f"{_FED}/mappings", "mappings", things.mapping, "mapping_id",
           {"mapping": {"rules": things.RULES}}, {"mapping": {"rules": things.RULES}}),
    **_put(f"{_FED}/service_providers", "service_providers", things.service_provider, "sp_id",
           {"service_provider": _SP}, {"service_provider": {"description": "d"}}),
    f"GET {_PROTOCOL}": Attempt(things.protocol),
    f"PUT {_PROTOCOL}/{{protocol_id}}": Attempt(things.protocol, ("new",)),
    f"GET {_PROTOCOL}/{{protocol_id}}": Attempt(things.protocol),
    f"PATCH {_PROTOCOL}/{{protocol_id}}": Attempt(things.protocol),
    f"DELETE {_PROTOCOL}/{{protocol_id}}": Attempt(things.protocol),
    f"GET {_FED}/projects": Attempt(things.nothing),
    f"GET {_FED}/domains": Attempt(things.nothing),
    f"GET {_FED}/saml2/metadata": Attempt(things.nothing, answer=501),
    f"POST {_SSO}/saml2": Attempt(things.nothing, answer=501),
    f"POST {_SSO}/saml2/ecp": Attempt(things.nothing, answer=501),
    **{
        f"{method} {path}": _NOBODY
        for method in ("GET", "POST")
        for path in (
            f"{_PROTOCOL}/{{protocol_id}}/auth",
            f"{_SSO}/websso/{{protocol_id}}",
            f"{_SSO}/identity_providers/{{idp_id}}/protocols/{{protocol_id}}/websso",
            f"{_SSO}/identity_providers/{{idp_id}}/protocol/{{protocol_id}}/websso",
        )
    },
    f"GET {_SSO}/identity_providers/{{idp_id}}/protocols/{{protocol_id}}/redirect_uri": _NOBODY,
}  # fmt: skip

ATTEMPTS: Attempts = {
    **TOKENS, **DOMAINS, **PROJECTS, **USERS, **ROLES, **CATALOG, **ASSOCIATIONS, **OWNED, **FEDERATION,
}  # fmt: skip
