"""Who may do what with quotas: Nova's rule names and defaults."""

from pileus.compute.policy import ADMIN, READER
from pileus.kernel.policy import Rule

SETS = "os_compute_api:os-quota-sets:"
CLASSES = "os_compute_api:os-quota-class-sets:"

RULES: tuple[Rule, ...] = (
    Rule(f"{SETS}show", READER, "Show a project's quotas."),
    Rule(f"{SETS}detail", READER, "Show a project's quotas with what is used of them."),
    Rule(f"{SETS}defaults", "@", "Show the default quotas."),
    Rule(f"{SETS}update", ADMIN, "Change a project's quotas."),
    Rule(f"{SETS}delete", ADMIN, "Return a project to the default quotas."),
    Rule(f"{CLASSES}show", ADMIN, "Show the quotas of a quota class."),
    Rule(f"{CLASSES}update", ADMIN, "Change the quotas of a quota class."),
)
