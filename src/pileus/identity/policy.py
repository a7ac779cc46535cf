"""Identity's policy rules: Keystone's names and present defaults.

Three personas beside the owner of a thing: the administrator; readers of the system or of a domain; and managers of a
domain, who run its projects, users and groups but can hand out no more than the roles manager, member and reader.
`domain_id` in a check is the domain that the caller's token is for.
"""

from pileus.identity.federation.policy import RULES as FEDERATION
from pileus.kernel.policy import Rule

_ADMIN = "rule:admin_required"
_SEES_ALL = "rule:admin_required or (role:reader and system_scope:all)"


def _reader(*domains: str) -> str:
    return f"({' and '.join(('role:reader', *(f'domain_id:%(target.{domain})s' for domain in domains)))})"


def _manager(*domains: str) -> str:
    return f"({' and '.join(('role:manager', *(f'domain_id:%(target.{domain})s' for domain in domains)))})"


_ROLE_OF_DOMAIN = "(domain_id:%(target.role.domain_id)s or None:%(target.role.domain_id)s)"
_GRANT_PLACES = tuple(
    (actor, place) for actor in ("user.domain_id", "group.domain_id") for place in ("project.domain_id", "domain.id")
)
_READS_GRANTS = " or ".join(_reader(*places) for places in _GRANT_PLACES)
_SEES_GRANTS = f"{_SEES_ALL} or {_READS_GRANTS}"
_SEES_GRANT = f"{_SEES_ALL} or (({_READS_GRANTS}) and {_ROLE_OF_DOMAIN})"
_MANAGES_GRANTS = (
    f"{_ADMIN} or (({' or '.join(_manager(*places) for places in _GRANT_PLACES)})"
    f" and rule:domain_managed_target_role and {_ROLE_OF_DOMAIN})"
)
_OWN_PROJECT = "project_id:%(target.project.id)s"
_SEES_PROJECT = f"{_SEES_ALL} or {_reader('project.domain_id')} or {_OWN_PROJECT}"
_MANAGES_PROJECT = f"{_ADMIN} or {_manager('project.domain_id')}"
_OWN_USER = "user_id:%(target.user.id)s"
_SEES_USER = f"{_SEES_ALL} or {_reader('user.domain_id')} or {_OWN_USER}"
_MANAGES_USER = f"{_ADMIN} or {_manager('user.domain_id')}"
_SEES_GROUP = f"{_SEES_ALL} or {_reader('group.domain_id')}"
_MANAGES_GROUP = f"{_ADMIN} or {_manager('group.domain_id')}"
_BOTH = ("group.domain_id", "user.domain_id")
_TRUSTOR, _TRUSTEE = (f"user_id:%(target.trust.{side}_user_id)s" for side in ("trustor", "trustee"))
_OWN_CREDENTIAL = "user_id:%(target.credential.user_id)s"
_MANAGES_EC2 = f"{_ADMIN} or (role:member and {_OWN_CREDENTIAL})"
_SEES_ACCESS_RULES = f"(role:reader and system_scope:all) or {_OWN_USER}"

