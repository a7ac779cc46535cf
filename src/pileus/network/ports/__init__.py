"""Ports: attachment points with a MAC, addresses and security groups."""
