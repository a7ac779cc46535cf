"""Hypervisors: hosts as administrators see them."""
