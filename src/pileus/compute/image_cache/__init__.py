"""The image caches of all hosts, as the control plane sees them: what they hold, and what they are to hold."""
