"""Settings of pre-caching."""

from dataclasses import dataclass

from pileus.kernel.config import setting


@dataclass(frozen=True)
class PrecacheSettings:
    """`[precache]`: which images hosts fetch before a server asks for them, besides those that administrators name.

    Nothing is fetched unasked by default: it costs every host disk and network. And what is critical is said by a
    server's metadata, which its project sets as it likes, so an administrator must choose to listen to it.
    """

    most_used: int = setting(
        0, "so many images, from which the most servers were made lately, are kept on every host; 0 is none", minimum=0
    )
    most_used_days: int = setting(7, "how far back servers are counted for that", unit="days", minimum=1)
    critical_key: str = setting(
        "", "the images of servers that have this metadata key are kept on every host; empty: of none"
    )
    critical_value: str = setting("true", "the value that the key must have")
    most_critical: int = setting(20, "how many such images are kept at most", minimum=0)
    policy: str = setting(
        "",
        "what to keep on every host, if not by the settings above: `module:name` of a function that takes this section"
        " and gives a PrecachePolicy",
    )
    interval: float = setting(600.0, "time between looks at what hosts lack", unit="seconds", minimum=1.0)
    hosts_at_once: int = setting(4, "hosts that pre-cache at the same time", minimum=1)
    spare_disk: int = setting(
        10, "share of a host's disk that pre-caching leaves free", unit="percent", minimum=0, maximum=100
    )
    give_up_after: float = setting(
        86400.0, "how long a host may fail to fetch an image before the wish is dropped", unit="seconds", minimum=1.0
    )
