"""Floating IPs through the compute API: the network service's, in Nova's old form."""
