"""Trusts: a user lets another one act in a project, with chosen roles."""
