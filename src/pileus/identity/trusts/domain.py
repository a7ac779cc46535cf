"""Trusts, as frozen structs."""

from pileus.identity.domain import Thing


class Trust(Thing, frozen=True, kw_only=True):
    """The trustor lets the trustee act in a project with some of the trustor's roles.

    `impersonation`: the trustee appears as the trustor. `redelegation_count`: how often it may be handed on from here;
    `redelegated_trust_id`: the trust that it hands on.
    """

    trustor_user_id: str
    trustee_user_id: str
    impersonation: bool
    project_id: str | None = None
    expires_at: int | None = None
    remaining_uses: int | None = None
    redelegated_trust_id: str | None = None
    redelegation_count: int = 0
    roles: tuple[str, ...] = ()
