"""`pileus doctor`: what is wrong with this machine or its cloud, and what to do about it."""

from rich.console import Console
from rich.text import Text

from pileus.settings import Settings
from pileus.supervisor import checks
from pileus.supervisor.checks import Level
from pileus.supervisor.parts import resolve

AUDIT = "pileus.audit:audit"
"""(settings) -> lines that say where the database and the hosts differ; none if they agree."""

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILED: "red"}


def check(settings: Settings) -> int:
    """Run every check and print its verdict. 1 if one has failed."""
    console = Console(highlight=False, soft_wrap=True)
    worst = 0
    for found, verdict in checks.verdicts(settings):
        line = Text(f"{verdict.level:8}", _STYLES[verdict.level]).append(f"{found.name}: {verdict.message}", "default")
        console.print(line)
        if verdict.remedy and verdict.level is not Level.OK:
            console.print(Text(f"        -> {verdict.remedy}", "bold"))
        if verdict.level is Level.FAILED:
            worst = 1
    return worst


def audit(settings: Settings) -> int:
    """Compare what the database says with what the hosts have. 1 if they differ."""
    differences = 0
    for line in resolve(AUDIT)(settings):
        print(line)
        differences += 1
    if differences:
        return 1
    print("The database and the hosts agree.")
    return 0
