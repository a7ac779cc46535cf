"""Domains and projects: the tree that everything belongs to."""
