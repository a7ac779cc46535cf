"""Every query about consumers and their tokens."""

from collections.abc import Sequence

import sqlalchemy as sa

from pileus.identity.domain import Thing
from pileus.identity.oauth1.domain import AccessToken, Consumer
from pileus.identity.oauth1.models import access_token, consumer, nonce, request_token
from pileus.identity.rows import Found, Rows, Wanted, add_once
from pileus.kernel.db import Tx


class RequestToken(Thing, frozen=True, kw_only=True):
    """A consumer's wish to act on a project, and who has granted it."""

    consumer_id: str
    project_id: str
    encrypted_secret: str
    expires_at: int | None = None
    user_id: str | None = None
    role_ids: tuple[str, ...] | None = None
    verifier_hash: str | None = None


class SealedAccessToken(AccessToken, frozen=True, kw_only=True):
    """An access token as it is stored."""

    encrypted_secret: str


CONSUMERS = Rows(consumer, Consumer, "consumer")
REQUEST_TOKENS = Rows(request_token, RequestToken, "request token")
ACCESS_TOKENS = Rows(access_token, AccessToken, "access token")
SEALED_ACCESS_TOKENS = Rows(access_token, SealedAccessToken, "access token")


def secret_of(tx: Tx, consumer_id: str) -> str | None:
    """A consumer's secret, encrypted."""
    found: str | None = tx.scalar(sa.select(consumer.c.encrypted_secret).where(consumer.c.id == consumer_id))
    return found


def authorize(tx: Tx, token_id: str, user_id: str, role_ids: Sequence[str], verifier_hash: str) -> None:
    """Note who grants a request token what."""
    granted = {"user_id": user_id, "role_ids": list(role_ids), "verifier_hash": verifier_hash}
    REQUEST_TOKENS.change(tx, token_id, granted)


def consume(tx: Tx, token_id: str) -> bool:
    """Delete a request token; False if another request has used it meanwhile."""
    return tx.changed(sa.delete(request_token).where(request_token.c.id == token_id)) > 0


def tokens_of_user(tx: Tx, user_id: str, wanted: Wanted) -> Found[AccessToken]:
    """A page of the access tokens that a user has granted."""
    return ACCESS_TOKENS.page(tx, wanted, access_token.c.user_id == user_id)


def spend_nonce(tx: Tx, digest: str, expires_at: int) -> bool:
    """Note that a signed request has been made; False if it was made before."""
    return add_once(tx, nonce, digest=digest, expires_at=expires_at)


def forget(tx: Tx, now: int) -> None:
    """Delete what has no meaning any more: nonces of old requests, and request tokens that have ended."""
    for table in (nonce, request_token):
        tx.execute(sa.delete(table).where(table.c.expires_at < now))
