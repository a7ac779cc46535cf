"""Glance's policy rules of its cache, with its current defaults."""

from pileus.kernel.policy import Rule

RULES = (
    Rule("cache_image", "role:admin", "Have an image cached"),
    Rule("cache_list", "role:admin", "List cached images"),
    Rule("cache_delete", "role:admin", "Take images out of the cache"),
    Rule("cache_clean", "role:admin", "Remove what is invalid in the cache"),
    Rule("cache_prune", "role:admin", "Bring the cache down to its size"),
)
