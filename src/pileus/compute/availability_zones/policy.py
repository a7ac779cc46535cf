"""Who may see availability zones: Nova's rule names and defaults."""

from pileus.compute.policy import ADMIN
from pileus.kernel.policy import Rule

ZONES = "os_compute_api:os-availability-zone:"

RULES: tuple[Rule, ...] = (
    Rule(f"{ZONES}list", "@", "List availability zones."),
    Rule(f"{ZONES}detail", ADMIN, "List availability zones with their hosts and services."),
)
