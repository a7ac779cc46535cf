"""Who may see hypervisors: Nova's rule names and defaults."""

from pileus.compute.policy import ADMIN
from pileus.kernel.policy import Rule

HYPERVISORS = "os_compute_api:os-hypervisors:"

RULES: tuple[Rule, ...] = (
    Rule(f"{HYPERVISORS}list", ADMIN, "List hypervisors."),
    Rule(f"{HYPERVISORS}list-detail", ADMIN, "List hypervisors with details."),
    Rule(f"{HYPERVISORS}statistics", ADMIN, "Show sums over all hypervisors."),
    Rule(f"{HYPERVISORS}show", ADMIN, "Show a hypervisor."),
    Rule(f"{HYPERVISORS}uptime", ADMIN, "Show for how long a hypervisor has been running."),
    Rule(f"{HYPERVISORS}search", ADMIN, "Search hypervisors by name."),
    Rule(f"{HYPERVISORS}servers", ADMIN, "List the servers of hypervisors that match a name."),
)
