"""Marks changes of what servers may learn of themselves, in the transactions that make them.

A mark outlives every process: the loop `server-metadata` tells the host, however often it takes. A server that is
only just given a host needs no mark, because the operation that builds it describes it to the host anyway.
"""

from collections.abc import Callable, Collection

from pileus.compute.metadata_sync import store
from pileus.kernel.db import Tx

METADATA_LOOP = "server-metadata"


class MetadataSync:
    """What hosts have yet to hear. `nudge` makes the loop run once the transaction is durable."""

    def __init__(self, nudge: Callable[[Tx], None]) -> None:
        self._nudge = nudge

    def changed(self, tx: Tx, server_ids: Collection[str]) -> None:
        """What these servers may learn changed. Those that are on no host, or unknown, are left out."""
        if store.mark(tx, server_ids):
            self._nudge(tx)

    def left(self, tx: Tx, server_id: str) -> None:
        """A server left its host, or was deleted: no host that was told of it may keep what it was told."""
        if store.remark(tx, server_id):
            self._nudge(tx)

    def behind(self, tx: Tx) -> list[str]:
        """Sentences about hosts that have not heard of the latest change. For audits."""
        return [
            f"host {host} has not applied the latest change of the metadata of server {server_id}"
            for server_id, host in store.behind(tx)
        ]
