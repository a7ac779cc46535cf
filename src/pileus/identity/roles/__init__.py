"""Roles, what they imply, and who holds them where."""
