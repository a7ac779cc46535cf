"""What crosses the wire between the control plane and a host agent: complete descriptions of desired state.

Every struct here describes *all* of its resource, so that a request may be lost, repeated or reordered after a
newer one without harm: the agent makes the host be as described. The structs are plain data; this module
imports nothing of Pileus but another such struct, because both sides of the wire (and the drivers) read it.

Verbs (JSON bodies are the structs below; answers are JSON; errors are `{"error": {"kind", "message"}}`):

====== =============================== ======================= =============================================
verb   path                            body                    answer
====== =============================== ======================= =============================================
PUT    /networks/{id}                  NetworkSpec             {}
DELETE /networks/{id}                                          {}
PUT    /ports/{id}                     PortSpec                {"tap": name}
DELETE /ports/{id}                                             {}
PUT    /address-sets/{id}              AddressSetSpec          {}
DELETE /address-sets/{id}                                      {}
PUT    /routers/{id}                   RouterSpec              {}
DELETE /routers/{id}                                           {}
PUT    /disks/{server_id}              DisksSpec               {"disks": [DiskFile, ...]}
DELETE /disks/{server_id}                                      {}
PUT    /guests/{server_id}             GuestSpec               {"power_state": PowerState}
DELETE /guests/{server_id}                                     {}
POST   /guests/{server_id}/power       PowerAction             {"power_state": PowerState}
GET    /guests/{server_id}             -                       {"power_state": PowerState}
GET    /guests/{server_id}/console     ?length=LINES           {"output": text}
PUT    /metadata/{server_id}           MetadataSpec            {}
DELETE /metadata/{server_id}                                   {}
GET    /images                         -                       CachedImages
PUT    /images/{checksum}              ImageRef                Prefetched (waits ?wait=SECONDS at most)
POST   /images/verify                  VerifyImages            VerifiedImages
POST   /images/prune                   PruneImages             PrunedImages
GET    /inventory                      -                       Inventory
GET    /state                          -                       HostState (for audits)
====== =============================== ======================= =============================================
"""

from enum import StrEnum
from typing import Literal

import msgspec

