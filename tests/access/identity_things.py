"""What requests to identity are about: each made by those who may make it."""

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qs, quote

from pileus.identity.oauth1.signature import signature
from pileus.kernel.auth import Actor
from pileus.kernel.clock import MICROSECONDS
from pileus.kernel.policy import Target
from tests.access.domains import HERE, PASSWORD, DomainStage
from tests.access.stage import ADMIN, MEMBER, STRANGER, Stage, Thing
from tests.world import PUBLIC_URL

V3 = "/identity/v3"
Maker = Callable[[Stage, str], Thing]


def on(stage: Stage) -> DomainStage:
    """The stage, which is one of domains."""
    assert isinstance(stage, DomainStage)
    return stage


def make(stage: Stage, path: str, key: str, **values: Any) -> Any:
    """What an administrator makes."""
    return stage.apis[ADMIN].ok("POST", V3 + path, {key: values})[key]


def about(**values: Any) -> Callable[[Actor], Target]:
    """A target that is the same for all callers: `user__id` is `target.user.id`."""
    target = {f"target.{name.replace('__', '.')}": value for name, value in values.items()}
    return lambda _actor: target


def anything(_actor: Actor) -> Target:
    """The target of rules that ask nothing about one."""
    return {}


def nothing(_stage: Stage, _kind: str) -> Thing:
    return Thing({}, anything)


def nothing_of_domain(name: str) -> Maker:
    """No thing: rules are asked about the domain that the caller's token is for, under this name."""

    def target(actor: Actor) -> Target:
        return {} if actor.domain_id is None else {f"target.{name}": actor.domain_id}

    return lambda _stage, _kind: Thing({}, target)


# --- domains, projects, users, groups -----------------------------------------------------------------------


def domain(stage: Stage, kind: str) -> Thing:
    """A domain: that of the personas, or a new one, which is disabled so that it can be deleted."""
    domain_id = (
        HERE if kind == "here" else make(stage, "/domains", "domain", name=stage.new_name(), enabled=False)["id"]
    )
    return Thing({"domain_id": domain_id}, about(domain__id=domain_id, project__domain_id=domain_id))


def of_domain(name: str) -> Maker:
    """Something new in a domain: rules are asked about the domain, under this name."""
    return lambda stage, kind: Thing({}, about(**{name: on(stage).domain(kind)}))


def project(stage: Stage, kind: str) -> Thing:
    """A project with a tag: a new one here or there, or the personas' own."""
    project_id = stage.home
    if kind != "own":
        values = {"name": stage.new_name(), "domain_id": on(stage).domain(kind), "tags": ["old"]}
        project_id = make(stage, "/projects", "project", **values)["id"]
    else:
        stage.apis[ADMIN].ok("PUT", f"{V3}/projects/{project_id}/tags/old")
    target = about(project__id=project_id, project__domain_id=on(stage).domain(kind))
    return Thing({"project_id": project_id, "tag": "old"}, target)


def user(stage: Stage, kind: str) -> Thing:
    """A user: a new one here or there, or the persona `member`."""
    user_id = stage.apis[MEMBER].user_id
    if kind != "own":
        values = {"name": stage.new_name(), "domain_id": on(stage).domain(kind), "password": PASSWORD}
        user_id = make(stage, "/users", "user", **values)["id"]
    return Thing({"user_id": user_id}, about(user__id=user_id, user__domain_id=on(stage).domain(kind)))


def group(stage: Stage, kind: str) -> Thing:
    domain_id = on(stage).domain(kind)
    group_id = make(stage, "/groups", "group", name=stage.new_name(), domain_id=domain_id)["id"]
    return Thing({"group_id": group_id}, about(group__id=group_id, group__domain_id=domain_id))


def groups(stage: Stage, _kind: str) -> Thing:
    """A group here and one there."""
    for kind in ("here", "there"):
        group(stage, kind)
    return nothing_of_domain("group.domain_id")(stage, "")


