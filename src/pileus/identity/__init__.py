"""Identity: OpenStack's Identity API v3 (Keystone's contract)."""
