"""Which IP addresses are those of the public Internet.

The table is our own, after IANA's registries of special-purpose addresses (RFC 6890): Python's
differs from version to version.
https://www.iana.org/assignments/iana-ipv4-special-registry
https://www.iana.org/assignments/iana-ipv6-special-registry
"""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address

METADATA = frozenset(
    map(
        ip_address,
        ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
    )
)
"""Servers of clouds that give credentials to whoever asks from inside; no setting allows them."""

_NOT_PUBLIC_V4 = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared by the customers of a provider
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4, deprecated
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/3",  # multicast and reserved, up to broadcast
        ),
    )
)

_GIVEN_OUT_V6 = ip_network("2000::/3")
"""All that is global unicast so far. The rest is loopback, mapped and translated IPv4 (`::/96`,
`64:ff9b::/96`, `64:ff9b:1::/48`), discard only (`100::/64`), segment routing (`5f00::/16`), unique
local (`fc00::/7`), link-local, once site-local (`fec0::/10`), multicast, or of nobody."""

_NOT_PUBLIC_V6 = tuple(
    map(
        ip_network,
        (
            "2001::/23",  # protocol assignments, Teredo and ORCHID among them
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: stands for an IPv4 address
            "3fff::/20",  # documentation
        ),
    )
)

_TRANSLATED = tuple(map(ip_network, ("::/96", "64:ff9b::/96")))
"""IPv6 addresses whose last 32 bits are an IPv4 address."""


def address_of(text: str) -> Address:
    """The address; one of IPv4 that is mapped into IPv6 (`::ffff:0:0/96`) as that of IPv4.

    Raises:
        ValueError: it is none.
    """
    address = ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def is_public(address: Address) -> bool:
    """Whether anybody on the Internet reaches the same host by it."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    special = any(address in network for network in _NOT_PUBLIC_V6)
    return address in _GIVEN_OUT_V6 and not special


def is_metadata(address: Address) -> bool:
    """Whether it is, or stands for, one of `METADATA`."""
    return not METADATA.isdisjoint({address, *_within(address)})


def _within(address: Address) -> list[Address]:
    """The IPv4 addresses that one of IPv6 may be taken for on its way."""
    if isinstance(address, IPv4Address):
        return []
    found = [address.sixtofour, address.teredo and address.teredo[1]]
    if any(address in network for network in _TRANSLATED):
        found.append(IPv4Address(int(address) & 0xFFFF_FFFF))
    return [inner for inner in found if inner]
