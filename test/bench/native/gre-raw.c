/*
 * A GRE endpoint (RFC 2784, RFC 2890) on a raw socket, with a TUN device behind it: what user-space GRE is measured
 * against, and a peer for tests that shares no code with homeward.
 *
 *   gre-raw --local A --remote B --tun NAME [--key N] [--checksum] [--sequence] [--ttl N]
 *
 *    0                   1                   2                   3
 *   +-+-+-+-+-----------------+-----+-------------------------------+
 *   |C|0|K|S|        0        |  0  |         protocol type         |
 *   +-+-+-+-+-----------------+-----+-------------------------------+
 *   |     checksum, if C            |               0               |
 *   |     key, if K                                                 |
 *   |     sequence number, if S                                     |
 *   +---------------------------------------------------------------+
 *
 * Packets are taken only with exactly the options that were asked for, from exactly that remote. A sequence number
 * that is not newer than the last one is dropped. IPv4 and IPv6, outside and inside. What the route to the remote
 * does not carry the kernel sends in fragments.
 */
#include "tun.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <poll.h>

#define BATCH 64
#define PACKET_BYTES 2048
#define FLAG_CHECKSUM 0x80
#define FLAG_KEY 0x20
#define FLAG_SEQUENCE 0x10
#define BUFFER_BYTES (4 << 20)

struct tunnel {
  int raw, tun;
  struct sockaddr_storage local, remote;
  bool has_key, has_checksum, has_sequence, seen;
  uint32_t key, next_sequence, last_sequence;
};

static uint8_t packets[BATCH][PACKET_BYTES];
static struct mmsghdr messages[BATCH];
static struct iovec vectors[BATCH];

static uint16_t checksum(const uint8_t *bytes, size_t length) {
  uint64_t sum = 0;
  while (length >= 2) {
    sum += (uint64_t)(bytes[0] << 8 | bytes[1]);
    bytes += 2;
    length -= 2;
  }
  if (length) sum += (uint64_t)bytes[0] << 8;
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

static void put32(uint8_t *at, uint32_t value) {
  value = htonl(value);
  memcpy(at, &value, 4);
}

static uint32_t get32(const uint8_t *at) {
  uint32_t value;
  memcpy(&value, at, 4);
  return ntohl(value);
}

static size_t header_bytes(const struct tunnel *tunnel) {
  return 4u + 4u * ((size_t)tunnel->has_checksum + tunnel->has_key + tunnel->has_sequence);
}

static uint8_t header_flags(const struct tunnel *tunnel) {
  return (uint8_t)((tunnel->has_checksum ? FLAG_CHECKSUM : 0) | (tunnel->has_key ? FLAG_KEY : 0) |
                   (tunnel->has_sequence ? FLAG_SEQUENCE : 0));
}

static void write_header(struct tunnel *tunnel, uint8_t *gre, size_t length) {
  uint8_t *option = gre + 4;
  uint16_t type = gre[header_bytes(tunnel)] >> 4 == 6 ? 0x86dd : 0x0800;
  gre[0] = header_flags(tunnel);
  gre[1] = 0;
  gre[2] = (uint8_t)(type >> 8);
  gre[3] = (uint8_t)type;
  uint8_t *sum_at = option;
  if (tunnel->has_checksum) {
    put32(option, 0);
    option += 4;
  }
  if (tunnel->has_key) {
    put32(option, tunnel->key);
    option += 4;
  }
  if (tunnel->has_sequence) put32(option, tunnel->next_sequence++);
  if (tunnel->has_checksum) {
    uint16_t sum = checksum(gre, length);
    sum_at[0] = (uint8_t)(sum >> 8);
    sum_at[1] = (uint8_t)sum;
  }
}

/* Packets of the TUN into the tunnel. */
static void encapsulate(struct tunnel *tunnel) {
  size_t header = header_bytes(tunnel);
  int count = 0;
  for (; count < BATCH; count++) {
    uint8_t *gre = packets[count];
    ssize_t length = read(tunnel->tun, gre + header, PACKET_BYTES - header);
    if (length <= 0) break;
    write_header(tunnel, gre, header + (size_t)length);
    vectors[count] = (struct iovec){gre, header + (size_t)length};
    messages[count].msg_hdr = (struct msghdr){.msg_iov = &vectors[count], .msg_iovlen = 1};
  }
  for (int sent = 0; sent < count;) {
    int result = sendmmsg(tunnel->raw, messages + sent, (unsigned)(count - sent), 0);
    /* One that cannot be sent is lost. */
    sent += result > 0 ? result : 1;
  }
}

/*
 * Length of the GRE header of a packet of this tunnel, or 0 if the packet is not to be taken. Addresses are the
 * socket's business.
 */
static size_t accept_packet(struct tunnel *tunnel, const uint8_t *packet, size_t length, size_t outer) {
  const uint8_t *gre = packet + outer;
  size_t header = header_bytes(tunnel);
  if (length < outer + header + 20) return 0;
  if (gre[0] != header_flags(tunnel) || gre[1] != 0) return 0;
  const uint8_t *option = gre + 4;
  if (tunnel->has_checksum) {
    if (checksum(gre, length - outer) != 0) return 0;
    option += 4;
  }
  if (tunnel->has_key) {
    if (get32(option) != tunnel->key) return 0;
    option += 4;
  }
  if (tunnel->has_sequence) {
    uint32_t sequence = get32(option);
    if (tunnel->seen && (int32_t)(sequence - tunnel->last_sequence) <= 0) return 0;
    tunnel->seen = true;
    tunnel->last_sequence = sequence;
  }
  return header;
}

/* Packets of the tunnel into the TUN. */
static void decapsulate(struct tunnel *tunnel) {
  for (int i = 0; i < BATCH; i++) {
    vectors[i] = (struct iovec){packets[i], PACKET_BYTES};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
  }
  int count = recvmmsg(tunnel->raw, messages, BATCH, MSG_DONTWAIT, NULL);
  /* Also what ICMP says of a packet sent before: that one is lost, and the end goes on. */
  if (count < 0) return;
  for (int i = 0; i < count; i++) {
    const uint8_t *packet = packets[i];
    /* A raw IPv6 socket gives what is behind the header. */
    size_t length = messages[i].msg_len, outer = tunnel->local.ss_family == AF_INET ? (size_t)(packet[0] & 15) * 4 : 0;
    if (messages[i].msg_hdr.msg_flags & MSG_TRUNC) continue;
    size_t header = accept_packet(tunnel, packet, length, outer);
    if (header == 0) continue;
    ssize_t written = write(tunnel->tun, packet + outer + header, length - outer - header);
    if (written < 0 && errno != EIO && errno != EAGAIN && errno != EINVAL) fail("write");
  }
}

static void open_raw(struct tunnel *tunnel, int ttl) {
  int bytes = BUFFER_BYTES;
  bool is_ipv4 = tunnel->local.ss_family == AF_INET;
  socklen_t length = is_ipv4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
  tunnel->raw = socket(tunnel->local.ss_family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_GRE);
  if (tunnel->raw < 0) fail("socket");
  int level = is_ipv4 ? IPPROTO_IP : IPPROTO_IPV6;
  if (setsockopt(tunnel->raw, level, is_ipv4 ? IP_TTL : IPV6_UNICAST_HOPS, &ttl, sizeof ttl) < 0) fail("TTL");
  if (setsockopt(tunnel->raw, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) < 0) fail("SO_RCVBUFFORCE");
  if (setsockopt(tunnel->raw, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) < 0) fail("SO_SNDBUFFORCE");
  if (bind(tunnel->raw, (struct sockaddr *)&tunnel->local, length) < 0) fail("bind");
  if (connect(tunnel->raw, (struct sockaddr *)&tunnel->remote, length) < 0) fail("connect");
}

static bool parse_address(const char *text, struct sockaddr_storage *address) {
  struct sockaddr_in *ipv4 = (struct sockaddr_in *)address;
  struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)address;
  address->ss_family = strchr(text, ':') == NULL ? AF_INET : AF_INET6;
  if (address->ss_family == AF_INET) return inet_pton(AF_INET, text, &ipv4->sin_addr) == 1;
  return inet_pton(AF_INET6, text, &ipv6->sin6_addr) == 1;
}