def pair(stage: Stage, kind: str) -> Thing:
    """A group and a user; both here, both there, or (`mixed`) the group here and the user there."""
    both = {**group(stage, kind).params, **user(stage, "there" if kind == "mixed" else kind).params}
    domains = [on(stage).domain(kind), on(stage).domain("there" if kind == "mixed" else kind)]
    return Thing(both, about(group__domain_id=domains[0], user__domain_id=domains[1]))


def membership(stage: Stage, kind: str) -> Thing:
    """A user in a group."""
    made = pair(stage, kind)
    stage.apis[ADMIN].ok("PUT", f"{V3}/groups/{made.params['group_id']}/users/{made.params['user_id']}")
    return made


# --- roles --------------------------------------------------------------------------------------------------


def role(stage: Stage, kind: str) -> Thing:
    """A role: a new one, global or of a domain, or the role `manager`."""
    if kind == "manager":
        return Thing({"role_id": on(stage).roles[kind]}, about(role__name=kind))
    domain_id = HERE if kind == "of a domain" else None
    made = make(stage, "/roles", "role", name=stage.new_name(), domain_id=domain_id)
    return Thing({"role_id": made["id"], "domain_id": HERE}, anything)


def two_roles(stage: Stage, kind: str) -> Thing:
    """Two roles, the first of which implies the other if the kind is `implied`."""
    first, second = role(stage, "").params["role_id"], role(stage, "").params["role_id"]
    if kind == "implied":
        stage.apis[ADMIN].ok("PUT", f"{V3}/roles/{first}/implies/{second}")
    return Thing({"role_id": first, "implied_role_id": second}, anything)


def grant(stage: Stage, kind: str, *, path: str, role_name: str = "reader", granted: bool = True) -> Thing:
    """A user or group, a project, domain or the system, and a role: granted, or to be."""
    domain_id = on(stage).domain(kind)
    actor = user(stage, kind) if "{user_id}" in path else group(stage, kind)
    params = {**actor.params, "role_id": on(stage).roles[role_name], "domain_id": domain_id}
    if "{project_id}" in path:
        params["project_id"] = project(stage, kind).params["project_id"]
    if granted:
        stage.apis[ADMIN].ok("PUT", V3 + path.format(**params))
    place = "project.domain_id" if "{project_id}" in path else "domain.id"
    who = "user" if "{user_id}" in path else "group"
    target = {
        f"target.{who}.domain_id": domain_id,
        f"target.{place}": domain_id,
        "target.role.name": role_name,
        "target.role.domain_id": None,
    }
    return Thing(params, lambda _actor: target)


# --- catalog, policies, limits ------------------------------------------------------------------------------


def region(stage: Stage, _kind: str) -> Thing:
    return Thing({"region_id": make(stage, "/regions", "region", id=stage.new_name())["id"]})


def new_region(stage: Stage, _kind: str) -> Thing:
    return Thing({"region_id": stage.new_name()})


def service(stage: Stage, _kind: str) -> Thing:
    return Thing({"service_id": make(stage, "/services", "service", type=stage.new_name())["id"]})


def endpoint(stage: Stage, _kind: str) -> Thing:
    """An endpoint, its service and region."""
    params = {**service(stage, "").params, **region(stage, "").params}
    values = {**params, "interface": "public", "url": "http://e.example"}
    return Thing({**params, "endpoint_id": make(stage, "/endpoints", "endpoint", **values)["id"]})


def new_endpoint(stage: Stage, _kind: str) -> Thing:
    service_id = service(stage, "").params["service_id"]
    body = {"endpoint": {"service_id": service_id, "interface": "public", "url": "http://e.example"}}
    return Thing({}, body=body)


def policy(stage: Stage, _kind: str) -> Thing:
    return Thing({"policy_id": make(stage, "/policies", "policy", type="application/json", blob="{}")["id"]})


def endpoint_and_policy(stage: Stage, _kind: str) -> Thing:
    return Thing({**endpoint(stage, "").params, **policy(stage, "").params})


def with_policy(place: str) -> Maker:
    """An endpoint whose policy document is that of this place: an endpoint, a service, or it in a region."""

    def made(stage: Stage, _kind: str) -> Thing:
        thing = endpoint_and_policy(stage, "")
        stage.apis[ADMIN].ok("PUT", f"{V3}/policies/{{policy_id}}/OS-ENDPOINT-POLICY{place}".format(**thing.params))
        return thing

    return made


