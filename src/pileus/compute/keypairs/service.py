"""Business rules of key pairs. They belong to users, whatever project those work in."""

from pileus.compute.keypairs import store
from pileus.compute.keypairs.domain import KeyMaterial, Keypair
from pileus.compute.quotas.service import Quotas
from pileus.compute.settings import ComputeSettings
from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Conflict, NotFound


class Keypairs:
    """Key pairs as callers see and change them. Methods run in the caller's transaction."""

    def __init__(self, settings: ComputeSettings, quotas: Quotas, clock: Clock) -> None:
        self.settings = settings
        self._quotas = quotas
        self._clock = clock

    def get(self, tx: Tx, user_id: str, name: str) -> Keypair:
        """A user's key pair. NotFound."""
        found = store.get(tx, user_id, name)
        if found is None:
            raise _not_found(user_id, name)
        return found

    def all(self, tx: Tx, user_id: str) -> list[Keypair]:
        """A user's key pairs by name."""
        return store.of_user(tx, user_id)

    def page(self, tx: Tx, user_id: str, limit: int, marker: str | None) -> list[Keypair]:
        """`limit` key pairs of a user by name and, where there are more, one further. BadRequest if the marker is none
        of the user's."""
        if marker is not None and store.get(tx, user_id, marker) is None:
            raise BadRequest(f"marker [{marker}] not found")
        return store.of_user(tx, user_id, limit + 1, marker) if limit else []

    def create(self, tx: Tx, actor: Actor, user_id: str, name: str, material: KeyMaterial) -> Keypair:
        """Keep a public key under a name. Conflict if the user has one of that name, OverLimit if it has too many."""
        self._quotas.reserve_key_pair(tx, actor, user_id, lambda: store.count(tx, user_id))
        if store.get(tx, user_id, name) is not None:
            raise _taken(name)
        values = {
            "user_id": user_id,
            "name": name,
            "type": material.type,
            "fingerprint": material.fingerprint,
            "public_key": material.public_key,
            "created_at": self._clock.now(),
        }
        if not store.insert(tx, values):
            raise _taken(name)
        return self.get(tx, user_id, name)

    def delete(self, tx: Tx, user_id: str, name: str) -> None:
        """Forget a key pair. Servers that were made with it keep the key. NotFound."""
        if not store.delete(tx, user_id, name):
            raise _not_found(user_id, name)


def _not_found(user_id: str, name: str) -> NotFound:
    return NotFound(f"Keypair {name} not found for user {user_id}")


def _taken(name: str) -> Conflict:
    return Conflict(f"Key pair '{name}' already exists.")