static void usage(void) {
  fprintf(stderr, "usage: gre-raw --local A --remote B --tun NAME [--key N] [--checksum] [--sequence] [--ttl N]\n");
  exit(2);
}

int main(int argc, char **argv) {
  static const struct option options[] = {{"local", 1, NULL, 'l'},    {"remote", 1, NULL, 'r'},
                                          {"tun", 1, NULL, 't'},      {"key", 1, NULL, 'k'},
                                          {"checksum", 0, NULL, 'c'}, {"sequence", 0, NULL, 's'},
                                          {"ttl", 1, NULL, 'T'},      {NULL, 0, NULL, 0}};
  struct tunnel tunnel = {0};
  const char *tun = NULL;
  int ttl = 64;
  for (int option; (option = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
    if (option == 'l' && !parse_address(optarg, &tunnel.local)) usage();
    else if (option == 'r' && !parse_address(optarg, &tunnel.remote)) usage();
    else if (option == 't') tun = optarg;
    else if (option == 'k') tunnel.key = (uint32_t)strtoul(optarg, NULL, 0), tunnel.has_key = true;
    else if (option == 'c') tunnel.has_checksum = true;
    else if (option == 's') tunnel.has_sequence = true;
    else if (option == 'T') ttl = atoi(optarg);
    else if (option == '?') usage();
  }
  if (tun == NULL || tunnel.local.ss_family == 0 || tunnel.remote.ss_family != tunnel.local.ss_family) usage();
  tunnel.tun = open_tun(tun, false);
  open_raw(&tunnel, ttl);
  say_ready();
  struct pollfd polled[2] = {{tunnel.raw, POLLIN, 0}, {tunnel.tun, POLLIN, 0}};
  for (;;) {
    if (poll(polled, 2, -1) < 0) fail("poll");
    if (polled[0].revents & POLLIN) decapsulate(&tunnel);
    if (polled[1].revents & POLLIN) encapsulate(&tunnel);
  }
}
