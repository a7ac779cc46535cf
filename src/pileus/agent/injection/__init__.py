"""Content written into a guest's disk before it boots first: files, SSH keys, a password, network configuration."""
