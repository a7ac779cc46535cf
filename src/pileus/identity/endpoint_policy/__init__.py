"""OS-ENDPOINT-POLICY: which policy document is meant for which endpoints."""
