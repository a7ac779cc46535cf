"""Telling hosts what must be: which resources changed for whom, and pushing their descriptions."""
