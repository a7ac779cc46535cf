"""Subnets: blocks of addresses."""
