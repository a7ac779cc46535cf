"""Runs OpenStack's official test suite against a fresh cloud: `make tempest T=REGEX`."""
