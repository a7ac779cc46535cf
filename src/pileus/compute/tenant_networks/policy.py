"""Who may see networks through compute: Nova's rule names and defaults."""

from pileus.compute.policy import READER
from pileus.kernel.policy import Rule

NETWORKS = "os_compute_api:os-networks:"
TENANT_NETWORKS = "os_compute_api:os-tenant-networks:"

RULES: tuple[Rule, ...] = (
    Rule(f"{NETWORKS}list", READER, "List networks, up to version 2.35."),
    Rule(f"{NETWORKS}show", READER, "Show a network, up to version 2.35."),
    Rule(f"{TENANT_NETWORKS}list", READER, "List the networks that a project may use, up to version 2.35."),
    Rule(f"{TENANT_NETWORKS}show", READER, "Show a network that a project may use, up to version 2.35."),
)