def endpoint_group(stage: Stage, _kind: str) -> Thing:
    """A group of all public endpoints, and a project that is not associated with it."""
    values = {"name": stage.new_name(), "filters": {"interface": "public"}}
    made = make(stage, "/OS-EP-FILTER/endpoint_groups", "endpoint_group", **values)
    return Thing({"endpoint_group_id": made["id"], "project_id": project(stage, "").params["project_id"]})


def endpoint_and_project(stage: Stage, _kind: str) -> Thing:
    return Thing({**endpoint(stage, "").params, "project_id": project(stage, "").params["project_id"]})


def associated(thing: Maker, path: str) -> Maker:
    """That thing, after an administrator has associated it."""

    def made(stage: Stage, kind: str) -> Thing:
        found = thing(stage, kind)
        stage.apis[ADMIN].ok("PUT", V3 + path.format(**found.params))
        return found

    return made


def registered_limit(stage: Stage, _kind: str) -> Thing:
    body = new_registered_limit(stage, "").body
    made = stage.apis[ADMIN].ok("POST", f"{V3}/registered_limits", body)["registered_limits"][0]
    return Thing({"registered_limit_id": made["id"], "service_id": made["service_id"]})


def new_registered_limit(stage: Stage, _kind: str) -> Thing:
    service_id = service(stage, "").params["service_id"]
    wanted = {"service_id": service_id, "resource_name": "wings", "default_limit": 2}
    return Thing({}, body={"registered_limits": [wanted]})


def limit(stage: Stage, kind: str) -> Thing:
    """A limit of the personas' project, of the other one, or of their domain."""
    owner, target = {
        "project": ({"project_id": stage.home}, about(limit__project_id=stage.home, limit__project__domain_id=HERE)),
        "elsewhere": (
            {"project_id": stage.elsewhere},
            about(limit__project_id=stage.elsewhere, limit__project__domain_id=HERE),
        ),
        "domain": ({"domain_id": HERE}, about(limit__domain__id=HERE)),
    }[kind]
    made = stage.apis[ADMIN].ok("POST", f"{V3}/limits", new_limit(stage, "", **owner).body)["limits"][0]
    return Thing({"limit_id": made["id"]}, target)


def new_limit(stage: Stage, _kind: str, **owner: str) -> Thing:
    """What is registered and not limited yet, for the personas' project if nothing else is said."""
    service_id = registered_limit(stage, "").params["service_id"]
    wanted = {"service_id": service_id, "resource_name": "wings", "resource_limit": 1}
    return Thing({}, body={"limits": [{**wanted, **(owner or {"project_id": stage.home})}]})


def all_of(thing: Maker, *kinds: str) -> Maker:
    """Things of all kinds. No rule asks about them."""

    def made(stage: Stage, _kind: str) -> Thing:
        for kind in kinds:
            thing(stage, kind)
        return Thing({}, anything)

    return made


def domain_config(stage: Stage, kind: str) -> Thing:
    """A domain that has a configuration, unless the kind is `without`."""
    domain_id = make(stage, "/domains", "domain", name=stage.new_name())["id"]
    if kind != "without":
        config = {"config": {"ldap": {"url": "ldap://l.example", "suffix": "cn=s"}, "identity": {"driver": "ldap"}}}
        stage.apis[ADMIN].ok("PUT", f"{V3}/domains/{domain_id}/config", config)
    part = {"group": "ldap", "option": "url"}
    if kind == "passwords":
        part = {"group": "security_compliance", "option": "password_regex"}
        domain_id = HERE
    return Thing({"domain_id": domain_id, **part}, anything)


# --- what users have: credentials, trusts, what consumers may do ---------------------------------------------


def own(stage: Stage, _kind: str) -> Thing:
    """The user `member`, who has nothing new."""
    user_id = stage.apis[MEMBER].user_id
    names = ("target.user.id", "target.credential.user_id", "user_id", "target.trust.trustor_user_id")
    return Thing({"user_id": user_id, "trustee_id": stage.apis[STRANGER].user_id},
                 lambda _actor: dict.fromkeys(names, user_id))  # fmt: skip


