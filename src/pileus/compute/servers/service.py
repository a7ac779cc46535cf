"""Business rules of servers. What takes longer than a request is a saga: see `sagas`."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from pileus.agent.api import MetadataSpec
from pileus.compute.errors import InstanceInvalidState, InstanceIsLocked, InstanceNotReady
from pileus.compute.metadata_sync.service import MetadataSync
from pileus.compute.quotas.service import Quotas
from pileus.compute.servers import creation, domain, filters, specs, store
from pileus.compute.servers.creation import May, NewServers, Plan, Planner
from pileus.compute.servers.domain import Server, Task, Transition, VmState
from pileus.compute.servers.injection import NO_INJECTION, InjectionChoice
from pileus.compute.servers.neighbours import Agents, Flavors, Hosts, Images, Keypairs, Networks
from pileus.compute.settings import ComputeSettings
from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Conflict, NotFound, OverLimit
from pileus.kernel.fields import UNSET, UnsetType
from pileus.kernel.paging import Page
from pileus.kernel.saga import Action, ActionEvent, Sagas, actions, events, find_action
from pileus.kernel.seal import Seal
from pileus.network.domain import PortInfo, SecurityGroup
from pileus.placement.service import Placement
from pileus.scheduler.service import Scheduler

MAX_TAGS = 50
CREATE, DELETE, START, STOP, REBOOT = (
    "server.create",
    "server.delete",
    "server.start",
    "server.stop",
    "server.reboot",
)


class ServerUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """What PUT may change; what is UNSET stays."""

    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    hostname: str | UnsetType = UNSET
    access_ip_v4: str | UnsetType | None = UNSET
    access_ip_v6: str | UnsetType | None = UNSET
    auto_disk_config: bool | UnsetType = UNSET


@dataclass(frozen=True)
class Neighbours:
    """What else servers are made with: other services, and compute's other parts."""

    images: Images
    flavors: Flavors
    keypairs: Keypairs
    quotas: Quotas
    networks: Networks
    hosts: Hosts
    placement: Placement
    scheduler: Scheduler
    agents: Agents