_CHECKS: tuple[tuple[str, str, str], ...] = (
    ("get_auth_catalog", "", "Show the catalog of one's own token"),
    ("get_auth_projects", "", "List the projects that one can get a token for"),
    ("get_auth_domains", "", "List the domains that one can get a token for"),
    ("get_auth_system", "", "Show whether one can get a token for the system"),
    ("validate_token", f"{_SEES_ALL} or rule:service_role or rule:token_subject", "Show a token"),
    ("check_token", f"{_SEES_ALL} or rule:token_subject", "Check a token"),
    ("revoke_token", "rule:admin_or_token_subject", "Revoke a token"),
    ("list_revoke_events", "rule:service_or_admin", "List the tokens that were revoked"),
    (
        "get_domain",
        f"{_SEES_ALL} or domain_id:%(target.domain.id)s or project_domain_id:%(target.domain.id)s",
        "Show a domain",
    ),
    ("list_domains", f"{_SEES_ALL} or {_reader('domain.id')}", "List domains"),
    ("create_domain", _ADMIN, "Create a domain"),
    ("update_domain", _ADMIN, "Change a domain"),
    ("delete_domain", _ADMIN, "Delete a domain"),
    ("get_project", _SEES_PROJECT, "Show a project"),
    ("list_projects", f"{_SEES_ALL} or {_reader('domain_id')}", "List projects"),
    ("list_user_projects", _SEES_USER, "List the projects of a user"),
    ("create_project", _MANAGES_PROJECT, "Create a project"),
    ("update_project", _MANAGES_PROJECT, "Change a project"),
    ("delete_project", _MANAGES_PROJECT, "Delete a project"),
    ("list_project_tags", _SEES_PROJECT, "List the tags of a project"),
    ("get_project_tag", _SEES_PROJECT, "Check whether a project has a tag"),
    ("update_project_tags", _MANAGES_PROJECT, "Replace the tags of a project"),
    ("create_project_tag", _MANAGES_PROJECT, "Add a tag to a project"),
    ("delete_project_tags", _MANAGES_PROJECT, "Remove all tags of a project"),
    ("delete_project_tag", _MANAGES_PROJECT, "Remove a tag of a project"),
    ("get_user", _SEES_USER, "Show a user"),
    ("list_users", f"{_SEES_ALL} or {_reader('domain_id')}", "List users"),
    ("create_user", _MANAGES_USER, "Create a user"),
    ("update_user", _MANAGES_USER, "Change a user, also its password"),
    ("delete_user", _MANAGES_USER, "Delete a user"),
    ("revoke_tokens_for_user", f"{_ADMIN} or {_OWN_USER}", "Revoke all tokens of a user"),
    ("list_groups_for_user", _SEES_USER, "List the groups of a user"),
    ("get_group", _SEES_GROUP, "Show a group"),
    ("list_groups", _SEES_GROUP, "List groups"),
    ("create_group", _MANAGES_GROUP, "Create a group"),
    ("update_group", _MANAGES_GROUP, "Change a group"),
    ("delete_group", _MANAGES_GROUP, "Delete a group"),
    ("list_users_in_group", _SEES_GROUP, "List the users in a group"),
    ("check_user_in_group", f"{_SEES_ALL} or {_reader(*_BOTH)}", "Check whether a user is in a group"),
    ("add_user_to_group", f"{_ADMIN} or {_manager(*_BOTH)}", "Put a user into a group"),
    ("remove_user_from_group", f"{_ADMIN} or {_manager(*_BOTH)}", "Take a user out of a group"),
    ("get_role", f"{_SEES_ALL} or (role:manager and rule:domain_managed_target_role)", "Show a role"),
    ("list_roles", f"{_SEES_ALL} or (role:manager and not domain_id:None)", "List roles"),
    ("create_role", _ADMIN, "Create a role"),
    ("update_role", _ADMIN, "Change a role"),
    ("delete_role", _ADMIN, "Delete a role"),
    ("get_domain_role", _SEES_ALL, "Show a role of a domain"),
    ("list_domain_roles", _SEES_ALL, "List the roles of a domain"),
    ("create_domain_role", _ADMIN, "Create a role of a domain"),
    ("update_domain_role", _ADMIN, "Change a role of a domain"),
    ("delete_domain_role", _ADMIN, "Delete a role of a domain"),
    ("get_implied_role", _SEES_ALL, "Show an implication between roles"),
    ("list_implied_roles", _SEES_ALL, "List what a role implies"),
    ("check_implied_role", _SEES_ALL, "Check an implication between roles"),
    ("list_role_inference_rules", _SEES_ALL, "List all implications between roles"),
    ("create_implied_role", _ADMIN, "Let a role imply another"),
    ("delete_implied_role", _ADMIN, "End an implication between roles"),
    ("list_grants", _SEES_GRANTS, "List the roles of a user or group on a project or domain"),
    ("check_grant", _SEES_GRANT, "Check a role of a user or group on a project or domain"),
    ("create_grant", _MANAGES_GRANTS, "Assign a role on a project or domain"),
    ("revoke_grant", _MANAGES_GRANTS, "Take away a role on a project or domain"),
    *(
        (f"{verb}_system_{noun}_for_{kind}", check, f"{words} a {kind} on the system")
        for kind in ("user", "group")
        for verb, noun, check, words in (
            ("list", "grants", _SEES_ALL, "List the roles of"),
            ("check", "grant", _SEES_ALL, "Check a role of"),
            ("create", "grant", _ADMIN, "Assign a role to"),
            ("revoke", "grant", _ADMIN, "Take away a role of"),
        )
    ),
    ("list_role_assignments", f"{_SEES_ALL} or {_reader('domain_id')}", "List role assignments"),
    (
        "list_role_assignments_for_tree",
        f"{_SEES_ALL} or {_reader('project.domain_id')} or (role:admin and {_OWN_PROJECT})",
        "List role assignments on a project and those below it",
    ),
    ("get_region", "", "Show a region"),
    ("list_regions", "", "List regions"),
    ("create_region", _ADMIN, "Create a region"),
    ("update_region", _ADMIN, "Change a region"),
    ("delete_region", _ADMIN, "Delete a region"),
    *(
        (f"{verb}_{noun}{'s' if verb == 'list' else ''}", check, f"{words} a catalog {noun}")
        for noun in ("service", "endpoint")
        for verb, check, words in (
            ("get", _SEES_ALL, "Show"),
            ("list", _SEES_ALL, "List as"),
            ("create", _ADMIN, "Create"),
            ("update", _ADMIN, "Change"),
            ("delete", _ADMIN, "Delete"),
        )
    ),
    ("get_credential", f"{_SEES_ALL} or {_OWN_CREDENTIAL}", "Show a credential"),
    ("list_credentials", f"{_SEES_ALL} or {_OWN_CREDENTIAL}", "List credentials"),
    ("create_credential", f"{_ADMIN} or {_OWN_CREDENTIAL}", "Create a credential"),
    ("update_credential", f"{_ADMIN} or {_OWN_CREDENTIAL}", "Change a credential"),
    ("delete_credential", f"{_ADMIN} or {_OWN_CREDENTIAL}", "Delete a credential"),
    ("ec2_get_credential", f"{_SEES_ALL} or {_OWN_CREDENTIAL}", "Show an EC2 credential"),
    ("ec2_list_credentials", f"{_SEES_ALL} or rule:owner", "List the EC2 credentials of a user"),
    ("ec2_create_credential", _MANAGES_EC2, "Create an EC2 credential for a user"),
    ("ec2_delete_credential", _MANAGES_EC2, "Delete an EC2 credential"),
    ("ec2tokens_validate", "rule:service_or_admin", "Get a token for a request with an EC2 signature"),
    ("s3tokens_validate", "rule:service_or_admin", "Learn who signed an S3 request"),
    ("get_application_credential", f"{_SEES_ALL} or rule:owner", "Show an application credential"),
    ("list_application_credentials", f"{_SEES_ALL} or rule:owner", "List the application credentials of a user"),
    ("create_application_credential", "rule:owner", "Create an application credential for oneself"),
    ("delete_application_credential", "rule:admin_or_owner", "Delete an application credential"),
    ("get_access_rule", _SEES_ACCESS_RULES, "Show an access rule"),
    ("list_access_rules", _SEES_ACCESS_RULES, "List the access rules of a user"),
    ("delete_access_rule", f"(role:admin and system_scope:all) or {_OWN_USER}", "Delete an access rule"),
    ("create_trust", _TRUSTOR, "Create a trust as its trustor"),
    ("list_trusts", _SEES_ALL, "List all trusts"),
    ("list_trusts_for_trustor", f"{_SEES_ALL} or {_TRUSTOR}", "List the trusts of a trustor"),
    ("list_trusts_for_trustee", f"{_SEES_ALL} or {_TRUSTEE}", "List the trusts of a trustee"),
    ("get_trust", f"{_SEES_ALL} or {_TRUSTOR} or {_TRUSTEE}", "Show a trust"),
    ("delete_trust", f"{_ADMIN} or {_TRUSTOR}", "Delete a trust"),
    ("list_roles_for_trust", f"{_SEES_ALL} or {_TRUSTOR} or {_TRUSTEE}", "List the roles of a trust"),
    ("get_role_for_trust", f"{_SEES_ALL} or {_TRUSTOR} or {_TRUSTEE}", "Show a role of a trust"),
    ("get_policy", _SEES_ALL, "Show a policy document"),
    ("list_policies", _SEES_ALL, "List policy documents"),
    ("create_policy", _ADMIN, "Create a policy document"),
    ("update_policy", _ADMIN, "Change a policy document"),
    ("delete_policy", _ADMIN, "Delete a policy document"),
    ("list_endpoint_groups", _SEES_ALL, "List endpoint groups"),
    ("get_endpoint_group", _SEES_ALL, "Show an endpoint group"),
    ("create_endpoint_group", _ADMIN, "Create an endpoint group"),
    ("update_endpoint_group", _ADMIN, "Change an endpoint group"),
    ("delete_endpoint_group", _ADMIN, "Delete an endpoint group"),
    ("list_endpoints_associated_with_endpoint_group", _SEES_ALL, "List the endpoints of an endpoint group"),
    ("list_projects_associated_with_endpoint_group", _SEES_ALL, "List the projects of an endpoint group"),
    ("list_endpoint_groups_for_project", _SEES_ALL, "List the endpoint groups of a project"),
    ("get_endpoint_group_in_project", _SEES_ALL, "Check whether a project has an endpoint group"),
    ("add_endpoint_group_to_project", _ADMIN, "Give a project an endpoint group"),
    ("remove_endpoint_group_from_project", _ADMIN, "Take an endpoint group from a project"),
    ("list_projects_for_endpoint", _SEES_ALL, "List the projects of an endpoint"),
    ("list_endpoints_for_project", _SEES_ALL, "List the endpoints of a project"),
    ("check_endpoint_in_project", _SEES_ALL, "Check whether a project has an endpoint"),
    ("add_endpoint_to_project", _ADMIN, "Give a project an endpoint"),
    ("remove_endpoint_from_project", _ADMIN, "Take an endpoint from a project"),
    *(
        (f"{verb}_policy_association_for_{kind}", check, f"{words} a {kind.replace('_and_', ' and a ')}")
        for kind in ("endpoint", "service", "region_and_service")
        for verb, check, words in (
            ("check", _SEES_ALL, "Check whether a policy document is for"),
            ("create", _ADMIN, "Give a policy document to"),
            ("delete", _ADMIN, "Take a policy document from"),
        )
    ),
    ("get_policy_for_endpoint", _SEES_ALL, "Show the policy document that an endpoint has"),
    ("list_endpoints_for_policy", _SEES_ALL, "List the endpoints that a policy document is for"),
    ("get_domain_config", _SEES_ALL, "Show the configuration of a domain"),
    ("get_security_compliance_domain_config", "", "Show what passwords must look like"),
    ("create_domain_config", _ADMIN, "Store the configuration of a domain"),
    ("update_domain_config", _ADMIN, "Change the configuration of a domain"),
    ("delete_domain_config", _ADMIN, "Delete the configuration of a domain, or a part of it"),
    ("get_domain_config_default", _SEES_ALL, "Show what is configured where a domain has nothing of its own"),
    ("list_consumers", _SEES_ALL, "List OAuth consumers"),
    ("get_consumer", _SEES_ALL, "Show an OAuth consumer"),
    ("create_consumer", _ADMIN, "Create an OAuth consumer"),
    ("update_consumer", _ADMIN, "Change an OAuth consumer"),
    ("delete_consumer", _ADMIN, "Delete an OAuth consumer"),
    ("authorize_request_token", _ADMIN, "Let an OAuth consumer act for oneself"),
    ("list_access_tokens", _ADMIN, "List what a user has granted OAuth consumers"),
    ("get_access_token", _ADMIN, "Show what a user has granted an OAuth consumer"),
    ("delete_access_token", _ADMIN, "Take back what a user has granted an OAuth consumer"),
    ("list_access_token_roles", _ADMIN, "List the roles that a user has granted an OAuth consumer"),
    ("get_access_token_role", _ADMIN, "Show a role that a user has granted an OAuth consumer"),
    ("get_registered_limit", "", "Show a registered limit"),
    ("list_registered_limits", "", "List registered limits"),
    ("create_registered_limits", _ADMIN, "Register limits"),
    ("update_registered_limit", _ADMIN, "Change a registered limit"),
    ("delete_registered_limit", _ADMIN, "Delete a registered limit"),
    ("get_limit_model", "", "Show how limits of domains and projects relate"),
    (
        "get_limit",
        f"{_SEES_ALL} or (domain_id:%(target.limit.domain.id)s or domain_id:%(target.limit.project.domain_id)s)"
        " or (project_id:%(target.limit.project_id)s and not None:%(target.limit.project_id)s)",
        "Show a limit",
    ),
    ("list_limits", "", "List the limits that the caller may show"),
    ("create_limits", _ADMIN, "Create limits"),
    ("update_limit", _ADMIN, "Change a limit"),
    ("delete_limit", _ADMIN, "Delete a limit"),
)

RULES: tuple[Rule, ...] = (
    Rule("context_is_admin", "role:admin", "Who is an administrator of the cloud"),
    Rule("admin_required", "role:admin or is_admin:1", "An administrator"),
    Rule("service_role", "role:service", "A service of the cloud"),
    Rule("service_or_admin", "rule:admin_required or rule:service_role", "A service or an administrator"),
    Rule("owner", "user_id:%(user_id)s", "The user in question"),
    Rule("admin_or_owner", "rule:admin_required or rule:owner", "An administrator or the user in question"),
    Rule("token_subject", "user_id:%(target.token.user_id)s", "The user whose token it is"),
    Rule("admin_or_token_subject", "rule:admin_required or rule:token_subject", "That user or an administrator"),
    Rule(
        "service_admin_or_token_subject",
        "rule:service_or_admin or rule:token_subject",
        "That user, a service or an administrator",
    ),
    Rule(
        "domain_managed_target_role",
        "'manager':%(target.role.name)s or 'member':%(target.role.name)s or 'reader':%(target.role.name)s",
        "The roles that a domain's manager can hand out",
    ),
    *(Rule(f"identity:{name}", check, words) for name, check, words in _CHECKS),
    *FEDERATION,
)
