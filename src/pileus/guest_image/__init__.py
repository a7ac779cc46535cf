"""A small Linux guest built from Debian packages: what `make up` boots and what the tests log in to.

The result is a whole-disk qcow2 and, from the same root tree, a kernel, a ramdisk and a root file system.
Nothing is mounted and nothing is downloaded but by apt, whose signatures vouch for every byte of machine code.
"""
