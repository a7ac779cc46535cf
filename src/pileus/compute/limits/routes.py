"""The URL of limits: quotas with their use, under names of their own."""

from operator import itemgetter
from typing import Any

from pileus.compute.limits.policy import LIMITS, OTHER_PROJECT
from pileus.compute.query_strings import number, refuse_unknown
from pileus.compute.quotas.service import Quotas
from pileus.kernel.fields import Field, View
from pileus.kernel.http import Call, Route

_MAXIMA = View(
    Field("maxTotalInstances", itemgetter("instances")),
    Field("maxTotalCores", itemgetter("cores")),
    Field("maxTotalRAMSize", itemgetter("ram")),
    Field("maxTotalKeypairs", itemgetter("key_pairs")),
    Field("maxServerMeta", itemgetter("metadata_items")),
    Field("maxServerGroups", itemgetter("server_groups")),
    Field("maxServerGroupMembers", itemgetter("server_group_members")),
    Field("maxImageMeta", itemgetter("metadata_items"), until="2.38"),
    Field("maxPersonality", itemgetter("injected_files"), until="2.56"),
    Field("maxPersonalitySize", itemgetter("injected_file_content_bytes"), until="2.56"),
    Field("maxTotalFloatingIps", itemgetter("floating_ips"), until="2.35"),
    Field("maxSecurityGroups", itemgetter("security_groups"), until="2.35"),
    Field("maxSecurityGroupRules", itemgetter("security_group_rules"), until="2.35"),
)
"""Rendered from limits."""

_USED = View(
    Field("totalInstancesUsed", itemgetter("instances")),
    Field("totalCoresUsed", itemgetter("cores")),
    Field("totalRAMUsed", itemgetter("ram")),
    Field("totalServerGroupsUsed", itemgetter("server_groups")),
    Field("totalFloatingIpsUsed", itemgetter("floating_ips"), until="2.35"),
    Field("totalSecurityGroupsUsed", itemgetter("security_groups"), until="2.35"),
)
"""Rendered from what is used."""


def show_limits(call: Call, svc: Quotas) -> dict[str, Any]:
    refuse_unknown(call, {"reserved", "tenant_id"})
    number(call, "reserved", "reserved must be an integer.")  # nothing is reserved apart from what is used
    project_id = call.query.get("tenant_id") or call.actor.owner
    if project_id != call.actor.owner:
        call.authorize({"project_id": project_id}, OTHER_PROJECT)
    with call.read() as tx:
        limits, used = svc.limits(tx, project_id), svc.used(tx, project_id)
    absolute = _MAXIMA.render(limits, call.version) | _USED.render(used, call.version)
    return {"limits": {"rate": [], "absolute": absolute}}


ROUTES: tuple[Route[Quotas], ...] = (Route("GET", "/limits", show_limits, LIMITS),)
