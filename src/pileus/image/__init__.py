"""The image service: disk images with their metadata (Glance's v2 API)."""
