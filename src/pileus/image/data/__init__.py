"""Images' bytes: their way into the stores, out of them, and away."""
