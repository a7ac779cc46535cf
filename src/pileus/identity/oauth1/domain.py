"""Consumers and what they are given, as frozen structs."""

import msgspec

from pileus.identity.domain import Thing


class Consumer(Thing, frozen=True, kw_only=True):
    """A program that may ask users to act for them."""

    description: str | None = None


class AccessToken(Thing, frozen=True, kw_only=True):
    """What a consumer logs in with: it acts for the user, on the project, with no more than these roles.

    `expires_at` None: never.
    """

    consumer_id: str
    user_id: str
    project_id: str
    role_ids: tuple[str, ...]
    expires_at: int | None = None


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A new key with its secret, which is told this once."""

    id: str
    secret: str
    expires_at: int | None = None
