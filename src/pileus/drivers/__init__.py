"""Drivers: what knows a hypervisor or a network technology. Only the agent imports them."""
