"""Who may do what with flavors: Nova's rule names and defaults."""

from pileus.compute.policy import ADMIN, READER
from pileus.kernel.policy import Rule

FLAVORS = "os_compute_api:flavors"
MANAGE = "os_compute_api:os-flavor-manage:"
EXTRA_SPECS = "os_compute_api:os-flavor-extra-specs:"
ACCESS = "os_compute_api:os-flavor-access"

RULES: tuple[Rule, ...] = (
    Rule(FLAVORS, "@", "List and show flavors: everybody who has a token, for the flavors that its project may use."),
    Rule(f"{MANAGE}create", ADMIN, "Create a flavor."),
    Rule(f"{MANAGE}update", ADMIN, "Change a flavor's description."),
    Rule(f"{MANAGE}delete", ADMIN, "Delete a flavor."),
    Rule(f"{EXTRA_SPECS}index", READER, "List a flavor's extra specs; from version 2.61 see them in the flavor."),
    Rule(f"{EXTRA_SPECS}show", READER, "Show an extra spec of a flavor."),
    Rule(f"{EXTRA_SPECS}create", ADMIN, "Add extra specs to a flavor."),
    Rule(f"{EXTRA_SPECS}update", ADMIN, "Change an extra spec of a flavor."),
    Rule(f"{EXTRA_SPECS}delete", ADMIN, "Delete an extra spec of a flavor."),
    Rule(ACCESS, ADMIN, "List the projects that have access to a private flavor."),
    Rule(f"{ACCESS}:add_tenant_access", ADMIN, "Give a project access to a private flavor."),
    Rule(f"{ACCESS}:remove_tenant_access", ADMIN, "Take a project's access to a private flavor."),
)
