"""The choice between the two token formats."""

from typing import Protocol

from pileus.identity.fernet import Claims, seal, unseal
from pileus.identity.jws import JwsTokens
from pileus.identity.keys import KeyRepository
from pileus.identity.settings import IdentitySettings


class TokenFormat(Protocol):
    """How claims become a token and a token claims."""

    def seal(self, claims: Claims) -> str:
        """The token that carries the claims."""
        ...

    def unseal(self, token: str) -> Claims | None:
        """The claims of a token, verified to be ours; None if it is not. Whether it has ended is not looked at."""
        ...


class FernetTokens:
    """Tokens encrypted with the keys of a repository."""

    def __init__(self, keys: KeyRepository) -> None:
        self._keys = keys

    def seal(self, claims: Claims) -> str:
        """The token that carries the claims. NoKeysError without a key."""
        return seal(self._keys, claims)

    def unseal(self, token: str) -> Claims | None:
        """The claims of a token, verified to be ours; None if it is not."""
        return unseal(self._keys, token)


def token_format(settings: IdentitySettings) -> TokenFormat:
    """The format that the settings name."""
    if settings.token_provider == "jws":  # noqa: S105 - a format
        return JwsTokens(settings.jws_private_keys, settings.jws_public_keys)
    return FernetTokens(KeyRepository(settings.token_keys))
