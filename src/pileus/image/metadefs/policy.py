"""Glance's policy rules for metadata definitions with its current defaults: whoever sees a namespace may read it, and
administrators write."""

from pileus.kernel.policy import Rule

_ADMIN = "rule:metadef_admin"
_OWN = "role:admin or (role:reader and project_id:%(project_id)s)"
_SEEN = "role:admin or (role:reader and (project_id:%(project_id)s or 'public':%(visibility)s))"

RULES = (
    Rule("metadef_default", "", "Read what is the same for everybody: the JSON schemas of metadata definitions"),
    Rule("metadef_admin", "role:admin", "Change metadata definitions"),
    Rule("get_metadef_namespace", _SEEN, "Show a namespace"),
    Rule("get_metadef_namespaces", _OWN, "List namespaces"),
    Rule("modify_metadef_namespace", _ADMIN, "Change a namespace"),
    Rule("add_metadef_namespace", _ADMIN, "Create a namespace"),
    Rule("delete_metadef_namespace", _ADMIN, "Delete a namespace, or all of one kind that it holds"),
    Rule("get_metadef_object", _SEEN, "Show an object of a namespace"),
    Rule("get_metadef_objects", _SEEN, "List the objects of a namespace"),
    Rule("modify_metadef_object", _ADMIN, "Change an object of a namespace"),
    Rule("add_metadef_object", _ADMIN, "Add an object to a namespace"),
    Rule("delete_metadef_object", _ADMIN, "Delete an object of a namespace"),
    Rule("list_metadef_resource_types", _SEEN, "List the resource types that definitions can be for"),
    Rule("get_metadef_resource_type", _SEEN, "List the resource types that a namespace is for"),
    Rule("add_metadef_resource_type_association", _ADMIN, "Say that a namespace is for a resource type"),
    Rule("remove_metadef_resource_type_association", _ADMIN, "Say that a namespace is not for a resource type"),
    Rule("get_metadef_property", _SEEN, "Show a property of a namespace"),
    Rule("get_metadef_properties", _SEEN, "List the properties of a namespace"),
    Rule("modify_metadef_property", _ADMIN, "Change a property of a namespace"),
    Rule("add_metadef_property", _ADMIN, "Add a property to a namespace"),
    Rule("remove_metadef_property", _ADMIN, "Delete a property of a namespace"),
    Rule("get_metadef_tag", _SEEN, "Show a tag of a namespace"),
    Rule("get_metadef_tags", _SEEN, "List the tags of a namespace"),
    Rule("modify_metadef_tag", _ADMIN, "Rename a tag of a namespace"),
    Rule("add_metadef_tag", _ADMIN, "Add a tag to a namespace"),
    Rule("add_metadef_tags", _ADMIN, "Add several tags to a namespace"),
    Rule("delete_metadef_tag", _ADMIN, "Delete a tag of a namespace"),
    Rule("delete_metadef_tags", _ADMIN, "Delete all tags of a namespace"),
)
