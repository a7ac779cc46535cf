"""The request body of operations on domains' configuration."""

from typing import Any

from pileus.kernel.fields import Body, Param

CONFIG = Body(None, Param("config", dict[str, Any]), extra=True, strict=True)
"""Groups of options, a group, or an option: the path says which."""
