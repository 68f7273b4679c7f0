"""Addresses of this machine, which are never reached through a proxy."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit


def is_loopback(host: str | None) -> bool:
    """Return whether a host is this machine: localhost, 127.0.0.0/8, ::1, or unspecified.

    >>> is_loopback("127.0.0.1"), is_loopback("mlsys.example")
    (True, False)
    """
    name = (host or "").strip("[]").rstrip(".").casefold()
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, section 6.3
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def host_of(address: str) -> str:
    """Return the host of `http://host:port` or `host:port`, or an empty text.

    >>> host_of("127.0.0.1:8085"), host_of("http://[::1]:8085/")
    ('127.0.0.1', '::1')
    """
    try:
        return urlsplit(address if "://" in address else f"//{address}").hostname or ""
    except ValueError:
        return ""


def without_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `NO_PROXY` and `no_proxy` for a process that talks to this machine's servers."""
    own = "127.0.0.1,localhost,::1"
    return {
        name: ",".join(filter(None, (environ.get(name, "").strip(), own)))
        for name in ("NO_PROXY", "no_proxy")
    }


def has_proxy(environ: Mapping[str, str]) -> bool:
    """Return whether a variable names a proxy."""
    names = {f"{word}_proxy" for word in ("http", "https", "all", "grpc")}
    return any(value and name.casefold() in names for name, value in environ.items())
