"""Who may do what with security groups through compute: Nova's rule names and defaults."""

from pileus.compute.policy import MEMBER, READER
from pileus.kernel.policy import Rule

GROUPS = "os_compute_api:os-security-groups:"

RULES: tuple[Rule, ...] = (
    Rule(f"{GROUPS}get", READER, "List security groups, up to version 2.35."),
    Rule(f"{GROUPS}show", READER, "Show a security group, up to version 2.35."),
    Rule(f"{GROUPS}create", MEMBER, "Create a security group, up to version 2.35."),
    Rule(f"{GROUPS}update", MEMBER, "Update a security group, up to version 2.35."),
    Rule(f"{GROUPS}delete", MEMBER, "Delete a security group, up to version 2.35."),
    Rule(f"{GROUPS}rule:create", MEMBER, "Create a rule of a security group, up to version 2.35."),
    Rule(f"{GROUPS}rule:delete", MEMBER, "Delete a rule of a security group, up to version 2.35."),
)
