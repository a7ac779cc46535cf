"""Every query about credentials and policy documents."""

from typing import Any

import msgspec
import sqlalchemy as sa

from pileus.identity import models
from pileus.identity.domain import PolicyDocument, Thing
from pileus.identity.rows import Rows
from pileus.kernel.db import Tx


class Sealed(Thing, frozen=True, kw_only=True):
    """A credential as it is stored."""

    user_id: str
    type: str
    encrypted_blob: str
    project_id: str | None = None

    def fields(self) -> dict[str, Any]:
        """Everything but the secret."""
        values = msgspec.structs.asdict(self)
        del values["encrypted_blob"]
        return values


CREDENTIALS = Rows(models.credential, Sealed, "credential")
POLICIES = Rows(models.policy, PolicyDocument, "policy")


def of_user(user_id: str) -> sa.ColumnElement[bool]:
    """The condition that a credential is a user's."""
    return models.credential.c.user_id == user_id


def of_type(tx: Tx, user_id: str, kind: str) -> list[Sealed]:
    """A user's credentials of a type."""
    return CREDENTIALS.some(tx, of_user(user_id), models.credential.c.type == kind)
