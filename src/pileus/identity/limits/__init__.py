"""Unified limits: how much of a resource a project may have, kept here for all services."""
