"""Guests under libvirt: QEMU, with KVM where that works. `opening` is the way in.

Nothing is imported here: every process reads this package's settings, and only the agent needs libvirt.
"""
