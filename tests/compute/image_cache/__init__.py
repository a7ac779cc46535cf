"""Pre-caching on hosts that are in this process."""
