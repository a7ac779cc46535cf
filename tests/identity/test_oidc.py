"""Logging in through a real OpenID Connect provider: with its tokens, with the official clients, with a browser."""

import base64
import hmac
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import falcon.testing
import jwt
import keystoneauth1.exceptions
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from keystoneauth1 import session
from keystoneauth1.identity import v3

from pileus.identity.federation.oidc.claims import attributes_of
from pileus.identity.federation.oidc.kept import FRESH_SECONDS, PATIENCE_SECONDS, RETRY_SECONDS
from pileus.identity.federation.oidc.provider import Provider
from pileus.identity.federation.oidc.settings import OidcSettings
from pileus.identity.federation.websso import COOKIE
from pileus.identity.settings import IdentitySettings
from pileus.kernel.clock import FakeClock, SystemClock
from pileus.kernel.config import SettingsError
from pileus.kernel.db import Database
from pileus.kernel.errors import Unauthorized, Unavailable
from tests.identity.conftest import Cloud, cloud_on
from tests.identity.oidc_provider import OidcProvider
from tests.identity.test_clients import Served
from tests.identity.test_federation import IDPS, federate, rescoped

DASHBOARD = "https://dashboard.example/auth/websso/"
BASE = "http://cloud.example/identity/v3"
RULES: list[dict[str, Any]] = [
    {
        "local": [{"user": {"id": "{0}", "name": "{1}", "email": "{2}"}}],
        "remote": [{"type": "HTTP_OIDC_SUB"}, {"type": "OIDC-preferred_username"}, {"type": "HTTP_OIDC_EMAIL"}],
    },
    {"local": [{"groups": "{0}", "domain": {"id": "default"}}], "remote": [{"type": "OIDC_CLAIM_groups"}]},
    {
        "local": [{"user": {"name": "{0}"}}],
        "remote": [{"type": "HTTP_OIDC_SUB"}, {"type": "HTTP_OIDC_CLIENT_ID", "any_one_of": ["cli"]}],
    },
]


def _redirect(idp_id: str) -> str:
    return f"{BASE}/auth/OS-FEDERATION/identity_providers/{idp_id}/protocols/openid/redirect_uri"


@pytest.fixture(scope="module")
def house() -> Iterator[OidcProvider]:
    """The real provider, one for all tests of this module."""
    running = OidcProvider([_redirect("house"), _redirect("es")])
    yield running
    running.stop()


