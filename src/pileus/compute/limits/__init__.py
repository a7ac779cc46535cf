"""Limits: what a project may have and what of it is used."""
