"""Pileus: an OpenStack-compatible cloud that starts with one command."""
