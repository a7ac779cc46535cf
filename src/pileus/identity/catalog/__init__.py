"""The catalog: regions, services and their endpoints."""