from pileus.kernel.signature import Signature


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all descriptions: immutable, compared by value."""


class Refused(Spec, frozen=True):
    """Why an agent did not do as asked. `kind` is one of the values of RefusalKind."""

    kind: str
    message: str


class RefusalKind(StrEnum):
    """The kinds of refusal: they decide whether a saga retries, reschedules or gives up."""

    INVALID = "invalid"  # the description is malformed: never retried
    NOT_FOUND = "not-found"  # the guest, or what it refers to, is not on this host
    CONFLICT = "conflict"  # something else holds the resource (a bound port, a lock)
    IMAGE_UNUSABLE = "image-unusable"  # the image is not what it says it is, or too large for the disk
    NO_SPACE = "no-space"  # the host's disk is full
    FAILED = "failed"  # the driver failed; may be retried


class PowerState(StrEnum):
    """Power states as Nova names them (the API shows their numbers)."""

    NOSTATE = "pending"  # 0
    RUNNING = "running"  # 1
    PAUSED = "paused"  # 3
    SHUTDOWN = "shutdown"  # 4
    CRASHED = "crashed"  # 6
    SUSPENDED = "suspended"  # 7


# --- networks -----------------------------------------------------------------------------------------------


class HostRoute(Spec, frozen=True):
    destination: str  # CIDR
    nexthop: str


class SubnetSpec(Spec, frozen=True):
    id: str
    cidr: str
    gateway_ip: str | None = None
    enable_dhcp: bool = True
    dhcp_ip: str | None = None  # address of the DHCP port on this subnet; None where DHCP is off
    dns_nameservers: tuple[str, ...] = ()
    host_routes: tuple[HostRoute, ...] = ()
    ipv6_ra_mode: str | None = None
    ipv6_address_mode: str | None = None


class DhcpHost(Spec, frozen=True):
    """One reservation: DHCP answers only to the MAC addresses of known ports."""

    port_id: str
    mac: str
    ips: tuple[str, ...]
    hostname: str


class NetworkSpec(Spec, frozen=True):
    """A network as it must be on this host: its bridge, and its DHCP server if `dhcp_mac` is given.

    An `external` network is connected to the host's physical network `physical_network` (a name that the agent's
    settings map to a host-local NAT bridge or to an existing interface).
    """

    id: str
    segment: int  # VXLAN network identifier, unique in the cloud
    mtu: int
    external: bool = False
    physical_network: str | None = None
    dns_domain: str = ""
    dhcp_mac: str | None = None
    subnets: tuple[SubnetSpec, ...] = ()
    dhcp_hosts: tuple[DhcpHost, ...] = ()


class AddressPair(Spec, frozen=True):
    ip: str  # address or CIDR
    mac: str


class FilterRule(Spec, frozen=True):
    """One security group rule. All that is None matches everything."""

    direction: Literal["ingress", "egress"]
    ethertype: Literal["IPv4", "IPv6"]
    protocol: str | None = None  # tcp, udp, icmp, ipv6-icmp, or a number as text
    port_min: int | None = None  # for ICMP the type
    port_max: int | None = None  # for ICMP the code
    remote_prefix: str | None = None  # CIDR
    remote_set: str | None = None  # id of an address set (a remote security group or address group)


class PortSpec(Spec, frozen=True):
    """A server's port on this host: a tap on the network's bridge, with its filters.

    `filtered` False (port security off) lets everything pass, spoofed addresses too.
    """

    id: str
    network_id: str
    mac: str
    mtu: int
    admin_state_up: bool = True
    filtered: bool = True
    addresses: tuple[AddressPair, ...] = ()  # what the guest may send from: fixed IPs and allowed address pairs
    rules: tuple[FilterRule, ...] = ()


class AddressSetSpec(Spec, frozen=True):
    """The members of a remote security group: rules name the set, so that a new member changes one set only."""

    id: str
    ipv4: tuple[str, ...] = ()
    ipv6: tuple[str, ...] = ()


class RouterInterface(Spec, frozen=True):
    port_id: str
    network_id: str
    mac: str
    addresses: tuple[str, ...]  # each with its prefix length, "10.0.0.1/24"


class RouterGateway(Spec, frozen=True):
    port_id: str
    network_id: str  # an external network
    mac: str
    addresses: tuple[str, ...]  # each with its prefix length
    next_hops: tuple[str, ...]  # the external subnets' gateways
    enable_snat: bool = True


class FloatingAddress(Spec, frozen=True):
    id: str
    floating_ip: str
    fixed_ip: str


class RouterSpec(Spec, frozen=True):
    id: str
    admin_state_up: bool = True
    interfaces: tuple[RouterInterface, ...] = ()
    gateway: RouterGateway | None = None
    floating: tuple[FloatingAddress, ...] = ()
    routes: tuple[HostRoute, ...] = ()


# --- disks and guests ---------------------------------------------------------------------------------------


class ImageRef(Spec, frozen=True):
    """An image as the agent fetches it from the control plane (`GET /agent/v1/images/{id}/data`)."""

    id: str
    checksum: str  # hex digest of the image's bytes under `hash_algo`: what the cache is keyed by
    hash_algo: str
    size: int  # bytes
    disk_format: str  # raw, qcow2, aki, ari, ami ...
    min_disk: int = 0  # GiB
    signature: Signature | None = None  # without which the bytes must not be used, if the image is signed


class InjectedFile(Spec, frozen=True):
    """A file that a server is to have: in its disk, or on its config drive. `path` is absolute."""

    path: str
    content: bytes


class Injection(Spec, frozen=True):
    """What is written into the root disk when it is made. Only files are insisted on; the rest is best effort."""

    files: tuple[InjectedFile, ...] = ()
    public_keys: tuple[str, ...] = ()  # OpenSSH lines, for root
    admin_pass: str | None = None  # root's password
    network_data: dict[str, object] | None = None  # network_data.json, for /etc/network/interfaces
    metadata: dict[str, str] = {}  # for /meta.js


class DisksSpec(Spec, frozen=True):
    """All disks of a server. Sizes: root and ephemeral in GiB (0 = as large as the image), swap in MiB."""

    server_id: str
    image: ImageRef | None = None
    kernel: ImageRef | None = None
    ramdisk: ImageRef | None = None
    root_gb: int = 0
    ephemeral_gb: int = 0
    swap_mb: int = 0
    config_drive: bool = False  # built from the server's MetadataSpec, which must be there before
    inject: Injection | None = None


class DiskFile(Spec, frozen=True):
    """One file that the agent made for a server."""

    role: Literal["root", "ephemeral", "swap", "config", "kernel", "ramdisk"]
    path: str
    format: str  # qcow2, raw
    size: int  # bytes, as the guest sees it


class Nic(Spec, frozen=True):
    port_id: str
    mac: str
    mtu: int
    model: str = "virtio"


class GuestSpec(Spec, frozen=True):
    """A guest. The agent adds the taps (from its ports) and the disk files (from its disks) itself."""

    id: str
    name: str  # the server's display name
    instance_name: str  # the name under the hypervisor: instance-0000001a
    project_id: str
    user_id: str
    flavor_name: str
    vcpus: int
    memory_mb: int
    nics: tuple[Nic, ...] = ()
    machine_properties: dict[str, str] = {}  # hw_* image properties (hw_disk_bus, hw_vif_model, hw_machine_type)
    kernel_command_line: str | None = None
    running: bool = True


class PowerAction(Spec, frozen=True):
    """`timeout`: seconds that a clean shutdown (stop, soft reboot) may take before the power is cut."""

    action: Literal["start", "stop", "soft-reboot", "hard-reboot"]
    timeout: int = 60


class MetadataAddress(Spec, frozen=True):
    """From where a guest asks: the metadata service knows it by namespace (network) and source address."""

    network_id: str
    port_id: str
    mac: str
    mtu: int
    ips: tuple[str, ...]


class MetadataSpec(Spec, frozen=True):
    """What a server may learn of itself, in the neutral form that OpenStack's and EC2's trees are made from."""

    server_id: str
    project_id: str
    name: str
    hostname: str
    instance_type: str
    image_id: str
    availability_zone: str
    launch_index: int = 0
    reservation_id: str = ""
    public_ipv4: str | None = None  # the floating IP address of the first port that has one
    admin_pass: str | None = None
    password: str = ""  # what the guest has posted: a password encrypted with the server's key
    metadata: dict[str, str] = {}
    public_keys: dict[str, str] = {}  # name -> OpenSSH public key line
    user_data: str | None = None  # base64
    security_groups: tuple[str, ...] = ()
    addresses: tuple[MetadataAddress, ...] = ()
    network_data: dict[str, object] = {}  # network_data.json, complete
    files: tuple[InjectedFile, ...] = ()  # on the config drive only


# --- the image cache ----------------------------------------------------------------------------------------


class CachedImage(Spec, frozen=True):
    """One image in the cache. Sizes in bytes, times in microseconds since the epoch.

    An image that was found damaged is set aside, and stays as long as servers use it; once it has been fetched anew,
    the same checksum is listed twice, with different states.
    """

    checksum: str
    format: Literal["raw", "qcow2"]  # of the base, not of the image as it was uploaded
    size: int  # what it takes of the disk, with its resized copies
    virtual_size: int
    users: tuple[str, ...] = ()  # ids of servers whose disks need it, on all hosts that share the cache
    copies: tuple[int, ...] = ()  # virtual sizes of its resized copies
    last_used: int = 0
    created_at: int = 0
    verified_at: int = 0  # when the content last agreed with the checksum that was taken at creation
    state: Literal["ready", "damaged"] = "ready"
    image_ids: tuple[str, ...] = ()  # images with this content that were asked for here


class CachedImages(Spec, frozen=True):
    """All images in the cache, by checksum. `free`: bytes free on the cache's file system."""

    images: tuple[CachedImage, ...] = ()
    free: int = 0


