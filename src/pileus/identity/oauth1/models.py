"""Tables of consumers, of the tokens that they are given, and of the requests that they have signed."""

import sqlalchemy as sa

from pileus.kernel.db import Json, Name, Timestamp, Uuid, metadata

consumer = sa.Table(
    "identity_consumer",
    metadata,
    sa.Column("id", Uuid(), primary_key=True),
    sa.Column("description", sa.Text),
    sa.Column("encrypted_secret", sa.Text, nullable=False),
    sa.Column("extra", Json(dict[str, object]), nullable=False),
)

request_token = sa.Table(
    "identity_oauth_request_token",
    metadata,
    sa.Column("id", Uuid(), primary_key=True),
    sa.Column(
        "consumer_id", Uuid(), sa.ForeignKey("identity_consumer.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column(
        "project_id", Uuid(), sa.ForeignKey("identity_project.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column("encrypted_secret", sa.Text, nullable=False),
    sa.Column("expires_at", Timestamp, index=True),  # NULL: never
    # Until a user has authorised it, these three are NULL.
    sa.Column("user_id", Uuid(), sa.ForeignKey("identity_user.id", ondelete="CASCADE"), index=True),
    sa.Column("role_ids", Json(list[str])),
    sa.Column("verifier_hash", Name(64)),
)

access_token = sa.Table(
    "identity_oauth_access_token",
    metadata,
    sa.Column("id", Uuid(), primary_key=True),
    sa.Column(
        "consumer_id", Uuid(), sa.ForeignKey("identity_consumer.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column(
        "project_id", Uuid(), sa.ForeignKey("identity_project.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column("user_id", Uuid(), sa.ForeignKey("identity_user.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("encrypted_secret", sa.Text, nullable=False),
    sa.Column("expires_at", Timestamp),  # NULL: never
    sa.Column("role_ids", Json(list[str]), nullable=False),
)

nonce = sa.Table(
    "identity_oauth_nonce",
    metadata,
    sa.Column("digest", Name(64), primary_key=True),  # of consumer, token, timestamp and nonce of a request
    sa.Column("expires_at", Timestamp, nullable=False, index=True),  # after it the request is too old anyway
)
