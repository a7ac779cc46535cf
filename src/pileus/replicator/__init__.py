"""Images carried from one OpenStack image service to another, or to and from a directory.

It speaks only the public image API (v2), so that either end may be anybody's. Nothing here knows this cloud.
"""
