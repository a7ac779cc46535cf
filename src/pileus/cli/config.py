"""`pileus config`: every setting with its value, source, default and meaning."""

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console
from rich.text import Text

from pileus.kernel import config
from pileus.kernel.config import Entry, Loaded
from pileus.kernel.errors import NotFound
from pileus.settings import Settings


def print_defaults() -> None:
    """A configuration file that changes nothing."""
    print(config.defaults_toml(Settings), end="")


def print_settings(loaded: Loaded[Settings], names: Sequence[str]) -> None:
    """All settings, or those that `names` (sections or section.key) select."""
    entries = [entry for entry in loaded.entries if not names or _selected(entry, names)]
    if not entries:
        raise NotFound(f"There is no setting or section {' or '.join(names)}.")
    console = Console(highlight=False, soft_wrap=True)
    titles = dict(config.sections_of(Settings))
    section = ""
    for entry in entries:
        if entry.section != section:
            section = entry.section
            console.print(Text(f"\n[{section}]", "bold").append(f"  {config.title(titles[section])}", "dim"))
        console.print(_line(entry))
        console.print(Text(f"    {entry.meta.meaning} ({config.describe(entry)})", "dim"))


def _line(entry: Entry) -> Text:
    derived = entry.source.startswith("from ")  # and then of what is public
    meta = replace(entry.meta, secret=False) if derived else entry.meta
    line = Text(f"{entry.key} = ").append(config.shown(entry.value, meta), "green")
    if entry.source == config.DEFAULT:
        return line.append("  # default", "dim")
    return line.append(f"  # {entry.source}; default: {config.shown(entry.default, entry.meta) or 'none'}", "yellow")


def _selected(entry: Entry, names: Sequence[str]) -> bool:
    return any(name in (entry.name, entry.section) or entry.section.startswith(f"{name}.") for name in names)
