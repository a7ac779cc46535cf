"""Locations: where images' data is, told, given by users, and changed."""
