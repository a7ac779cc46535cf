"""Which roles imply which: small, needed for every token, and so kept in memory while the generation lasts."""

import threading
from collections.abc import Iterable, Mapping

import msgspec

from pileus.identity.domain import Role, RoleRef
from pileus.identity.generation import Generation
from pileus.identity.roles import store
from pileus.kernel.db import Tx


class Graph(msgspec.Struct, frozen=True):
    """All roles by id, and for each the roles that it implies directly."""

    roles: Mapping[str, Role]
    implied: Mapping[str, tuple[str, ...]]

    def closure(self, role_id: str) -> list[str]:
        """The role and all that it implies, directly or not; each once, though implications may run in circles."""
        found = [role_id]
        for known in found:
            found.extend(other for other in self.implied.get(known, ()) if other not in found)
        return found

    def effective(self, role_ids: Iterable[str]) -> tuple[RoleRef, ...]:
        """What a token shows for assigned roles: they and all they imply, without the roles of domains."""
        found = {
            role_id: self.roles[role_id]
            for start in role_ids
            for role_id in self.closure(start)
            if role_id in self.roles
        }
        return tuple(RoleRef(role.id, role.name) for role in found.values() if role.domain_id is None)


class Graphs:
    """Reads the graph once in each generation. Thread-safe."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._lock = threading.Lock()
        self._known: tuple[int, Graph] | None = None

    def present(self, tx: Tx) -> Graph:
        """The graph as the database has it."""
        known = self._known
        if known is not None and known[0] == self._generation.value:
            return known[1]
        generation = self._generation.seen_by(tx)
        graph = read_graph(tx)
        if generation is not None:
            with self._lock:
                self._known = (generation, graph)
        return graph


def read_graph(tx: Tx) -> Graph:
    """The graph, from the database."""
    implied: dict[str, tuple[str, ...]] = {}
    for prior_id, implied_id in sorted(store.implications(tx)):
        implied[prior_id] = (*implied.get(prior_id, ()), implied_id)
    return Graph({role.id: role for role in store.ROLES.some(tx)}, implied)
