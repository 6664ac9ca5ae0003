"""Bytes that this process has sent over its TCP connections, as the kernel counts them: what gloo really moved."""

from __future__ import annotations

import os
import socket
import struct

BYTES_ACKED = struct.Struct("@120xQ")  # struct tcp_info of Linux 4.1 and later: tcpi_bytes_acked


def bytes_sent() -> int:
    """Payload bytes of every open TCP connection that its peer has acknowledged; 0 where the system does not count.

    Linux only. Loopback counts like any other network. Control traffic of the rendezvous is in it: a few kB.
    """
    total = 0
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                total += _acknowledged(int(name))
        except OSError:  # closed meanwhile, or no TCP socket
            continue
    return total


def _acknowledged(descriptor: int) -> int:
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        if copy.type != socket.SOCK_STREAM or copy.family not in (socket.AF_INET, socket.AF_INET6):
            return 0
        return BYTES_ACKED.unpack_from(copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256))[0]
