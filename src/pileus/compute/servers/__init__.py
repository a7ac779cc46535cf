"""Servers: the virtual machines of users, from the request to the guest and back."""
