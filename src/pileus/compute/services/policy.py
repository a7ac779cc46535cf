"""Who may do what with services: Nova's rule names and defaults."""

from pileus.compute.policy import ADMIN
from pileus.kernel.policy import Rule

SERVICES = "os_compute_api:os-services:"

RULES: tuple[Rule, ...] = (
    Rule(f"{SERVICES}list", ADMIN, "List services."),
    Rule(f"{SERVICES}update", ADMIN, "Enable, disable or force down a service."),
    Rule(f"{SERVICES}delete", ADMIN, "Remove a host from the cloud."),
)
