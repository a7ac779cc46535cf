"""Settings of the compute service."""

from dataclasses import dataclass

from pileus.kernel.config import setting


@dataclass(frozen=True)
class ComputeSettings:
    """`[compute]`: servers, their limits and how they are treated."""

    quota_instances: int = setting(10, "servers that a project may have; -1 is no limit", minimum=-1)
    quota_cores: int = setting(
        20, "virtual CPUs that a project's servers may have together; -1 is no limit", minimum=-1
    )
    quota_ram: int = setting(
        51200, "memory that a project's servers may have together; -1 is no limit", unit="MiB", minimum=-1
    )
    quota_metadata_items: int = setting(128, "metadata items of a server; -1 is no limit", minimum=-1)
    quota_injected_files: int = setting(5, "files that a request may put into a server; -1 is no limit", minimum=-1)
    quota_injected_file_content_bytes: int = setting(
        10240, "size of such a file; -1 is no limit", unit="bytes", minimum=-1
    )
    quota_injected_file_path_length: int = setting(255, "length of such a file's path; -1 is no limit", minimum=-1)
    quota_key_pairs: int = setting(100, "key pairs that a user may have; -1 is no limit", minimum=-1)
    quota_server_groups: int = setting(10, "server groups that a project may have; -1 is no limit", minimum=-1)
    quota_server_group_members: int = setting(10, "servers in a server group; -1 is no limit", minimum=-1)
    max_limit: int = setting(1000, "longest page of a list", minimum=1)
    default_availability_zone: str = setting("nova", "availability zone of hosts that are in no other")
    force_config_drive: bool = setting(False, "give every server a config drive")
    instance_name_prefix: str = setting(
        "instance-", "what the hypervisor's names of guests begin with", pattern="[A-Za-z0-9-]+"
    )
    shutdown_timeout: int = setting(60, "how long a guest may take to shut down cleanly", unit="seconds", minimum=0)
    resume_guests_state_on_host_boot: bool = setting(
        False, "start the servers that ran before their host was restarted"
    )
    power_state_grace: float = setting(
        5.0,
        "how long a server's state must have stood before an observation may correct it",
        unit="seconds",
        minimum=0.0,
    )
    password_length: int = setting(12, "length of generated administrator passwords", minimum=8)
