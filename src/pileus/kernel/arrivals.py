"""Whether the connection on which a body came is still there.

A body in chunks ends with an empty chunk (RFC 9112, section 7.1). Granian's WSGI gives the same end where the caller
went away half-way, and does not say on which of the process's connections a request came. But the kernel knows of each
connection whether its peer has ended it, and how many bytes it has received; and the one that a body came on has
received at least that many.
"""

import os
import socket
import struct
from ipaddress import ip_address

ESTABLISHED, CLOSE_WAIT = 1, 8  # of TCP's states, as Linux numbers them
_INFO_SIZE = 136
_RECEIVED = 128  # where struct tcp_info (linux/tcp.h) has tcpi_bytes_received


class Arrivals:
    """Judges the end of one body. Make it before the body is read."""

    def __init__(self, peer: tuple[str, int]) -> None:
        """`peer`: the caller's address, and our port that it came to."""
        self._peer = _plain(peer[0]), peer[1]
        self._known = bool(self._connections())

    def cut_off(self, size: int) -> bool:
        """Whether the caller went away, now that a body of `size` bytes seems to have ended.

        In doubt it did: one of its connections that could have brought the body was ended by it and is still waited
        for here, or none is left that could. A connection that is not of this process is not judged.
        """
        if not self._known:
            return False
        states = [state for state, received in self._connections() if received >= size]
        return CLOSE_WAIT in states or ESTABLISHED not in states

    def _connections(self) -> list[tuple[int, int]]:
        """State and received bytes of all connections that the peer has made to our port."""
        found = []
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names alone, and quickly
            try:
                duplicate = os.dup(int(name))
            except OSError:
                continue  # closed meanwhile
            try:
                one = socket.socket(fileno=duplicate)
            except OSError:
                os.close(duplicate)
                continue
            with one:
                told = _told(one)
                if told is not None and told[0] == self._peer:
                    found.append(told[1:])
        return found


def _told(one: socket.socket) -> tuple[tuple[str, int], int, int] | None:
    """Peer with our port, state and received bytes of a TCP connection; None of anything else."""
    if one.family not in (socket.AF_INET, socket.AF_INET6) or one.type != socket.SOCK_STREAM:
        return None
    try:
        peer = _plain(one.getpeername()[0]), one.getsockname()[1]
        info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
    except OSError:
        return None
    if len(info) < _INFO_SIZE:
        return None
    (received,) = struct.unpack_from("=Q", info, _RECEIVED)
    return peer, info[0], received


def _plain(host: str) -> str:
    """An address in one spelling: IPv4 also where the socket is IPv6's."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
