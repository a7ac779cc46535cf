"""Logging in, and what tokens mean."""
