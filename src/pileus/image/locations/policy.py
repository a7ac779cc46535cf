"""Glance's policy rules of locations and stores with its current defaults."""

from pileus.kernel.policy import Rule

_MEMBER = "role:admin or (role:member and project_id:%(project_id)s)"

RULES = (
    Rule(
        "get_image_location",
        "role:admin or (role:reader and project_id:%(project_id)s)",
        "See in an image where its data is, where the cloud shows that at all",
    ),
    Rule("set_image_location", _MEMBER, "Say in an image where its data is, where the cloud shows that at all"),
    Rule("delete_image_location", "role:admin", "Remove an image's data from one of several places"),
    Rule("add_image_location", f"role:service or {_MEMBER}", "Say of an image without data where its data is"),
    Rule("fetch_image_location", "role:admin or role:service", "List where an image's data is"),
    Rule("stores_info_detail", "role:admin", "See how the stores of images are set up"),
)
