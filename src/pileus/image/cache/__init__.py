"""Copies of images on the machine that serves them, for stores that are slower or farther away than its disk."""