class Prefetched(Spec, frozen=True):
    """Whether the image is in the cache now. If not, its fetch goes on or waits for its turn: ask again.

    A fetch that failed is told as a refusal to the next who asks, and begun anew by the one after.
    """

    ready: bool


class VerifyImages(Spec, frozen=True):
    """Read cached images and compare them with their checksums, longest unverified first, for `seconds`.

    Reads at full speed. `before`: only those last verified before that time, so that who repeats the request with the
    same `before` gets through all of them.
    """

    checksums: tuple[str, ...] = ()  # none: all
    before: int | None = None  # microseconds since the epoch
    seconds: float = 20.0  # begin no further image after so long


class VerifiedImages(Spec, frozen=True):
    """Checksums by what was found. `damaged` ones are set aside; `remaining` ones were not reached."""

    verified: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    remaining: tuple[str, ...] = ()


class PruneImages(Spec, frozen=True):
    """Remove cached images that no server's disk needs. What is None is as in the host's settings."""

    unused_for: float | None = None  # seconds since the last use; 0: all that are unused
    min_free: int | None = None  # bytes: the least recently used go, however young, until so much is free
    checksums: tuple[str, ...] = ()  # none: any


class PrunedImages(Spec, frozen=True):
    """What was removed. `freed`: bytes of disk."""

    removed: tuple[str, ...] = ()
    freed: int = 0


# --- reports ------------------------------------------------------------------------------------------------


class Inventory(Spec, frozen=True):
    """What the host is and has. Sizes: memory MiB, disk GiB. Posted to the control plane and answered to GET."""

    host: str
    hypervisor_type: str  # QEMU, KVM, fake
    hypervisor_version: int  # as libvirt counts it: 7002000
    arch: str
    cpu_model: str
    vcpus: int
    memory_mb: int
    memory_mb_used: int
    disk_gb: int
    disk_gb_free: int
    host_ip: str
    cached_images: tuple[str, ...] = ()  # checksums in the image cache


class HostReport(Spec, frozen=True):
    """What an agent says of its host every few seconds, and at once when it starts. `address`: where it is reached."""

    address: str
    inventory: Inventory
    power: dict[str, PowerState] = {}
    booted_at: int = 0  # when the host itself started: microseconds since the epoch


class PowerReport(Spec, frozen=True):
    """Guests that changed their power state by themselves."""

    states: dict[str, PowerState]


class ServerPassword(Spec, frozen=True):
    """What a guest gave its metadata service to keep: its password, encrypted with the public key of its server."""

    password: str


class HostState(Spec, frozen=True):
    """Everything of Pileus that exists on the host, found by looking at the host itself. For audits."""

    guests: dict[str, PowerState] = {}  # server id -> power state
    disks: tuple[str, ...] = ()  # server ids that have a disk directory
    taps: tuple[str, ...] = ()  # port ids
    networks: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()
    address_sets: tuple[str, ...] = ()
    dhcp_hosts: dict[str, tuple[str, ...]] = {}  # network id -> port ids with a reservation
    metadata: tuple[str, ...] = ()  # server ids
    strays: tuple[str, ...] = ()  # "kind name" of things that carry our prefix but belong to nothing known
