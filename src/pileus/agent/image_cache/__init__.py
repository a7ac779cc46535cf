"""The host's image cache. `ImageCache` is what disks are made from; `directory` says what its files mean."""

from pileus.agent.image_cache.cache import Base, ImageCache, TooLargeForDisk

__all__ = ["Base", "ImageCache", "TooLargeForDisk"]
