"""Keeping hosts' metadata services up to date with what guests may learn of themselves."""
