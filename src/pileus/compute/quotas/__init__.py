"""Quotas: how much projects and users may have."""
