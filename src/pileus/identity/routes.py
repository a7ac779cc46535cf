"""The Identity API v3: all its routes, and its version documents."""

from typing import Any

from pileus.identity.application_credentials.routes import ROUTES as APPLICATION_CREDENTIALS
from pileus.identity.catalog.routes import ROUTES as CATALOG
from pileus.identity.credentials.routes import ROUTES as CREDENTIALS
from pileus.identity.domain_config.routes import ROUTES as DOMAIN_CONFIGS
from pileus.identity.ec2.routes import ROUTES as EC2
from pileus.identity.endpoint_filter.routes import ROUTES as ENDPOINT_FILTERS
from pileus.identity.endpoint_policy.routes import ROUTES as ENDPOINT_POLICIES
from pileus.identity.errors import error_shape
from pileus.identity.federation.routes import ROUTES as FEDERATION
from pileus.identity.limits.routes import ROUTES as LIMITS
from pileus.identity.oauth1.routes import ROUTES as OAUTH1
from pileus.identity.oauth2.routes import ROUTES as OAUTH2
from pileus.identity.projects.routes import ROUTES as PROJECTS
from pileus.identity.rest import PREFIX
from pileus.identity.retired.routes import ROUTES as RETIRED
from pileus.identity.roles.routes import ROUTES as ROLES
from pileus.identity.service import Identity
from pileus.identity.tokens.routes import ROUTES as TOKENS
from pileus.identity.trusts.routes import ROUTES as TRUSTS
from pileus.identity.users.routes import ROUTES as USERS
from pileus.kernel.http import Reply, Route, Service

ROUTES: tuple[Route[Identity], ...] = (
    *TOKENS,
    *PROJECTS,
    *DOMAIN_CONFIGS,
    *USERS,
    *ROLES,
    *CATALOG,
    *ENDPOINT_FILTERS,
    *ENDPOINT_POLICIES,
    *CREDENTIALS,
    *LIMITS,
    *APPLICATION_CREDENTIALS,
    *TRUSTS,
    *EC2,
    *FEDERATION,
    *OAUTH1,
    *OAUTH2,
    *RETIRED,
)

VERSION = "v3.14"
_UPDATED = "2020-04-07T00:00:00Z"
_MEDIA_TYPE = "application/vnd.openstack.identity-v3+json"


def make_service(impl: Identity) -> Service[Identity]:
    """The service for `kernel.app.make_app`."""
    return Service(
        name="identity",
        prefix=PREFIX,
        routes=ROUTES,
        impl=impl,
        error_shape=error_shape,
        documents={"/identity": versions, PREFIX: version},
    )


def _version(base: str) -> dict[str, Any]:
    return {
        "id": VERSION,
        "status": "stable",
        "updated": _UPDATED,
        "links": [{"rel": "self", "href": f"{base}{PREFIX}/"}],
        "media-types": [{"base": "application/json", "type": _MEDIA_TYPE}],
    }


def versions(base: str) -> Reply:
    """GET /identity: 300 Multiple Choices, as Keystone answers."""
    return Reply({"versions": {"values": [_version(base)]}}, status=300, headers={"Vary": "X-Auth-Token"})


def version(base: str) -> Reply:
    """GET /identity/v3"""
    return Reply({"version": _version(base)}, headers={"Vary": "X-Auth-Token"})
