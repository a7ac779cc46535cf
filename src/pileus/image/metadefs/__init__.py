"""Metadata definitions: what the properties of images, flavors, volumes and servers mean, for those who set them.

A namespace holds definitions of properties, objects (groups of properties) and tags, and says which resource types
they are for. Nothing in Pileus obeys them; clients show them and help to fill in values.
"""
