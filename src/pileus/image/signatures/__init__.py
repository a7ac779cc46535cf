"""Signed images: the certificates of their signers, and who looks whether the data is what was signed."""
