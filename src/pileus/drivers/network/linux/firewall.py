"""The host's own firewall: where it forwards nothing by default, our networks need a rule in it.

A packet must be accepted by every chain on its way, so a rule in a table of ours cannot overrule a foreign chain
whose policy is to drop. Bridged frames pass these chains too, on their way to connection tracking.
"""

from pileus.drivers.network.linux import nft
from pileus.drivers.network.linux.names import BRIDGE, Names
from pileus.drivers.network.linux.nft import ACCEPT, Json, Table, equal, meta

_FAMILIES = ("ip", "ip6", "inet")


def admit(names: Names) -> None:
    """Have every foreign chain that drops forwarded packets by default accept those of our bridges."""
    commands: list[Json] = []
    for table, chain in _dropping_chains(names):
        if not _handles(names, table, chain):
            for side in ("iifname", "oifname"):
                ours = equal(meta(side), f"{names.prefix}{BRIDGE}*")
                commands.append(table.insert(chain, _comment(names), ours, ACCEPT))
    nft.apply(commands)


def withdraw(names: Names) -> None:
    """Remove what `admit` added."""
    commands = []
    for table, chain in _dropping_chains(names):
        commands += [table.delete_rule(chain, handle) for handle in _handles(names, table, chain)]
    nft.apply(commands)


def _comment(names: Names) -> str:
    return f"pileus {names.prefix}"


def _dropping_chains(names: Names) -> list[tuple[Table, str]]:
    return [
        (Table(item["family"], item["table"]), item["name"])
        for kind, item in nft.listing("chains")
        if kind == "chain"
        and (item["family"], item.get("hook"), item.get("policy")) in {(f, "forward", "drop") for f in _FAMILIES}
        and not item["table"].startswith(f"{names.prefix}-")
    ]


def _handles(names: Names, table: Table, chain: str) -> list[int]:
    rules = nft.listing("chain", table.family, table.name, chain)
    return [item["handle"] for kind, item in rules if kind == "rule" and item.get("comment") == _comment(names)]