def owned(stage: Stage, **params: str) -> Thing:
    """Something of the user `member`."""
    thing = own(stage, "")
    return Thing({**thing.params, **params}, thing.target)


def credential(stage: Stage, _kind: str) -> Thing:
    member = stage.apis[MEMBER]
    body = {"credential": {"user_id": member.user_id, "type": "certificate", "blob": "b"}}
    return owned(stage, credential_id=member.ok("POST", f"{V3}/credentials", body)["credential"]["id"])


def credentials(stage: Stage, _kind: str) -> Thing:
    """Some credentials; rules are asked whether the caller may list its own."""
    credential(stage, "")
    return Thing({}, lambda actor: {"target.credential.user_id": actor.user_id})


def ec2_credential(stage: Stage, _kind: str) -> Thing:
    member = stage.apis[MEMBER]
    path = f"{V3}/users/{member.user_id}/credentials/OS-EC2"
    return owned(stage, credential_id=member.ok("POST", path, {"tenant_id": stage.home})["credential"]["access"])


def application_credential(stage: Stage, kind: str) -> Thing:
    """An application credential; of the kind `gone`, only its access rule is left."""
    member = stage.apis[MEMBER]
    path = f"{V3}/users/{member.user_id}/application_credentials"
    rule = {"service": "image", "method": "GET", "path": f"/v2/{stage.new_name()}"}
    body = {"application_credential": {"name": stage.new_name(), "access_rules": [rule]}}
    made = member.ok("POST", path, body)["application_credential"]
    if kind == "gone":
        member.ok("DELETE", f"{path}/{made['id']}")
    return owned(stage, application_credential_id=made["id"], access_rule_id=made["access_rules"][0]["id"])


def client(stage: Stage, _kind: str) -> Thing:
    """An application credential, as a client of OAuth 2 sends it."""
    member = stage.apis[MEMBER]
    body = {"application_credential": {"name": stage.new_name(), "secret": "s"}}
    path = f"{V3}/users/{member.user_id}/application_credentials"
    made = member.ok("POST", path, body)["application_credential"]
    form = f"grant_type=client_credentials&client_id={made['id']}&client_secret=s"
    return Thing({}, headers={"Content_Type": "application/x-www-form-urlencoded"}, body=form.encode())


def trust(stage: Stage, _kind: str) -> Thing:
    """What `member` lets `stranger` do."""
    member, trustee = stage.apis[MEMBER], stage.apis[STRANGER].user_id
    made = member.ok("POST", f"{V3}/OS-TRUST/trusts", new_trust(stage))["trust"]
    target = about(trust__trustor_user_id=member.user_id, trust__trustee_user_id=trustee)
    return Thing({"trust_id": made["id"], "role_id": on(stage).roles["member"]}, target)


def trusts_of(side: str) -> Maker:
    """A trust, in the lists of its trustor or trustee."""

    def made(stage: Stage, _kind: str) -> Thing:
        trust(stage, "")
        user_id = stage.apis[MEMBER if side == "trustor" else STRANGER].user_id
        return Thing({"user_id": user_id}, about(**{f"trust__{side}_user_id": user_id}))

    return made


def new_trust(stage: Stage) -> dict[str, Any]:
    member, stranger = stage.apis[MEMBER], stage.apis[STRANGER]
    users = {"trustor_user_id": member.user_id, "trustee_user_id": stranger.user_id}
    return {"trust": {**users, "impersonation": False, "project_id": stage.home, "roles": [{"name": "member"}]}}


def token(stage: Stage, _kind: str) -> Thing:
    """A token of the user `member`."""
    world = stage.world
    issued = world.login("home", "password of home", "home")
    return Thing({}, about(token__user_id=issued.user_id), headers={"X_Subject_Token": issued.token})


def consumer(stage: Stage, _kind: str) -> Thing:
    made = make(stage, "/OS-OAUTH1/consumers", "consumer", description="d")
    return Thing({"consumer_id": made["id"], "secret": made["secret"]})


