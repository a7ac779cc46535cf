"""Who may do what with host aggregates: Nova's rule names and defaults."""

from pileus.compute.policy import ADMIN
from pileus.kernel.policy import Rule

AGGREGATES = "os_compute_api:os-aggregates:"
IMAGES = "compute:aggregates:images"

RULES: tuple[Rule, ...] = (
    Rule(f"{AGGREGATES}index", ADMIN, "List host aggregates."),
    Rule(f"{AGGREGATES}show", ADMIN, "Show a host aggregate."),
    Rule(f"{AGGREGATES}create", ADMIN, "Create a host aggregate."),
    Rule(f"{AGGREGATES}update", ADMIN, "Change a host aggregate's name or availability zone."),
    Rule(f"{AGGREGATES}delete", ADMIN, "Delete a host aggregate."),
    Rule(f"{AGGREGATES}add_host", ADMIN, "Add a host to an aggregate."),
    Rule(f"{AGGREGATES}remove_host", ADMIN, "Remove a host from an aggregate."),
    Rule(f"{AGGREGATES}set_metadata", ADMIN, "Change a host aggregate's metadata."),
    Rule(IMAGES, ADMIN, "Have the hosts of an aggregate fetch images into their caches."),
)
