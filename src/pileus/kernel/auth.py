"""Who is calling. Identity verifies tokens; everything else only reads the Actor."""

from typing import Any, Protocol

import msgspec

from pileus.kernel.access_rules import AccessRule


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """The caller, as its token says. `is_admin`: satisfies the policy rule `context_is_admin`.

    `methods`: how the caller logged in. `unrestricted`: whether the application credential that it logged in with may
    make others like itself. `access_rules`: the only requests that it may make; None for any.
    """

    user_id: str
    user_name: str = ""
    user_domain_id: str = "default"
    user_domain_name: str = "Default"
    project_id: str | None = None
    project_name: str | None = None
    project_domain_id: str | None = None
    project_domain_name: str | None = None
    domain_id: str | None = None
    domain_name: str | None = None
    system: bool = False
    roles: frozenset[str] = frozenset()
    is_admin: bool = False
    token_id: str = ""  # the audit id, never the token itself
    expires_at: int = 0
    methods: frozenset[str] = frozenset()
    trust_id: str | None = None
    application_credential_id: str | None = None
    unrestricted: bool = False
    access_rules: tuple[AccessRule, ...] | None = None

    @property
    def owner(self) -> str:
        """The project that new resources belong to; empty for a token without a project."""
        return self.project_id or ""

    def credentials(self) -> dict[str, Any]:
        """What policy checks may look at, under oslo.policy's names."""
        return {
            "user_id": self.user_id,
            "project_id": self.project_id,
            "tenant_id": self.project_id,
            "user_domain_id": self.user_domain_id,
            "project_domain_id": self.project_domain_id,
            "domain_id": self.domain_id,
            "roles": self.roles,
            "is_admin": self.is_admin,
            "system_scope": "all" if self.system else None,
            "trust_id": self.trust_id,
        }


class Authenticator(Protocol):
    """What the HTTP layer needs of identity."""

    def authenticate(self, token: str) -> Actor:
        """The token's actor. Unauthorized if it is malformed, expired or revoked."""
        ...
