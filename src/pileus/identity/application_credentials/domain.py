"""Application credentials and access rules, as frozen structs."""

from pileus.identity.domain import Thing


class ApplicationCredential(Thing, frozen=True, kw_only=True):
    """A credential; its secret is kept as a hash and shown once, when it is made.

    `unrestricted`: a token gained with it may make and delete application credentials, trusts and EC2 credentials.
    """

    user_id: str
    project_id: str
    name: str
    description: str | None = None
    unrestricted: bool = False
    expires_at: int | None = None
    roles: tuple[str, ...] = ()
    rules: tuple["StoredRule", ...] = ()


class StoredRule(Thing, frozen=True, kw_only=True):
    """An access rule of a user's, which any of the user's application credentials may refer to."""

    user_id: str
    service: str
    method: str
    path: str
