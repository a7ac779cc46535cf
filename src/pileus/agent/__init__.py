"""The host agent: makes networks, disks and guests on one host be as the control plane describes them."""
