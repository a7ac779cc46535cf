"""Says loudly when a machine lacks what a test needs; where real things are required, fails instead."""

import os
import shutil

import pytest


def require(*programs: str) -> None:
    """Skip the test unless all programs are on PATH; with PILEUS_REQUIRE_REAL=1, fail it."""
    missing = [program for program in programs if shutil.which(program) is None]
    if not missing:
        return
    reason = f"NOT TESTED: this machine lacks {', '.join(missing)}"
    if os.environ.get("PILEUS_REQUIRE_REAL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