def _section(house: OidcProvider, client_id: str = "pileus", **more: Any) -> OidcSettings:
    return OidcSettings(
        issuer=house.issuer,
        client_id=client_id,
        client_secret=f"secret of {client_id}",
        **({"audiences": ("cli", "urn:cloud")} | more),
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(SystemClock().now())


@pytest.fixture
def cloud(
    sqlite: Database, settings: IdentitySettings, tmp_path: Path, clock: FakeClock, house: OidcProvider
) -> Iterator[Cloud]:
    """A cloud that trusts the provider as `house`, and with signatures by ES256 as `es`."""
    oidc = {"house": _section(house), "es": _section(house, "pileus-es", algorithms=("ES256",))}
    settings = replace(settings, oidc=oidc, trusted_dashboard=(DASHBOARD,))
    for made in cloud_on(sqlite, settings, tmp_path, clock):
        federate(made, RULES, remote_ids=[house.issuer])
        made.ok("PUT", f"{IDPS}/es", {"identity_provider": {"enabled": True}}, status=201)
        made.ok("PUT", f"{IDPS}/es/protocols/openid", {"protocol": {"mapping_id": "people"}}, status=201)
        yield made


def _login(cloud: Cloud, bearer: str | None, method: str = "POST", status: int = 201) -> falcon.testing.Result:
    headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
    result = cloud.call(method, f"{IDPS}/house/protocols/openid/auth", **headers)
    assert result.status_code == status, result.text
    return result


# --- tokens of the provider ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_opaque_access_token(cloud: Cloud, house: OidcProvider, method: str) -> None:
    """Introspection says whose it is, and userinfo what the user is called."""
    group = cloud.make("group", name="testers")
    project = cloud.make("project", name="one")["id"]
    cloud.ok("PUT", f"/projects/{project}/groups/{group['id']}/roles/{cloud.role('member')}")
    result = _login(cloud, house.tokens("ann")["access_token"], method)
    user = result.json["token"]["user"]
    assert (user["name"], result.json["token"]["methods"]) == ("ann", ["mapped"])
    assert user["OS-FEDERATION"] == {
        "groups": [{"id": group["id"]}],
        "identity_provider": {"id": "house"},
        "protocol": {"id": "openid"},
    }
    assert cloud.ok("GET", f"/users/{user['id']}")["user"]["email"] == "ann@example.org"
    rescoped(cloud, result.headers["X-Subject-Token"], {"project": {"id": project}})


def test_signed_access_token_and_id_token(cloud: Cloud, house: OidcProvider) -> None:
    by_id_token = _login(cloud, house.tokens("ann")["id_token"])
    assert by_id_token.json["token"]["user"]["name"] == "ann"
    signed = house.tokens(resource="urn:cloud")["access_token"]
    assert jwt.get_unverified_header(signed)["alg"] == "ES256"
    assert _login(cloud, signed).json["token"]["user"]["name"] == "cli"


def test_claims_of_users_are_values(cloud: Cloud, house: OidcProvider) -> None:
    """Bob's groups are called "developers;admins" and "['admins']" at the provider, and are no groups here."""
    cloud.make("group", name="admins")
    user = _login(cloud, house.tokens("bob")["access_token"]).json["token"]["user"]
    assert (user["name"], user["OS-FEDERATION"]["groups"]) == ("bob", [])


def test_names_of_users_are_not_identities(cloud: Cloud, house: OidcProvider) -> None:
    """Eve calls herself ann at the provider."""
    ann, eve = (_login(cloud, house.tokens(name)["access_token"]).json["token"]["user"] for name in ("ann", "eve"))
    assert ann["id"] != eve["id"]
    assert (ann["name"], eve["name"]) == ("ann", "ann (eve)")


def test_tokens_that_are_refused(cloud: Cloud, house: OidcProvider) -> None:
    good = house.tokens("ann")
    header, payload, signature = good["id_token"].split(".")
    claims = jwt.decode(good["id_token"], options={"verify_signature": False})
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    published = json.loads(house.web.request("GET", f"{house.issuer}/jwks").data)["keys"]
    public = json.dumps(next(key for key in published if key["kid"] == "RS256"))
    ours = rsa.generate_private_key(65537, 2048)
    forged = {
        "no token": None,
        "opaque and unknown": "x" * 43,
        "not ascii": "\N{SNOWMAN}",
        "altered": f"{header}.{payload}.{signature[:-4]}AAAA",
        "unsigned": f"{none}.{payload}.",
        "public key as secret": _by_hmac({"alg": "HS256", "kid": "RS256"}, payload, public.encode()),
        "own key, their name": jwt.encode(claims, ours, "RS256", {"kid": "RS256"}),
        "own key, own name": jwt.encode(claims, ours, "RS256", {"kid": "mine"}),
        "own key, enclosed": jwt.encode(claims, ours, "RS256", {"jwk": json.loads(public), "kid": "RS256"}),
        "algorithm of another key": jwt.encode(
            claims, ec.generate_private_key(ec.SECP256R1()), "ES256", {"kid": "RS256"}
        ),
        "for somebody else": house.tokens("ann", "stranger")["access_token"],
        "ID token for somebody else": house.tokens("ann", "stranger")["id_token"],
        "audience of somebody else": house.tokens(resource="urn:other")["access_token"],
        "too long": "x" * 100_000,
    }
    for what, token in forged.items():
        answer = cloud.call("POST", f"{IDPS}/house/protocols/openid/auth", **_bearer(token))
        assert answer.status_code == 401, what
        assert answer.json["error"]["message"] == "The request you have made requires authentication.", what
    assert _login(cloud, good["id_token"])


def _by_hmac(header: dict[str, str], payload: str, secret: bytes) -> str:
    """A token that is signed with a shared secret, whatever that is."""
    signed = f"{base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip('=')}.{payload}"
    digest = hmac.digest(secret, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def _bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def test_tokens_have_their_time(cloud: Cloud, house: OidcProvider) -> None:
    token = house.tokens("ann")["id_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    lifetime = claims["exp"] - claims["iat"]
    cloud.clock.advance(-120)
    _login(cloud, token, status=401)
    cloud.clock.advance(120 + lifetime - 60)
    _login(cloud, token)
    cloud.clock.advance(60 + 31)
    _login(cloud, token, status=401)


def test_unknown_ways(cloud: Cloud, house: OidcProvider) -> None:
    token = house.tokens("ann")["access_token"]
    cloud.ok("PUT", f"{IDPS}/plain", {"identity_provider": {"enabled": True}}, status=201)
    cloud.ok("PUT", f"{IDPS}/plain/protocols/openid", {"protocol": {"mapping_id": "people"}}, status=201)
    for idp_id, protocol in (("nobody", "openid"), ("house", "saml2"), ("plain", "openid")):
        path = f"{IDPS}/{idp_id}/protocols/{protocol}/auth"
        assert cloud.call("POST", path, **_bearer(token)).status_code == 404, path
    cloud.ok("PATCH", f"{IDPS}/house", {"identity_provider": {"remote_ids": ["https://other"]}})
    _login(cloud, token, status=403)
    cloud.ok("PATCH", f"{IDPS}/house", {"identity_provider": {"enabled": False}})
    _login(cloud, token, status=403)


# --- the official clients -----------------------------------------------------------------------------------


@pytest.fixture
def served(
    sqlite: Database, settings: IdentitySettings, tmp_path: Path, clock: FakeClock, house: OidcProvider
) -> Iterator[Served]:
    settings = replace(settings, oidc={"house": _section(house)})
    for made in cloud_on(sqlite, settings, tmp_path, clock):
        federate(made, RULES)
        running = Served(made)
        yield running
        running.server.stop()
        running.thread.join(5)


def test_keystoneauth(served: Served, house: OidcProvider) -> None:
    """The plugins v3oidcpassword, v3oidcclientcredentials, v3oidcaccesstoken and v3oidcauthcode, down to a project."""
    cloud = served.cloud
    group, project = cloud.make("group", name="developers"), cloud.make("project", name="one")
    cloud.ok("PUT", f"/projects/{project['id']}/groups/{group['id']}/roles/{cloud.role('member')}")
    common = {"auth_url": f"{served.url}/identity/v3", "identity_provider": "house", "protocol": "openid"}
    discovery = f"{house.issuer}/.well-known/openid-configuration"
    client = {"client_id": "cli", "client_secret": "secret%20of%20cli", "discovery_endpoint": discovery}
    scope = {"project_name": "one", "project_domain_id": "default"}

    def who(plugin: Any) -> tuple[str | None, str | None]:
        access = plugin.get_access(session.Session())
        return access.username, access.project_id

    person = {"username": "ann", "password": "password of ann", "scope": "openid profile email"}
    assert who(v3.OidcPassword(**common, **client, **person, **scope)) == ("ann", project["id"])
    by_id_token = v3.OidcPassword(**common, **client, **person, access_token_type="id_token")
    assert who(by_id_token) == ("ann", None)
    token = house.tokens("ann")["access_token"]
    assert who(v3.OidcAccessToken(**common, access_token=token, **scope)) == ("ann", project["id"])
    machine = v3.OidcClientCredentials(**common, **client, scope="openid", access_token_type="access_token")
    with pytest.raises(keystoneauth1.exceptions.Unauthorized):  # an opaque token of a client has no user
        machine.get_access(session.Session())
    code, where = _authorize(house, "ann", "cli", "http://127.0.0.1:1/callback", {})
    by_code = v3.OidcAuthorizationCode(**common, **client, code=code, redirect_uri=where.partition("?")[0], **scope)
    assert who(by_code) == ("ann", project["id"])


# --- a browser ----------------------------------------------------------------------------------------------


class Browser(requests.Session):
    """Fills in the provider's own forms, as a person would."""

    def __init__(self) -> None:
        super().__init__()
        self.cookies = requests.cookies.cookiejar_from_dict({}, CookieJar())

    def log_in(self, url: str, user: str) -> str:
        """From the authorization endpoint to the address that the provider sends the browser back to."""
        answer = self.get(url, allow_redirects=False)
        for _ in range(20):
            if answer.status_code in (302, 303):
                target = requests.compat.urljoin(answer.url, answer.headers["Location"])
                if urlsplit(target).netloc != urlsplit(url).netloc:
                    return str(target)
                answer = self.get(target, allow_redirects=False)
                continue
            form = re.search(r'<form[^>]* action="([^"]+)"', answer.text)
            assert form is not None, answer.text[:2000]
            fields = dict(re.findall(r'<input[^>]*name="(\w+)"[^>]*value="([^"]*)"', answer.text))
            if 'name="login"' in answer.text:
                fields |= {"login": user, "password": "any"}
            answer = self.post(unescape(form[1]), data=fields, allow_redirects=False)
        raise AssertionError("the provider goes round in circles")


def _authorize(
    house: OidcProvider, user: str, client_id: str, redirect_uri: str, more: dict[str, str]
) -> tuple[str, str]:
    query = {"response_type": "code", "client_id": client_id, "redirect_uri": redirect_uri, "scope": "openid profile"}
    target = Browser().log_in(f"{house.issuer}/auth?{urlencode(query | more)}", user)
    return parse_qs(urlsplit(target).query)["code"][0], target


def _websso(cloud: Cloud, path: str = "/auth/OS-FEDERATION/websso/openid", **query: str) -> falcon.testing.Result:
    return cloud.call("GET", f"{path}?{urlencode({'origin': DASHBOARD} | query)}")


def _sso(idp_id: str) -> str:
    return f"/auth/OS-FEDERATION/identity_providers/{idp_id}/protocols/openid/websso"


def _back(cloud: Cloud, target: str, cookie: str | None) -> falcon.testing.Result:
    headers = {} if cookie is None else {"Cookie": f"other=1; {cookie}"}
    return cloud.call("GET", target.removeprefix(BASE), **headers)


@pytest.mark.parametrize("idp_id", ["house", "es"])
def test_websso(cloud: Cloud, house: OidcProvider, idp_id: str) -> None:
    begun = _websso(cloud, _sso(idp_id))
    assert begun.status_code == 302
    set_cookie = begun.headers["Set-Cookie"]
    asked = parse_qs(urlsplit(begun.headers["Location"]).query)
    assert asked["redirect_uri"] == [_redirect(idp_id)]
    assert (asked["response_type"], asked["code_challenge_method"]) == (["code"], ["S256"])
    assert {"HttpOnly", "SameSite=Lax", f"Path={urlsplit(_redirect(idp_id)).path}"} <= set(set_cookie.split("; "))
    assert DASHBOARD not in set_cookie, "sealed"
    target = Browser().log_in(begun.headers["Location"], "ann")
    page = _back(cloud, target, set_cookie.partition(";")[0])
    assert page.status_code == 200, page.text
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Cache-Control"] == "no-store"
    assert f'action="{DASHBOARD}"' in page.text
    assert f"{COOKIE}=; " in page.headers["Set-Cookie"]
    found = re.search(r'name="token" value="([^"]+)"', page.text)
    assert found is not None
    token = found[1]
    shown = cloud.call("GET", "/auth/tokens", token=token, X_Subject_Token=token).json["token"]
    assert shown["user"]["name"] == "ann"
    assert shown["user"]["OS-FEDERATION"]["identity_provider"] == {"id": idp_id}
    assert _back(cloud, target, set_cookie.partition(";")[0]).status_code == 401, "a code serves once"


def test_websso_by_one_of_several(cloud: Cloud) -> None:
    page = _websso(cloud)
    links = [unescape(link) for link in re.findall(r'href="([^"]+)"', page.text)]
    assert links == [f"{BASE}{_sso(idp_id)}?{urlencode({'origin': DASHBOARD})}" for idp_id in ("es", "house")]
    cloud.ok("PATCH", f"{IDPS}/es", {"identity_provider": {"enabled": False}})
    assert _websso(cloud).status_code == 302
    assert _websso(cloud, "/auth/OS-FEDERATION/websso/saml2").status_code == 404
    documented = _sso("house").replace("/protocols/", "/protocol/")
    assert _websso(cloud, documented).status_code == 302


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        DASHBOARD[:-1],
        f"{DASHBOARD}x",
        DASHBOARD.upper(),
        DASHBOARD.replace("https", "http"),
        f"{DASHBOARD}?next=https://evil.example",
        "",
    ],
)
def test_only_trusted_dashboards(cloud: Cloud, origin: str) -> None:
    for path in ("/auth/OS-FEDERATION/websso/openid", _sso("house")):
        answer = _websso(cloud, path, origin=origin)
        assert (answer.status_code, "Location" in answer.headers) == (401, False)
    assert cloud.call("GET", _sso("house")).status_code == 401


def test_a_login_ends_where_it_began(cloud: Cloud, house: OidcProvider) -> None:
    """Neither another browser, nor another login's state, nor another provider can end it; nor can it wait."""
    begun, other = _websso(cloud, _sso("house")), _websso(cloud, _sso("house"))
    cookie, others = (one.headers["Set-Cookie"].partition(";")[0] for one in (begun, other))
    target = Browser().log_in(begun.headers["Location"], "ann")
    state = parse_qs(urlsplit(target).query)["state"][0]
    wrong = {
        "no cookie": (target, None),
        "another login's cookie": (target, others),
        "altered cookie": (target, cookie[:-8] + "AAAAAAA="),
        "a token as cookie": (target, f"{COOKIE}={cloud.admin}"),
        "no state": (target.replace(f"state={state}", "x=y"), cookie),
        "another state": (target.replace(state, state[::-1]), cookie),
        "another provider": (target.replace("/house/", "/es/"), cookie),
        "another issuer": (re.sub(r"iss=[^&]+", "iss=https%3A%2F%2Fevil.example", target), cookie),
        "no issuer": (re.sub(r"&?iss=[^&]+", "", target), cookie),
        "no code": (re.sub(r"code=[^&]+", "error=access_denied", target), cookie),
        "another code": (re.sub(r"code=[^&]+", "code=abc", target), cookie),
    }
    for what, (where, sent) in wrong.items():
        answer = _back(cloud, where, sent)
        assert (answer.status_code, "token" in answer.headers) == (401, False), what
    cloud.clock.advance(601)
    assert _back(cloud, target, cookie).status_code == 401
    cloud.clock.advance(-601)
    assert _back(cloud, target, cookie).status_code == 200


def test_a_code_of_another_login(cloud: Cloud, house: OidcProvider) -> None:
    """A code that was stolen from somebody else's login: PKCE and the nonce bind it to the browser that began."""
    victim, thief = _websso(cloud, _sso("house")), _websso(cloud, _sso("house"))
    code = parse_qs(urlsplit(Browser().log_in(victim.headers["Location"], "ann")).query)["code"][0]
    thiefs = Browser().log_in(thief.headers["Location"], "bob")
    target = re.sub(r"code=[^&]+", f"code={code}", thiefs)
    assert _back(cloud, target, thief.headers["Set-Cookie"].partition(";")[0]).status_code == 401


# --- the provider itself ------------------------------------------------------------------------------------


def test_a_provider_that_is_down(house: OidcProvider, clock: FakeClock) -> None:
    """Nothing hangs, and who comes a moment later is told at once; what was known goes on serving."""
    nowhere = Provider("n", replace(_section(house), issuer="http://127.0.0.1:9"), clock)
    for _ in range(2):
        with pytest.raises(Unavailable):
            nowhere.vouched("opaque")
    gone = OidcProvider([])
    provider = Provider("g", replace(_section(house), issuer=gone.issuer), clock)
    token, later = gone.tokens("ann")["id_token"], gone.tokens("bob")["id_token"]
    assert provider.vouched(token)["sub"] == "ann"
    gone.stop()
    assert provider.vouched(later)["sub"] == "bob"
    clock.advance(FRESH_SECONDS - RETRY_SECONDS)
    assert provider.metadata.issuer == gone.issuer
    clock.advance(2 * RETRY_SECONDS)
    with pytest.raises(Unavailable):
        provider.vouched(later)


def test_new_keys_are_looked_for_at_most_once_a_minute(house: OidcProvider, clock: FakeClock) -> None:
    provider = Provider("h", _section(house), clock)
    assert provider.vouched(house.tokens("ann")["id_token"])
    unknown = jwt.encode({"sub": "x"}, rsa.generate_private_key(65537, 2048), "RS256", {"kid": "new"})
    asked: list[str] = []
    fetch = provider._web.get

    def counted(url: str, headers: Any = None) -> dict[str, Any]:
        asked.append(url)
        return fetch(url, headers)

    provider._web.get = counted  # type: ignore[method-assign]
    for _ in range(5):
        with pytest.raises(Unauthorized):
            provider.vouched(unknown)
    assert asked == []
    clock.advance(PATIENCE_SECONDS)
    for _ in range(5):
        with pytest.raises(Unauthorized):
            provider.vouched(unknown)
    assert asked == [f"{house.issuer}/jwks"]


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"issuer": "http://idp.example"}, "https"),
        ({"issuer": "https://idp.example?x"}, "https"),
        ({"issuer": ""}, "https"),
        ({"client_id": ""}, "client_id"),
        ({"algorithms": ("none",)}, "algorithms"),
        ({"algorithms": ("HS256",)}, "algorithms"),
        ({"algorithms": ()}, "algorithms"),
        ({"scope": "profile"}, "openid"),
    ],
)
def test_sections_that_cannot_be_meant(changed: dict[str, Any], word: str, clock: FakeClock) -> None:
    with pytest.raises(SettingsError) as refusal:
        Provider("x", replace(OidcSettings(issuer="https://idp.example", client_id="c"), **changed), clock)
    assert word in str(refusal.value)
    assert "identity.oidc.x" in str(refusal.value)


def test_an_issuer_is_taken_to_the_letter(house: OidcProvider, clock: FakeClock) -> None:
    provider = Provider("h", replace(_section(house), issuer=f"{house.issuer}/"), clock)
    with pytest.raises(Unavailable, match="otherwise"):
        assert provider.metadata


def test_names_of_attributes() -> None:
    claims = {"iss": "https://idp.example/x", "sub": "1", "e-mail": "a", "n": 2, "ok": True, "l": ["a", 1], "no": None}
    found = attributes_of({**claims, "o": {"a": 1}, "I-S-S": "x"})
    for name in ("OIDC-e-mail", "OIDC_CLAIM_e-mail", "HTTP_OIDC_E_MAIL"):
        assert found[name] == ("a",)
    assert found["OIDC-n"] == ("2",)
    assert found["OIDC-ok"] == ("true",)
    assert found["OIDC-l"] == ("a", "1")
    assert found["OIDC-o"] == ('{"a":1}',)
    assert "OIDC-no" not in found
    assert found["HTTP_OIDC_ISS"] == ("https://idp.example/x",)
    assert found["REMOTE_USER"] == ("1@idp.example/x",)
