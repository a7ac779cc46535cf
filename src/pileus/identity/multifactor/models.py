"""Tables of passcodes."""

import sqlalchemy as sa

from pileus.identity import models as identity  # noqa: F401 - the table referred to
from pileus.kernel.db import Name, metadata

totp_use = sa.Table(
    "identity_totp_use",
    metadata,
    sa.Column("credential_id", Name(64), sa.ForeignKey("identity_credential.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("step", sa.BigInteger, nullable=False),  # of the last passcode that was taken
)
