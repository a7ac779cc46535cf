"""Who may see limits: Nova's rule names and defaults."""

from pileus.compute.policy import ADMIN
from pileus.kernel.policy import Rule

LIMITS = "os_compute_api:limits"
OTHER_PROJECT = f"{LIMITS}:other_project"

RULES: tuple[Rule, ...] = (
    Rule(LIMITS, "@", "Show the limits of one's own project."),
    Rule(OTHER_PROJECT, ADMIN, "Show the limits of another project."),
)
