"""The network service: Neutron's API v2.0, and what hosts are told of it."""
