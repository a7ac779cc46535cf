"""Every way of logging in, as the official clients do it over HTTP."""

import base64

import keystoneauth1.exceptions
import openstack
import pytest
from keystoneauth1 import session
from keystoneauth1.identity import v3
from keystoneclient.v3.client import Client

from pileus.identity.multifactor.totp import passcode
from tests.identity.test_clients import Served, served  # noqa: F401 - a fixture

SECRET = b"12345678901234567890"


class Stage:
    """Ann, who is a member of a project, and Bob."""

    def __init__(self, served: Served) -> None:  # noqa: F811
        self.served = served
        self.url = f"{served.url}/identity"
        self.admin = Client(session=served.session(project_name="admin", project_domain_id="default"))
        self.project = self.admin.projects.create("one", "default")
        self.ann = self.admin.users.create("ann", domain="default", password="secret", default_project=self.project)
        self.bob = self.admin.users.create("bob", domain="default", password="secret")
        self.admin.roles.grant(self.role("member"), user=self.ann, project=self.project)
        self.client = Client(session=served.session("secret", "ann"))

    def role(self, name: str):  # type: ignore[no-untyped-def]
        return next(one for one in self.admin.roles.list() if one.name == name)

    def code(self, later: int = 0) -> str:
        clock = self.served.cloud.clock
        clock.advance(later)
        return passcode(SECRET, clock.now() // 30_000_000)


@pytest.fixture
def stage(served: Served) -> Stage:  # noqa: F811
    return Stage(served)


def test_application_credentials(stage: Stage) -> None:
    rules = [{"service": "identity", "method": "GET", "path": "/v3/projects/{project_id}"}]
    made = stage.client.application_credentials.create("app", roles=[{"name": "reader"}], access_rules=rules)
    for how in (
        {"application_credential_id": made.id},
        {"application_credential_name": "app", "username": "ann", "user_domain_name": "Default"},
    ):
        auth = v3.ApplicationCredential(stage.url, application_credential_secret=made.secret, **how)
        logged_in = session.Session(auth=auth)
        assert auth.get_access(logged_in).project_id == stage.project.id
        assert logged_in.get(f"{stage.url}/v3/projects/{stage.project.id}").status_code == 200
        with pytest.raises(keystoneauth1.exceptions.Unauthorized):
            logged_in.get(f"{stage.url}/v3/auth/domains")
    sdk = openstack.connection.Connection(session=stage.client.session, region_name="RegionOne").identity
    assert [one.name for one in sdk.application_credentials(stage.ann.id)] == ["app"]
    assert sdk.find_application_credential(stage.ann.id, "app").id == made.id
    (rule,) = sdk.access_rules(stage.ann.id)
    with pytest.raises(openstack.exceptions.ForbiddenException):
        sdk.delete_access_rule(stage.ann.id, rule, ignore_missing=False)
    sdk.delete_application_credential(stage.ann.id, made.id, ignore_missing=False)
    sdk.delete_access_rule(stage.ann.id, rule, ignore_missing=False)
    assert list(sdk.access_rules(stage.ann.id)) == []


def test_trusts(stage: Stage) -> None:
    member = stage.role("member")
    trust = stage.client.trusts.create(
        stage.bob, stage.ann, role_names=["member"], project=stage.project, impersonation=True, remaining_uses=2
    )
    assert [one.id for one in stage.client.trusts.list(trustor_user=stage.ann)] == [trust.id]
    assert [one["id"] for one in stage.client.trusts.get(trust).roles] == [member.id]
    auth = v3.Password(stage.url, username="bob", password="secret", user_domain_id="default", trust_id=trust.id)
    access = auth.get_access(session.Session(auth=auth))
    assert (access.user_id, access.trustee_user_id, access.trustor_user_id) == (
        stage.ann.id,
        stage.bob.id,
        stage.ann.id,
    )
    assert access.trust_id == trust.id
    stage.client.trusts.delete(trust)
    with pytest.raises(keystoneauth1.exceptions.Unauthorized):
        session.Session(auth=v3.Password(stage.url, username="bob", password="secret", user_domain_id="default",
                                         trust_id=trust.id)).get_token()  # fmt: skip


def test_ec2_credentials(stage: Stage) -> None:
    made = stage.client.ec2.create(stage.ann.id, stage.project.id)
    assert stage.client.ec2.get(stage.ann.id, made.access).secret == made.secret
    assert [one.access for one in stage.client.ec2.list(stage.ann.id)] == [made.access]
    stage.client.ec2.delete(stage.ann.id, made.access)
    with pytest.raises(keystoneauth1.exceptions.NotFound):
        stage.client.ec2.get(stage.ann.id, made.access)


def test_passcodes_several_factors_and_receipts(stage: Stage) -> None:
    blob = base64.b32encode(SECRET).decode()
    stage.client.credentials.create(user=stage.ann, type="totp", blob=blob)
    who = {"username": "ann", "user_domain_id": "default"}
    assert session.Session(auth=v3.TOTP(stage.url, passcode=stage.code(), **who)).get_token()
    options = {"multi_factor_auth_enabled": True, "multi_factor_auth_rules": [["password", "totp"]]}
    stage.admin.users.update(stage.ann, options=options)
    both = v3.MultiFactor(
        stage.url, auth_methods=["v3password", "v3totp"], password="secret", passcode=stage.code(30), **who
    )
    assert session.Session(auth=both).get_token()
    with pytest.raises(keystoneauth1.exceptions.MissingAuthMethods) as missing:
        stage.served.session("secret", "ann").get_token()
    assert missing.value.required_auth_methods == [["password", "totp"]]
    assert missing.value.methods == ["password"]
    rest = v3.TOTP(stage.url, passcode=stage.code(30), **who)
    rest.add_method(v3.ReceiptMethod(receipt=missing.value.receipt))
    assert session.Session(auth=rest).get_token()