class Servers:
    """Servers as callers see and change them. Methods run in the caller's transaction."""

    def __init__(
        self,
        settings: ComputeSettings,
        neighbours: Neighbours,
        sagas: Sagas,
        clock: Clock,
        metadata_sync: MetadataSync,
        seal: Seal,
        injection: InjectionChoice = NO_INJECTION,
    ) -> None:
        """`seal`: closes what operations must not keep openly."""
        self.settings = settings
        self.seal = seal
        self.injection = injection
        self.neighbours = neighbours
        self.sagas = sagas
        self.metadata_sync = metadata_sync
        self.clock = clock
        self._planner = Planner(
            settings,
            neighbours.images,
            neighbours.flavors,
            neighbours.keypairs,
            neighbours.quotas,
            neighbours.networks,
            neighbours.hosts,
            self._hosts_of,
            injection,
        )

    # --- reading --------------------------------------------------------------------------------------------

    def get(self, tx: Tx, actor: Actor, server_id: str) -> Server:
        """A server that the actor may see and that is not deleted."""
        server = self.get_any(tx, actor, server_id)
        if server.deleted:
            raise _not_found(server_id)
        return server

    def get_any(self, tx: Tx, actor: Actor, server_id: str) -> Server:
        """A server that the actor may see, deleted or not."""
        server = store.get(tx, server_id)
        if server is None or (server.project_id != actor.project_id and not actor.is_admin):
            raise _not_found(server_id)
        return server

    def find(self, tx: Tx, server_id: str) -> Server | None:
        """A server whoever may see it, deleted or not; None if there never was one."""
        return store.get(tx, server_id)

    def page(self, tx: Tx, selection: store.Selection, page: Page) -> list[Server]:
        """A page of servers and, where there are more, one further. BadRequest if there is no such marker."""
        if page.limit == 0:
            return []
        found = store.page(tx, selection, page)
        if found is None:
            raise BadRequest(f"marker [{page.marker}] not found")
        return found

    def with_address(self, tx: Tx, selection: store.Selection, patterns: Mapping[int, str]) -> store.Selection:
        """`selection`, restricted to servers with a fixed address of an IP version that matches its pattern."""
        return filters.restrict_to_addresses(
            selection, patterns, store.matching(tx, selection), lambda ids: self.ports(tx, ids)
        )

    def ports(self, tx: Tx, server_ids: Sequence[str]) -> dict[str, list[PortInfo]]:
        """The ports of servers."""
        return self.neighbours.networks.server_ports(tx, server_ids) if server_ids else {}

    def user_data(self, tx: Tx, server_ids: Sequence[str]) -> dict[str, str | None]:
        """The user data of servers, base64 as it was sent."""
        return store.user_data(tx, server_ids)

    def host_up(self, tx: Tx, name: str) -> bool:
        """Whether a host is heard from; False for one that is not registered."""
        try:
            return self.neighbours.hosts.get(tx, name).up
        except NotFound:
            return False

    def actions(
        self,
        tx: Tx,
        server: Server,
        *,
        limit: int | None,
        marker: str | None,
        since: int | None,
        before: int | None,
    ) -> list[Action]:
        """The actions on a server, the latest first. BadRequest if there is no such marker."""
        found = actions(tx, server.id, limit=limit, marker=marker, changed_since=since, changed_before=before)
        if found is None:
            raise BadRequest(f"marker [{marker}] not found")
        return found

    def action(self, tx: Tx, server: Server, request_id: str) -> tuple[Action, list[ActionEvent]]:
        """One action, with those of its events that users see."""
        found = find_action(tx, server.id, request_id)
        if found is None:
            raise NotFound(f"Action for request_id {request_id} on instance {server.id} not found")
        return found, [one for one in events(tx, self.sagas, found.saga_id) if one.event]

    # --- creating -------------------------------------------------------------------------------------------

    def plan(self, tx: Tx, actor: Actor, new: NewServers, may: May) -> Plan:
        """Check a request for servers, without changing anything."""
        return self._planner.plan(tx, actor, new, may)

    def create(self, tx: Tx, actor: Actor, plan: Plan, request_id: str) -> list[str]:
        """Write the servers of a plan, start their sagas and answer their ids. OverLimit if a quota has no room for
        `min_count` of them; of those between `min_count` and `max_count`, as many are made as fit."""
        count = self._reserve(tx, actor, plan)
        now = self.clock.now()
        rows = creation.rows_of(plan, actor, now)[:count]
        store.insert(tx, rows)
        for row, nics in zip(rows, plan.nics, strict=False):
            self._start(tx, CREATE, row["id"], actor, request_id, creation.saga_params(plan, nics, self.seal))
        return [row["id"] for row in rows]

    def _reserve(self, tx: Tx, actor: Actor, plan: Plan) -> int:
        new = plan.new
        for count in range(len(plan.nics), new.min_count - 1, -1):
            wanted = {"instances": count, "cores": count * plan.flavor.vcpus, "ram": count * plan.flavor.ram}
            try:
                self.neighbours.quotas.reserve(tx, actor, wanted)
            except OverLimit:
                if count == new.min_count:
                    raise
            else:
                return count
        raise AssertionError("min_count is at least 1 and at most max_count")

    def _hosts_of(self, tx: Tx, actor: Actor, server_ids: Sequence[str]) -> list[str]:
        found = []
        for server_id in server_ids:
            try:
                host = self.get(tx, actor, server_id).host
            except NotFound as err:
                raise BadRequest(f"The scheduler hints name server {server_id}, which could not be found.") from err
            if host is not None:
                found.append(host)
        return found

    # --- changing -------------------------------------------------------------------------------------------

    def update(self, tx: Tx, server: Server, update: ServerUpdate) -> Server:
        """Change what a user may change of a server at any time."""
        values = {name: value for name, value in msgspec.structs.asdict(update).items() if value is not UNSET}
        if values:
            self._change(tx, server, values)
            self.metadata_sync.changed(tx, [server.id])
        return self._again(tx, server)

    def set_metadata(
        self, tx: Tx, actor: Actor, server: Server, metadata: Mapping[str, str], *, action: Transition
    ) -> Server:
        """Make a server's metadata be `metadata`."""
        self._allow(actor, server, action)
        limits = self.neighbours.quotas.limits(tx, server.project_id, server.user_id)
        creation.check_metadata_size(metadata, limits["metadata_items"])
        self._change(tx, server, {"metadata": dict(metadata)}, action)
        self.metadata_sync.changed(tx, [server.id])
        return self._again(tx, server)

    def set_tags(self, tx: Tx, actor: Actor, server: Server, tags: Collection[str]) -> None:
        """Make a server's tags be `tags`. BadRequest if they are too many."""
        self._allow(actor, server, domain.CHANGE_TAGS, locked_too=True)
        if len(tags) > MAX_TAGS:
            raise BadRequest(f"The number of tags exceeded the per-server limit {MAX_TAGS}")
        store.set_tags(tx, server.id, sorted(tags), self.clock.now())

    def lock(self, tx: Tx, actor: Actor, server: Server, reason: str | None, request_id: str) -> None:
        """Keep everybody without `unlock_override` from acting on a server."""
        owner = "owner" if actor.project_id == server.project_id and not actor.is_admin else "admin"
        self._change(tx, server, {"locked_by": owner, "locked_reason": reason})
        self._record(tx, actor, server, "lock", request_id)

    def unlock(self, tx: Tx, actor: Actor, server: Server, *, override: bool, request_id: str) -> None:
        """Undo `lock`. Conflict if an administrator locked the server and the actor may not override that."""
        if server.locked_by == "admin" and not override:
            raise InstanceIsLocked(f"Instance {server.id} is locked")
        self._change(tx, server, {"locked_by": None, "locked_reason": None})
        self._record(tx, actor, server, "unlock", request_id)

    def reset_state(self, tx: Tx, server: Server, state: VmState) -> None:
        """Say that a server is in `state` and that nothing is being done with it."""
        self._change(tx, server, {"vm_state": state, "task_state": None, "fault": None})

    def password(self, tx: Tx, server: Server) -> str:
        """The password that the guest gave its metadata service, encrypted with the server's key; or nothing."""
        return store.password_of(tx, server.id)

    def clear_password(self, tx: Tx, server: Server) -> None:
        """Forget the guest's password; it may then give another."""
        self._change(tx, server, {"password": None})
        self.metadata_sync.changed(tx, [server.id])

    def keep_password(self, tx: Tx, host: str, server_id: str, password: str) -> None:
        """Keep the password of a guest of `host`. NotFound if it is none, Conflict if a password is kept already."""
        server = store.get(tx, server_id, lock=True)
        if server is None or server.deleted or server.host != host:
            raise _not_found(server_id)
        if store.password_of(tx, server_id):
            raise Conflict("The server's password is set already.")
        self._change(tx, server, {"password": password})
        self.metadata_sync.changed(tx, [server_id])

    def add_group(self, tx: Tx, actor: Actor, server: Server, name: str) -> None:
        """Add a security group (by name or id) to all ports of a server."""
        self._change_groups(tx, actor, server, name, lambda ids, group: [*ids, group] if group not in ids else ids)

    def remove_group(self, tx: Tx, actor: Actor, server: Server, name: str) -> None:
        """Remove a security group (by name or id) from all ports of a server. NotFound if none has it."""
        self._change_groups(tx, actor, server, name, lambda ids, group: [one for one in ids if one != group])

    def groups(self, tx: Tx, actor: Actor, server: Server) -> list[SecurityGroup]:
        """The security groups of a server's ports, with their rules."""
        ports = self.ports(tx, [server.id]).get(server.id, ())
        ids = dict.fromkeys(group.id for port in ports for group in port.security_groups)
        return [self.neighbours.networks.security_groups.get(tx, actor, group_id) for group_id in ids]

    def _change_groups(
        self, tx: Tx, actor: Actor, server: Server, name: str, change: Callable[[list[str], str], list[str]]
    ) -> None:
        self._allow(actor, server, domain.CHANGE_GROUPS)
        networks = self.neighbours.networks
        try:
            (group,) = networks.resolve_security_groups(tx, actor, [name])
        except BadRequest as err:
            raise NotFound(f"Security group {name} not found for project {actor.owner}.") from err
        ports = [networks.ports.find(tx, one.id) for one in self.ports(tx, [server.id]).get(server.id, ())]
        changes = [(port, change(list(port.security_groups), group.id)) for port in ports]
        present = any(group.id in port.security_groups for port in ports)
        if not present and not any(group.id in ids for _, ids in changes):
            raise NotFound(f"Security group {name} not associated with the instance {server.id}")
        for port, ids in changes:
            if ids != list(port.security_groups):
                networks.ports.update(tx, port, {"security_groups": ids})
        self._change(tx, server, {})

    # --- acting ---------------------------------------------------------------------------------------------

    def start(self, tx: Tx, actor: Actor, server: Server, request_id: str) -> None:
        """Power a stopped server on."""
        self._act(tx, actor, server, domain.START, START, request_id, {})

    def stop(self, tx: Tx, actor: Actor, server: Server, request_id: str) -> None:
        """Shut a server down."""
        self._act(tx, actor, server, domain.STOP, STOP, request_id, {})

    def reboot(self, tx: Tx, actor: Actor, server: Server, request_id: str, *, hard: bool) -> None:
        """Restart the guest: cleanly, or by cutting its power."""
        transition = domain.HARD_REBOOT if hard else domain.SOFT_REBOOT
        self._act(tx, actor, server, transition, REBOOT, request_id, {"hard": hard})

    def delete(self, tx: Tx, actor: Actor, server: Server, request_id: str) -> None:
        """Delete a server in any state; what is being done with it is cancelled first."""
        if server.task_state == Task.DELETING:
            return
        self._check_lock(actor, server)
        self.sagas.cancel_all(tx, server.id)
        self._change(tx, server, {"task_state": Task.DELETING})
        self._start(tx, DELETE, server.id, actor, request_id, {}, project=server.project_id)

    def console_source(self, actor: Actor, server: Server) -> str:
        """The host on which a server's console output is."""
        self._check_lock(actor, server)
        if server.host is None:
            raise InstanceNotReady(f"Instance {server.id} is not ready")
        return server.host

    def restore(self, actor: Actor, server: Server) -> None:
        """Conflict: servers are deleted at once, so that none can be restored."""
        self._allow(actor, server, domain.RESTORE)

    def console_output(self, host: str, server: Server, length: int | None) -> str:
        """The last `length` lines that a guest wrote to its serial console; all that are kept for None or -1. Asks the
        host, so no transaction may be open."""
        query = "" if length is None or length < 0 else f"?length={length}"
        answer = self.neighbours.agents.call(host, "GET", f"/guests/{server.id}/console{query}")
        return str(answer.get("output", ""))

    def metadata_of(self, tx: Tx, server: Server) -> MetadataSpec:
        """The MetadataSpec of a server, complete but for what only the operation knows that builds it."""
        boot, user_data = store.boot_of(tx, server.id)
        ports = self.ports(tx, [server.id]).get(server.id, [])
        data = self.neighbours.networks.network_data(tx, server.id) if ports else {}
        spec = specs.metadata_spec(server, boot, user_data, ports, data)
        return msgspec.structs.replace(spec, password=store.password_of(tx, server.id))

    def _act(
        self,
        tx: Tx,
        actor: Actor,
        server: Server,
        transition: Transition,
        saga: str,
        request_id: str,
        params: Mapping[str, Any],
    ) -> None:
        self._allow(actor, server, transition)
        if server.host is None:
            raise InstanceNotReady(f"Instance {server.id} is not ready")
        self._change(tx, server, {"task_state": transition.task}, transition)
        self._start(tx, saga, server.id, actor, request_id, params, project=server.project_id)

    def _allow(self, actor: Actor, server: Server, transition: Transition, *, locked_too: bool = False) -> None:
        """Conflict if the action is not allowed in the server's state, or by its lock."""
        if not locked_too:
            self._check_lock(actor, server)
        if transition.vm_states is not None and server.vm_state not in transition.vm_states:
            raise _invalid(server, transition, "vm_state", server.vm_state)
        if server.task_state not in transition.tasks:
            raise _invalid(server, transition, "task_state", str(server.task_state))

    @staticmethod
    def _check_lock(actor: Actor, server: Server) -> None:
        if server.locked_by is not None and not actor.is_admin:
            raise InstanceIsLocked(f"Instance {server.id} is locked")

    def _change(self, tx: Tx, server: Server, values: Mapping[str, Any], transition: Transition | None = None) -> None:
        """Compare-and-swap: Conflict if the server has meanwhile left the states in which the transition is allowed."""
        done = store.change(
            tx,
            server.id,
            {**values, "updated_at": self.clock.now()},
            vm_states=transition.vm_states if transition else None,
            tasks=transition.tasks if transition else None,
        )
        if not done:
            raise Conflict(f"Instance {server.id} was changed by another request. Try again.")

    def _again(self, tx: Tx, server: Server) -> Server:
        found = store.get(tx, server.id)
        if found is None:
            raise _not_found(server.id)
        return found

    def _start(
        self,
        tx: Tx,
        saga: str,
        server_id: str,
        actor: Actor,
        request_id: str,
        params: Mapping[str, Any],
        project: str | None = None,
    ) -> None:
        self.sagas.start(
            tx,
            saga,
            resource=server_id,
            project=project if project is not None else actor.owner,
            user=actor.user_id,
            request_id=request_id,
            params=params,
        )

    def _record(self, tx: Tx, actor: Actor, server: Server, action: str, request_id: str) -> None:
        self.sagas.record(
            tx, action, resource=server.id, project=server.project_id, user=actor.user_id, request_id=request_id
        )


def _not_found(server_id: str) -> NotFound:
    return NotFound(f"Instance {server_id} could not be found.")


def _invalid(server: Server, transition: Transition, kind: str, state: str) -> InstanceInvalidState:
    return InstanceInvalidState(f"Cannot '{transition.action}' instance {server.id} while it is in {kind} {state}")
