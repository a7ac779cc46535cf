"""Runs the benchmarks one after another: `python -m bench [NAME ...]`, all of them without names.

Each is a module of this directory with a docstring that says what it measures and how. The machine should be quiet.
"""

import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def names() -> list[str]:
    """All benchmarks, by name."""
    return sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))


def main() -> int:
    """Run; how many failed."""
    failed = 0
    for name in sys.argv[1:] or names():
        print(f"== {name}", flush=True)
        begun = time.monotonic()
        done = subprocess.run([sys.executable, "-m", f"bench.{name}"], cwd=HERE.parent, check=False)
        print(f"   ({time.monotonic() - begun:.0f} s)\n", flush=True)
        failed += done.returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
