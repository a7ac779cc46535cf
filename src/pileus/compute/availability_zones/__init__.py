"""Availability zones: groups of hosts that servers can be asked into."""
