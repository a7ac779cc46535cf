"""Who may do what with key pairs: Nova's rule names and defaults."""

from pileus.kernel.policy import Rule

KEYPAIRS = "os_compute_api:os-keypairs:"
_OWN_OR_ADMIN = "rule:context_is_admin or user_id:%(user_id)s"

RULES: tuple[Rule, ...] = (
    Rule(f"{KEYPAIRS}index", _OWN_OR_ADMIN, "List a user's key pairs."),
    Rule(f"{KEYPAIRS}show", _OWN_OR_ADMIN, "Show a key pair."),
    Rule(f"{KEYPAIRS}create", _OWN_OR_ADMIN, "Import or generate a key pair."),
    Rule(f"{KEYPAIRS}delete", _OWN_OR_ADMIN, "Delete a key pair."),
)
