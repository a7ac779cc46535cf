"""Who may see extensions: Nova's rule name and default."""

from pileus.kernel.policy import Rule

EXTENSIONS = "os_compute_api:extensions"

RULES: tuple[Rule, ...] = (Rule(EXTENSIONS, "@", "List extensions and show one."),)
