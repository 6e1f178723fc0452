/*
 * Joins TCP segments that came GRE-encapsulated in one receive batch to one GSO packet, so that the pipeline
 * and the next device see one packet where there were up to 45.
 *
 * The result has the shape in which the kernel's own receive offload hands GRE to a packet socket: headers of
 * the first segment with lengths and header checksums made anew, payloads behind each other, a virtio-net
 * header that speaks of the inner TCP header, and there the sum of the pseudo-header.
 *
 * Joined is only what gives the same segments when cut again: the same Ethernet header (if any), outer addresses, TOS,
 * TTL and key; the same inner addresses, ports, TOS, TTL, acknowledgment, window and options; contiguous
 * sequence numbers; flags ACK and PSH only; all payloads equally long but the last. Checksums are verified
 * before, since the joined packet tells the receiver to trust it.
 *
 *            segment of the flow that fits             it was short or had PSH,
 *          .-----------------------------.             or anything else of the flow
 *  (none) --> open ------------------------> closed  <--------------------
 *
 * Order within a flow: whatever cannot be joined closes its flow's open packet; whatever may belong to any flow
 * (fragments, unknown headers inside GRE) closes all.
 */
#include "homeward.h"

#include <string.h>

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define PROTOCOL_TCP 6
#define PROTOCOL_GRE 47
#define PROTOCOL_HAS_PORTS_UNSEEN(protocol) \
  ((protocol) == 0 || (protocol) == 43 || (protocol) == 44 || (protocol) == 51 || (protocol) == 60)
#define TCP_ACK 0x10
#define TCP_PSH 0x08
#define GRE_FLAG_KEY 0x20
#define IPV4_FRAGMENT_MASK 0x3fff
#define IPV4_DONT_FRAGMENT 0x40
#define VNET_NEEDS_CHECKSUM 1
#define VNET_GSO_TCPV4 1
#define VNET_GSO_TCPV6 4

/* Longest outer IP packet that is made: what its length field can say. */
#define LONGEST 65535
#define MAX_OPEN 16

enum relation {
  /* Cannot hold a TCP segment inside GRE. */
  RELATION_NONE,
  /* GRE whose flow cannot be seen. */
  RELATION_OPAQUE,
  /* A TCP segment that must stay as it is. */
  RELATION_FLOW,
  /* A TCP segment that may be joined. */
  RELATION_SEGMENT,
};

/* One TCP segment inside GRE. Offsets are from the start of its frame. */
struct segment {
  uint8_t *frame;
  /* Where what was received begins behind the virtio-net header, and its csum_start counts from: see packet-socket.c. */
  size_t base;
  size_t inner;
  size_t tcp;
  size_t payload;
  size_t payload_bytes;
};

/* A packet to which segments are being joined. */
struct open_packet {
  struct segment head;
  int rx_index;
  uint32_t next_sequence;
  uint16_t next_identification;
  size_t segment_bytes;
  bool verified;
  int joined;
};

static uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }
static uint32_t get32(const uint8_t *at) { return (uint32_t)get16(at) << 16 | get16(at + 2); }

