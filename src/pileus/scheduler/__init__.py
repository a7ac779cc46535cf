"""Chooses a host for a server. It starts nothing and reserves nothing: placement's claim is the judge."""
