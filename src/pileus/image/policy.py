"""Glance's policy rules with its current defaults."""

from pileus.image.cache import policy as cache
from pileus.image.imports import policy as imports
from pileus.image.locations import policy as locations
from pileus.image.metadefs import policy as metadefs
from pileus.image.tasks import policy as tasks
from pileus.kernel.policy import Rule

_MEMBER = "role:admin or (role:member and project_id:%(project_id)s)"
_SEEN = (
    "(project_id:%(project_id)s or project_id:%(member_id)s or 'community':%(visibility)s or 'public':%(visibility)s "
    "or 'shared':%(visibility)s)"
)
_OWN = "role:admin or (role:reader and project_id:%(project_id)s)"
_OWN_OR_SHARED = "role:admin or (role:reader and (project_id:%(project_id)s or project_id:%(member_id)s))"

RULES = (
    Rule("get_images", _OWN, "List the images that the caller may see"),
    Rule("get_image", f"role:admin or (role:reader and {_SEEN})", "Show an image"),
    Rule("add_image", _MEMBER, "Create an image"),
    Rule("modify_image", _MEMBER, "Change an image"),
    Rule("delete_image", _MEMBER, "Delete an image"),
    Rule("publicize_image", "role:admin", "Let every project see an image"),
    Rule("communitize_image", _MEMBER, "Let every project use an image without listing it for them"),
    Rule("download_image", f"role:admin or (role:member and {_SEEN})", "Download an image's data"),
    Rule("upload_image", _MEMBER, "Upload an image's data"),
    Rule("deactivate", _MEMBER, "Make an image's data unavailable"),
    Rule("reactivate", _MEMBER, "Make an image's data available again"),
    Rule("get_members", _OWN_OR_SHARED, "List with whom an image is shared"),
    Rule("get_member", _OWN_OR_SHARED, "Show a project that an image is shared with"),
    Rule("add_member", _MEMBER, "Share an image with a project"),
    Rule("modify_member", "role:admin or (role:member and project_id:%(member_id)s)", "Accept or reject an image"),
    Rule("delete_member", _MEMBER, "Share an image with one project less"),
    *metadefs.RULES,
    *cache.RULES,
    *imports.RULES,
    *locations.RULES,
    *tasks.RULES,
)
