"""What tokens may do that were gained with less than the user's own login.

Application credentials, trusts and EC2 credentials hand on a part of what a user may do. Whoever holds only such a part
must not turn it into something that lasts longer or reaches further. A method that is not named here counts as such.
"""

from collections.abc import Collection

from pileus.kernel.auth import Actor
from pileus.kernel.errors import Forbidden

APPLICATION_CREDENTIAL = "application_credential"
EC2_CREDENTIAL = "ec2credential"
PRIMARY_METHODS = frozenset({"external", "mapped", "password", "token", "totp"})
"""How users log in themselves."""


def is_delegated(methods: Collection[str], trust_id: str | None) -> bool:
    """Whether a token was gained with anything but the user's own login."""
    return not methods or trust_id is not None or not PRIMARY_METHODS.issuperset(methods)


def refuse_restricted(actor: Actor, what: str, *, through_trust: bool = False) -> None:
    """Forbidden unless the caller logged in as the user, or with an unrestricted application credential.

    `what` completes "... may not". `through_trust`: whoever acts through a trust may, too. Access rules always forbid:
    what is made by a token that has some would be free of them.
    """
    methods = actor.methods
    if actor.application_credential_id is not None and actor.unrestricted:
        methods = methods - {APPLICATION_CREDENTIAL}
    elif not methods:
        raise Forbidden(f"A token that does not say how it was gained may not {what}.")
    if actor.access_rules is not None or not PRIMARY_METHODS.issuperset(methods):
        raise Forbidden(f"A token that was gained with a restricted credential may not {what}.")
    if actor.trust_id is not None and not through_trust:
        raise Forbidden(f"A token that was gained through a trust may not {what}.")
