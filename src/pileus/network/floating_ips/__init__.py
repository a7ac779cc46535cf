"""Floating IPs: external addresses that lead to ports."""
