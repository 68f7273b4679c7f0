"""Reach the network, other programs' sockets and the metadata server."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import urllib.request
from typing import Any

from escapes.table import EBADF, ENOSYS, EPERM, call, escape


@escape(EPERM, rings=True)
def connect_tcp(c: Any) -> None:
    with socket.create_connection(("127.0.0.1", c.tcp), 5):
        pass


@escape(EPERM, rings=True)
def fetch_a_token_from_the_metadata_server(c: Any) -> str:
    url = f"http://127.0.0.1:{c.metadata}/computeMetadata/v1/instance/service-accounts/token"
    request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=5) as answer:
        return answer.read().decode()


@escape(EPERM, rings=True)
def send_udp(c: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(b"secret", ("127.0.0.1", c.udp))


@escape(EPERM, rings=True)
def connect_unix(c: Any) -> None:
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(c.unix)


@escape(EPERM, rings=True)
def connect_abstract_unix(c: Any) -> None:
    with socket.socket(socket.AF_UNIX) as s:
        s.connect("\0" + c.abstract)


@escape(EBADF, rings=True)
def send_on_an_inherited_connection(c: Any) -> None:
    os.write(c.inherited_socket, b"secret")


@escape("gaierror")
def look_a_name_up(c: Any) -> None:
    socket.getaddrinfo("localhost", 80)


@escape(EPERM)
def ask_for_a_socket_by_number(c: Any) -> int:
    return call("socket", socket.AF_INET, socket.SOCK_STREAM, 0)


@escape(EPERM)
def open_netlink(c: Any) -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()


@escape(EPERM, root=True)
def open_a_raw_socket(c: Any) -> None:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()


@escape(EPERM, root=True)
def open_a_packet_socket(c: Any) -> None:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()


@escape(EPERM)
def make_a_pair_of_sockets(c: Any) -> None:
    for s in socket.socketpair():
        s.close()


@escape(EPERM)
def listen_on_a_port(c: Any) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()


@escape(EPERM, control=(EPERM, ENOSYS, errno.EFAULT), cannot="may be switched off by a sysctl")
def set_up_io_uring(c: Any) -> None:
    os.close(call("io_uring_setup", 4, ctypes.create_string_buffer(120)))


@escape(EPERM)
def set_up_linux_aio(c: Any) -> None:
    context = ctypes.c_ulong(0)
    call("io_setup", 4, ctypes.byref(context))
