"""Addresses: which machines a server may be sent to for a clip."""

import ipaddress
import socket
from collections.abc import Sequence
from typing import TypeAlias

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

# Networks of one's own, where an object store may stand.
_OWN_NETWORKS = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
# Where clouds keep metadata services outside the link-local range.
_METADATA = tuple(map(ipaddress.ip_network, ("fd00:ec2::/32", "192.0.0.0/24")))
# IPv6 addresses with an IPv4 address inside, which a gateway would unwrap behind our back.
_WRAPPING = tuple(map(ipaddress.ip_network, ("2002::/16", "2001::/32", "64:ff9b::/96", "64:ff9b:1::/48", "::/96")))


def is_reachable(address: IpAddress, *, named_outright: bool = False) -> bool:
    """Whether a clip may be fetched from an address.

    Public addresses and private networks, never loopback, link-local, cloud metadata, multicast or reserved ones.

    Args:
        address: What a host name resolved to.
        named_outright: The operator's own list names this very address; then loopback counts as well.

    Source: IANA special-purpose address registries, RFC 6890.
    """
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return is_reachable(address.ipv4_mapped, named_outright=named_outright)
    if address.is_loopback:
        return named_outright
    if address.is_multicast or address.is_link_local or _lies_in(address, (*_WRAPPING, *_METADATA)):
        return False
    return address.is_global or _lies_in(address, _OWN_NETWORKS)


def resolve(host: str, port: int) -> list[IpAddress]:
    """Every address of a host, in the resolver's order; odd spellings (`127.1`, `0x7f000001`) included.

    Raises:
        OSError: It has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def _lies_in(address: IpAddress, networks: Sequence[IpNetwork]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
