"""The compute service: servers and what they are made from."""
