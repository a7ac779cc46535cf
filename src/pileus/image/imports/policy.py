"""Glance's policy rules of imports with its current defaults."""

from pileus.kernel.policy import Rule

RULES = (Rule("copy_image", "role:admin", "Copy an image's data to further stores"),)