def _signed(stage: Stage, made: Thing, path: str, token: dict[str, str], **headers: str) -> dict[str, str]:
    """What a consumer gets by a signed request."""
    given = {
        "oauth_consumer_key": made.params["consumer_id"],
        "oauth_nonce": stage.new_name(),
        "oauth_signature_method": "HMAC-SHA1",
        "oauth_timestamp": str(stage.world.clock.now() // MICROSECONDS),
        **{name: value for name, value in token.items() if name in ("oauth_token", "oauth_verifier", "oauth_callback")},
    }
    secret = token.get("oauth_token_secret", "")
    signed = signature("POST", f"{PUBLIC_URL}{V3}{path}", given.items(), made.params["secret"], secret)
    pairs = {**given, "oauth_signature": signed}
    header = "OAuth " + ", ".join(f'{name}="{quote(value, safe="~")}"' for name, value in pairs.items())
    answer = stage.apis[ADMIN].call("POST", V3 + path, Authorization=header, **headers)
    assert answer.status_code == 201, answer.text
    return {name: values[0] for name, values in parse_qs(answer.text).items()}


def request_token(stage: Stage, _kind: str) -> Thing:
    """What a consumer asks for, and nobody has granted yet."""
    made = consumer(stage, "")
    project = stage.apis[ADMIN].project_id
    asked = _signed(stage, made, "/OS-OAUTH1/request_token", {"oauth_callback": "oob"}, Requested_Project_Id=project)
    return Thing(
        {**made.params, "request_token_id": asked["oauth_token"], "request_secret": asked["oauth_token_secret"]}
    )


def access_token(stage: Stage, _kind: str) -> Thing:
    """What the administrator has granted a consumer."""
    asked, admin = request_token(stage, ""), stage.apis[ADMIN]
    request_id, role_id = asked.params["request_token_id"], on(stage).roles["member"]
    granted = admin.ok("PUT", f"{V3}/OS-OAUTH1/authorize/{request_id}", {"roles": [{"id": role_id}]})["token"]
    request = {"oauth_token": request_id, "oauth_token_secret": asked.params["request_secret"], **granted}
    access = _signed(stage, asked, "/OS-OAUTH1/access_token", request)
    return Thing({"user_id": admin.user_id, "access_token_id": access["oauth_token"], "role_id": role_id})


# --- federation ---------------------------------------------------------------------------------------------

RULES = [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "HTTP_OIDC_ISS"}]}]


def _put(stage: Stage, path: str, key: str, values: Any) -> str:
    name = stage.new_name()
    stage.apis[ADMIN].ok("PUT", f"{V3}/OS-FEDERATION/{path}/{name}", {key: values})
    return name


def provider(stage: Stage, _kind: str) -> Thing:
    return Thing({"idp_id": _put(stage, "identity_providers", "identity_provider", {})})


def mapping(stage: Stage, _kind: str) -> Thing:
    return Thing({"mapping_id": _put(stage, "mappings", "mapping", {"rules": RULES})})


def service_provider(stage: Stage, _kind: str) -> Thing:
    values = {"auth_url": "http://s.example/auth", "sp_url": "http://s.example/sp"}
    return Thing({"sp_id": _put(stage, "service_providers", "service_provider", values)})


def protocol(stage: Stage, kind: str) -> Thing:
    """A protocol of an identity provider; of the kind `new`, one that is not there yet. The body is one that it has."""
    params = {**provider(stage, "").params, **mapping(stage, "").params}
    path = f"identity_providers/{params['idp_id']}/protocols"
    values = {"mapping_id": params["mapping_id"]}
    name = stage.new_name() if kind == "new" else _put(stage, path, "protocol", values)
    return Thing({**params, "protocol_id": name}, body={"protocol": values})


def new(name: str) -> Maker:
    """The id of something that is not there yet."""
    return lambda stage, _kind: Thing({name: stage.new_name()})


def granting(path: str, **values: Any) -> Maker:
    """`grant`, at this path."""
    return partial(grant, path=path, **values)
