"""Who may do what with servers: Nova's rule names and defaults."""

from pileus.compute.policy import ADMIN, MEMBER, READER
from pileus.kernel.policy import Rule

S = "os_compute_api:servers:"
EXTENDED_ATTRIBUTES = "os_compute_api:os-extended-server-attributes"
HOST_STATUS = f"{S}show:host_status"
FLAVOR_EXTRA_SPECS = "os_compute_api:servers:show:flavor-extra-specs"
FORCED_HOST = f"{S}create:forced_host"
ZERO_DISK_FLAVOR = f"{S}create:zero_disk_flavor"
REQUESTED_DESTINATION = "compute:servers:create:requested_destination"
UNLOCK_OVERRIDE = "os_compute_api:os-lock-server:unlock:unlock_override"
ACTION_EVENTS = "os_compute_api:os-instance-actions:events"
ACTION_EVENT_DETAILS = "os_compute_api:os-instance-actions:events:details"
ALL_FILTERS = f"{S}allow_all_filters"

_READ = (
    (f"{S}index", "List servers."),
    (f"{S}detail", "List servers with details."),
    (f"{S}show", "Show a server."),
    (FLAVOR_EXTRA_SPECS, "Show the extra specs of a server's flavor, from version 2.47."),
    ("os_compute_api:ips:index", "List the addresses of a server."),
    ("os_compute_api:ips:show", "List the addresses of a server on one network."),
    ("os_compute_api:server-metadata:index", "List a server's metadata."),
    ("os_compute_api:server-metadata:show", "Show a metadata item of a server."),
    ("os_compute_api:os-server-tags:index", "List a server's tags."),
    ("os_compute_api:os-server-tags:show", "Check whether a server has a tag."),
    ("os_compute_api:os-security-groups:list", "List a server's security groups."),
    ("os_compute_api:os-attach-interfaces:list", "List a server's ports."),
    ("os_compute_api:os-attach-interfaces:show", "Show a port of a server."),
    ("os_compute_api:os-server-password:show", "Show the encrypted password that a server's guest gave to keep."),
    ("os_compute_api:os-instance-actions:list", "List the actions on a server."),
    ("os_compute_api:os-instance-actions:show", "Show an action on a server."),
)
_CHANGE = (
    (f"{S}create", "Create servers."),
    (f"{S}create:attach_network", "Create servers with networks or ports that the request names."),
    (f"{S}create:trusted_certs", "Create servers with trusted image certificates."),
    (f"{S}update", "Update a server."),
    (f"{S}delete", "Delete a server."),
    (f"{S}start", "Start a server."),
    (f"{S}stop", "Stop a server."),
    (f"{S}reboot", "Reboot a server."),
    ("os_compute_api:os-console-output", "Show a server's console output."),
    ("os_compute_api:os-deferred-delete:force", "Delete a server at once."),
    ("os_compute_api:os-deferred-delete:restore", "Restore a server that is deleted and not yet gone."),
    ("os_compute_api:os-lock-server:lock", "Lock a server."),
    ("os_compute_api:os-lock-server:unlock", "Unlock a server."),
    ("os_compute_api:os-security-groups:add", "Add a security group to a server."),
    ("os_compute_api:os-security-groups:remove", "Remove a security group from a server."),
    ("os_compute_api:os-server-password:clear", "Forget the encrypted password that a server's guest gave to keep."),
    ("os_compute_api:server-metadata:create", "Create or update metadata items of a server."),
    ("os_compute_api:server-metadata:update_all", "Replace a server's metadata."),
    ("os_compute_api:server-metadata:update", "Set a metadata item of a server."),
    ("os_compute_api:server-metadata:delete", "Delete a metadata item of a server."),
    ("os_compute_api:os-server-tags:update", "Add a tag to a server."),
    ("os_compute_api:os-server-tags:update_all", "Replace a server's tags."),
    ("os_compute_api:os-server-tags:delete", "Delete a tag of a server."),
    ("os_compute_api:os-server-tags:delete_all", "Delete all tags of a server."),
)
_ADMIN = (
    (f"{S}index:get_all_tenants", "List the servers of all projects."),
    (f"{S}detail:get_all_tenants", "List the servers of all projects with details."),
    (ALL_FILTERS, "Use every filter when listing servers."),
    (HOST_STATUS, "Show the status of a server's host."),
    (ZERO_DISK_FLAVOR, "Create a server from an image with a flavor whose disk is 0, which means any size."),
    (FORCED_HOST, "Create a server on a certain host through its availability zone."),
    (REQUESTED_DESTINATION, "Create a server on a requested host, from version 2.74."),
    (EXTENDED_ATTRIBUTES, "Show the attributes of a server that concern its host."),
    (UNLOCK_OVERRIDE, "Unlock a server, or act on one, that an administrator locked."),
    ("os_compute_api:os-admin-actions:reset_state", "Reset the state of a server."),
    (ACTION_EVENTS, "Show the events of an action with their tracebacks."),
    (ACTION_EVENT_DETAILS, "Show what failed in an event, from version 2.84."),
)

RULES: tuple[Rule, ...] = (
    *(Rule(name, READER, text) for name, text in _READ),
    *(Rule(name, MEMBER, text) for name, text in _CHANGE),
    *(Rule(name, ADMIN, text) for name, text in _ADMIN),
)
