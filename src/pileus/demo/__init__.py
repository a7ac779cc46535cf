"""The first server: what `make up` shows a newcomer, through the public API alone."""
