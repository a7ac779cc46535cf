"""Security groups through the compute API, up to version 2.35: the network service's, in Nova's old form."""
