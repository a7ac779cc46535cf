"""Who may do what with floating IPs through compute: Nova's rule names and defaults."""

from pileus.compute.policy import MEMBER, READER
from pileus.kernel.policy import Rule

IPS = "os_compute_api:os-floating-ips:"
POOLS = "os_compute_api:os-floating-ip-pools"

RULES: tuple[Rule, ...] = (
    Rule(f"{IPS}list", READER, "List floating IPs, up to version 2.35."),
    Rule(f"{IPS}show", READER, "Show a floating IP, up to version 2.35."),
    Rule(f"{IPS}create", MEMBER, "Allocate a floating IP, up to version 2.35."),
    Rule(f"{IPS}delete", MEMBER, "Release a floating IP, up to version 2.35."),
    Rule(f"{IPS}add", MEMBER, "Lead a floating IP to a server, up to version 2.43."),
    Rule(f"{IPS}remove", MEMBER, "Lead a server's floating IP nowhere, up to version 2.43."),
    Rule(POOLS, "@", "List the external networks that floating IPs come from, up to version 2.35."),
)
