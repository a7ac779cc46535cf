"""Pileus as a relying party of OpenID Connect."""