static void put16(uint8_t *at, size_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

/* Bytes of the IP packet by its own header, fixed header without options only; 0 if it is none of ours. */
static size_t plain_ip(const uint8_t *ip, size_t available, uint8_t *protocol, size_t *header_bytes) {
  size_t length = 0;
  if (available >= 20 && ip[0] == 0x45) {
    length = get16(ip + 2);
    *protocol = ip[9];
    *header_bytes = 20;
    if (get16(ip + 6) & IPV4_FRAGMENT_MASK) return 0;
  } else if (available >= 40 && ip[0] >> 4 == 6) {
    length = 40 + (size_t)get16(ip + 4);
    *protocol = ip[6];
    *header_bytes = 40;
  }
  return length >= *header_bytes && length <= available ? length : 0;
}

/* Without an Ethernet header, whose place is undefined then, the version alone says what it is. */
static bool is_gre(const uint8_t *frame, size_t length, size_t base) {
  const uint8_t *ip = frame + PREFIX_BYTES;
  int version = ip[0] >> 4;
  if (base != PREFIX_BYTES) {
    uint16_t type = get16(frame + VNET_BYTES + 12);
    version = type == ETHERTYPE_IPV4 ? 4 : type == ETHERTYPE_IPV6 ? 6 : 0;
  }
  switch (version) {
    case 4:
      return length >= PREFIX_BYTES + 20 && ip[9] == PROTOCOL_GRE;
    case 6:
      return length >= PREFIX_BYTES + 40 && (ip[6] == PROTOCOL_GRE || PROTOCOL_HAS_PORTS_UNSEEN(ip[6]));
    default:
      return false;
  }
}

static enum relation classify(struct segment *segment, uint8_t *frame, size_t length, size_t base) {
  if (!is_gre(frame, length, base)) return RELATION_NONE;
  uint8_t protocol = 0;
  size_t header_bytes = 0;
  size_t outer = plain_ip(frame + PREFIX_BYTES, length - PREFIX_BYTES, &protocol, &header_bytes);
  if (outer == 0 || protocol != PROTOCOL_GRE) return RELATION_OPAQUE;
  size_t end = PREFIX_BYTES + outer;
  size_t gre = PREFIX_BYTES + header_bytes;
  if (gre + 8 > end || (frame[gre] & (uint8_t)~GRE_FLAG_KEY) || frame[gre + 1]) return RELATION_OPAQUE;
  uint16_t type = get16(frame + gre + 2);
  segment->frame = frame;
  segment->base = base;
  segment->inner = gre + (frame[gre] & GRE_FLAG_KEY ? 8 : 4);
  const uint8_t *ip = frame + segment->inner;
  size_t inner = plain_ip(ip, end - segment->inner, &protocol, &header_bytes);
  if (inner == 0 || type != (header_bytes == 20 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6)) return RELATION_OPAQUE;
  if (protocol != PROTOCOL_TCP) return PROTOCOL_HAS_PORTS_UNSEEN(protocol) ? RELATION_OPAQUE : RELATION_NONE;
  segment->tcp = segment->inner + header_bytes;
  if (inner < header_bytes + 20) return RELATION_OPAQUE;

  const uint8_t *tcp = frame + segment->tcp;
  size_t tcp_bytes = (size_t)(tcp[12] >> 4) * 4;
  /* Known by its addresses and ports; the rest decides only whether it may be joined. */
  if (tcp_bytes < 20 || header_bytes + tcp_bytes >= inner) return RELATION_FLOW;
  segment->payload = segment->tcp + tcp_bytes;
  segment->payload_bytes = inner - header_bytes - tcp_bytes;
  bool whole = segment->inner + inner == end;
  bool plain_flags = (tcp[13] | TCP_PSH) == (TCP_ACK | TCP_PSH) && (tcp[12] & 15) == 0;
  return whole && plain_flags && frame[1] == 0 ? RELATION_SEGMENT : RELATION_FLOW;
}

static bool equal(const struct segment *a, const struct segment *b, size_t from, size_t to) {
  return memcmp(a->frame + from, b->frame + from, to - from) == 0;
}

/* The ranges compared here and below, by version of an IP header: */
static bool same_addresses(const struct segment *a, const struct segment *b, size_t ip) {
  if (a->frame[ip] >> 4 != b->frame[ip] >> 4) return false;
  return a->frame[ip] >> 4 == 4 ? equal(a, b, ip + 12, ip + 20) : equal(a, b, ip + 8, ip + 40);
}

/* IPv4: TOS; DF, TTL and protocol. IPv6: traffic class and flow label; next header and hop limit. */
static bool same_service(const struct segment *a, const struct segment *b, size_t ip) {
  if (a->frame[ip] >> 4 == 6) return equal(a, b, ip, ip + 4) && equal(a, b, ip + 6, ip + 8);
  return equal(a, b, ip, ip + 2) && equal(a, b, ip + 6, ip + 10);
}

static bool same_flow(const struct segment *a, const struct segment *b) {
  if (a->inner != b->inner || a->tcp != b->tcp) return false;
  size_t gre = PREFIX_BYTES + (a->frame[PREFIX_BYTES] >> 4 == 4 ? 20 : 40);
  return same_addresses(a, b, PREFIX_BYTES) && equal(a, b, gre, a->inner) && same_addresses(a, b, a->inner) &&
         equal(a, b, a->tcp, a->tcp + 4);
}

static bool fits(const struct open_packet *open, const struct segment *segment) {
  const struct segment *head = &open->head;
  const uint8_t *ip = segment->frame + segment->inner;
  if (head->payload != segment->payload || segment->payload_bytes > open->segment_bytes) return false;
  if (get32(segment->frame + segment->tcp + 4) != open->next_sequence) return false;
  /* A packet that may be fragmented needs the identification it had; cutting counts them up from the first. */
  if (ip[0] >> 4 == 4 && !(ip[6] & IPV4_DONT_FRAGMENT) && get16(ip + 4) != open->next_identification) return false;
  if (head->payload + head->payload_bytes + segment->payload_bytes > PREFIX_BYTES + LONGEST) return false;
  return equal(head, segment, head->base, PREFIX_BYTES) && same_service(head, segment, PREFIX_BYTES) &&
         same_service(head, segment, head->inner) &&
         /* Acknowledgment and length of the header; window; urgent pointer and options. */
         equal(head, segment, head->tcp + 8, head->tcp + 13) && equal(head, segment, head->tcp + 14, head->tcp + 16) &&
         equal(head, segment, head->tcp + 18, head->payload);
}

static bool ip_checksum_is_right(const uint8_t *ip) {
  return ip[0] >> 4 == 6 || checksum_fold(checksum_add(0, ip, 20)) == 0xffff;
}

static bool checksums_are_right(const struct segment *segment) {
  const uint8_t *frame = segment->frame;
  if (!ip_checksum_is_right(frame + PREFIX_BYTES) || !ip_checksum_is_right(frame + segment->inner)) return false;
  size_t bytes = segment->payload - segment->tcp + segment->payload_bytes;
  uint64_t pseudo = checksum_pseudo(frame + segment->inner, PROTOCOL_TCP, bytes);
  if (frame[0] & VNET_NEEDS_CHECKSUM) {
    /* It never was on a wire: the field must hold what the sender's kernel leaves to be completed. */
    uint16_t start, field;
    memcpy(&start, frame + 6, 2);
    memcpy(&field, frame + segment->tcp + 16, 2);
    return segment->base + (size_t)start == segment->tcp && field == checksum_fold(pseudo);
  }
  return checksum_fold(checksum_add(pseudo, frame + segment->tcp, bytes)) == 0xffff;
}

/* Moves the head to where there is room behind it. */
static bool make_room(struct loop *loop, struct open_packet *open) {
  if (loop->large_next >= LARGE_SLOTS) return false;
  size_t offset = loop->large_start + (size_t)loop->large_next++ * LARGE_STRIDE + HEADROOM_BYTES;
  struct segment *head = &open->head;
  memcpy(loop->arena + offset, head->frame, head->payload + head->payload_bytes);
  head->frame = loop->arena + offset;
  loop->rx[(size_t)open->rx_index * DESCRIPTOR_WORDS] = (int32_t)offset;
  return true;
}

static bool join(struct loop *loop, struct open_packet *open, const struct segment *segment) {
  struct segment *head = &open->head;
  if (!open->verified && !checksums_are_right(head)) return false;
  open->verified = true;
  if (!checksums_are_right(segment)) return false;
  if (open->joined == 0 && !make_room(loop, open)) return false;
  memcpy(head->frame + head->payload + head->payload_bytes, segment->frame + segment->payload, segment->payload_bytes);
  head->payload_bytes += segment->payload_bytes;
  head->frame[head->tcp + 13] |= segment->frame[segment->tcp + 13] & TCP_PSH;
  open->next_sequence += (uint32_t)segment->payload_bytes;
  open->next_identification++;
  open->joined++;
  return true;
}

static void write_ip(uint8_t *ip, size_t bytes) {
  if (ip[0] >> 4 == 6) {
    put16(ip + 4, bytes - 40);
    return;
  }
  put16(ip + 2, bytes);
  put16(ip + 10, 0);
  uint16_t sum = (uint16_t)~checksum_fold(checksum_add(0, ip, 20));
  memcpy(ip + 10, &sum, sizeof sum);
}

/* Closes a packet: what was joined gets its lengths, checksums and virtio-net header. */
static void finish(struct loop *loop, const struct open_packet *open) {
  const struct segment *head = &open->head;
  if (open->joined == 0) return;
  uint8_t *frame = head->frame;
  size_t length = head->payload + head->payload_bytes;
  write_ip(frame + PREFIX_BYTES, length - PREFIX_BYTES);
  write_ip(frame + head->inner, length - head->inner);
  uint16_t sum = checksum_fold(checksum_pseudo(frame + head->inner, PROTOCOL_TCP, length - head->tcp));
  memcpy(frame + head->tcp + 16, &sum, sizeof sum);
  uint16_t fields[4] = {(uint16_t)(head->payload - head->base), (uint16_t)open->segment_bytes,
                        (uint16_t)(head->tcp - head->base), 16};
  frame[0] = VNET_NEEDS_CHECKSUM;
  frame[1] = frame[head->inner] >> 4 == 4 ? VNET_GSO_TCPV4 : VNET_GSO_TCPV6;
  memcpy(frame + 2, fields, sizeof fields);
  loop->rx[(size_t)open->rx_index * DESCRIPTOR_WORDS + 1] = (int32_t)length;
}

struct open_packets {
  size_t base;
  struct open_packet entries[MAX_OPEN];
  int count;
};

static void close_packet(struct loop *loop, struct open_packets *open, int at) {
  finish(loop, &open->entries[at]);
  open->entries[at] = open->entries[--open->count];
}

static void close_all(struct loop *loop, struct open_packets *open) {
  while (open->count > 0) close_packet(loop, open, open->count - 1);
}

static void start(struct loop *loop, struct open_packets *open, const struct segment *segment, int rx_index) {
  const uint8_t *frame = segment->frame;
  /* PSH ends a packet, so nothing may follow. */
  if (frame[segment->tcp + 13] & TCP_PSH) return;
  if (open->count == MAX_OPEN) close_packet(loop, open, 0);
  open->entries[open->count++] = (struct open_packet){
      .head = *segment,
      .rx_index = rx_index,
      .next_sequence = get32(frame + segment->tcp + 4) + (uint32_t)segment->payload_bytes,
      .next_identification = (uint16_t)(get16(frame + segment->inner + 4) + 1),
      .segment_bytes = segment->payload_bytes,
  };
}

/* Takes one frame. Returns true if it went into another one. */
static bool take(struct loop *loop, struct open_packets *open, uint8_t *frame, size_t length, int rx_index) {
  struct segment segment = {0};
  enum relation relation = classify(&segment, frame, length, open->base);
  if (relation == RELATION_NONE) return false;
  if (relation == RELATION_OPAQUE) {
    close_all(loop, open);
    return false;
  }
  for (int i = 0; i < open->count; i++) {
    struct open_packet *packet = &open->entries[i];
    if (!same_flow(&packet->head, &segment)) continue;
    bool joined = relation == RELATION_SEGMENT && fits(packet, &segment) && join(loop, packet, &segment);
    bool last = segment.payload_bytes < packet->segment_bytes || (frame[segment.tcp + 13] & TCP_PSH);
    if (joined && !last) return true;
    close_packet(loop, open, i);
    if (joined) return true;
    break;
  }
  if (relation == RELATION_SEGMENT) start(loop, open, &segment, rx_index);
  return false;
}

void coalesce_gre(struct loop *loop, int first, int kind) {
  struct open_packets open;
  open.base = kind == KIND_ETHERNET ? VNET_BYTES : PREFIX_BYTES;
  open.count = 0;
  int kept = first;
  for (int i = first; i < loop->rx_count; i++) {
    int32_t *descriptor = loop->rx + (size_t)i * DESCRIPTOR_WORDS;
    int32_t *target = loop->rx + (size_t)kept * DESCRIPTOR_WORDS;
    /* The descriptor goes to its final place before the frame is looked at: an open packet points to it. */
    if (target != descriptor) memcpy(target, descriptor, DESCRIPTOR_WORDS * sizeof *target);
    if (!take(loop, &open, loop->arena + target[0], (size_t)target[1], kept)) kept++;
  }
  close_all(loop, &open);
  loop->rx_count = kept;
}
