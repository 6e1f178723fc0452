"""Headers that the kernel does not write for us: ICMP messages, and datagrams cut into fragments by hand."""

import socket
import struct

ICMP_ECHO_REQUEST, ICMP_ECHO_REPLY = 8, 0
ICMPV6_ECHO_REQUEST, ICMPV6_ECHO_REPLY = 128, 129
# Of each fragment but the last; the first holds UDP header, token and serial.
FRAGMENT_BYTES = 1032


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(family: int, identifier: int, sequence: int, data: bytes) -> bytes:
    """An ICMP or ICMPv6 echo request. The kernel fills in ICMPv6's checksum."""
    kind = ICMP_ECHO_REQUEST if family == 4 else ICMPV6_ECHO_REQUEST
    rest = struct.pack("!HH", identifier, sequence & 0xFFFF) + data
    head = struct.pack("!BBH", kind, 0, 0)
    if family == 6:
        return head + rest
    return struct.pack("!BBH", kind, 0, checksum(head + rest)) + rest


def udp_fragments(
    family: int, source: str, port: int, destination: str, to_port: int, identification: int, data: bytes
) -> list[bytes]:
    """One UDP datagram as whole IP packets, each a fragment, all with this identification."""
    domain = socket.AF_INET if family == 4 else socket.AF_INET6
    ends = socket.inet_pton(domain, source) + socket.inet_pton(domain, destination)
    length = 8 + len(data)
    if family == 4:
        pseudo = ends + struct.pack("!BBH", 0, socket.IPPROTO_UDP, length)
    else:
        pseudo = ends + struct.pack("!II", length, socket.IPPROTO_UDP)
    ports = struct.pack("!HHH", port, to_port, length)
    total = checksum(pseudo + ports + b"\0\0" + data) or 0xFFFF
    datagram = ports + struct.pack("!H", total) + data
    packets = []
    for start in range(0, length, FRAGMENT_BYTES):
        part = datagram[start : start + FRAGMENT_BYTES]
        more = start + FRAGMENT_BYTES < length
        if family == 4:
            field = (0x2000 if more else 0) | start // 8
            # With IP_HDRINCL the kernel fills in length and header checksum.
            header = struct.pack(
                "!BBHHHBBH", 0x45, 0, 20 + len(part), identification & 0xFFFF, field, 64, socket.IPPROTO_UDP, 0
            )
            packets.append(header + ends + part)
        else:
            header = struct.pack("!IHBB", 0x60000000, 8 + len(part), 44, 64) + ends
            fragment = struct.pack("!BBHI", socket.IPPROTO_UDP, 0, start | (1 if more else 0), identification)
            packets.append(header + fragment + part)
    return packets
