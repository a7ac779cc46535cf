"""Key pairs: the SSH keys of users."""
