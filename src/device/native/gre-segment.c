/*
 * Cuts a super-packet IP > GRE > IP > TCP or UDP into wire packets. A virtio-net header can describe one level
 * of headers only, so no device does that for us.
 *
 *   virtio | Ethernet | outer IP | GRE | inner IP | TCP/UDP | payload .................
 *   '------------------- copied per segment ----------------'   '- cut, not copied ---'
 *
 * Plain IP is cut in the same way, without the two headers in the middle, for devices that cannot take GSO packets
 * from a packet socket (see packet-socket.c).
 *
 * Per segment: lengths, IPv4 identifications (counting up) and header checksums of both IP headers; the GRE
 * sequence number counts up (RFC 2890); TCP: sequence number, FIN and PSH only in the last, CWR only in the
 * first; UDP: length. The transport checksum stays partial, for the device to complete, unless there is a GRE
 * checksum (RFC 2784), which covers it: then both are made here.
 */
#include "homeward.h"

#include <string.h>

#define VNET_NEEDS_CHECKSUM 1

#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_GRE 47

#define GRE_CHECKSUM 0x80
#define GRE_KEY 0x20
#define GRE_SEQUENCE 0x10
#define GRE_VERSION 0x07

#define TCP_FIN 0x01
#define TCP_PSH 0x08
#define TCP_CWR 0x80

static uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }

static void put16(uint8_t *at, size_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

static void add32(uint8_t *at, uint32_t value) {
  uint32_t sum = ((uint32_t)get16(at) << 16 | get16(at + 2)) + value;
  put16(at, sum >> 16);
  put16(at + 2, sum);
}

static void store_sum(uint8_t *at, uint16_t sum) { memcpy(at, &sum, sizeof sum); }

/* Length of the fixed header with IPv4 options; 0 if it is none. */
static size_t ip_header_bytes(const uint8_t *ip) {
  if (ip[0] >> 4 == 6) return 40;
  return ip[0] >> 4 == 4 ? (size_t)(ip[0] & 15) * 4 : 0;
}

/* Finds the GRE header behind the outer one, and the inner header. */
static bool find_inner(struct segmenter *s, const uint8_t *frame, size_t length) {
  if (length < PREFIX_BYTES + 40) return false;
  const uint8_t *outer = frame + s->outer;
  size_t outer_bytes = ip_header_bytes(outer);
  uint8_t protocol = outer[0] >> 4 == 4 ? outer[9] : outer[6];
  if (outer_bytes < 20 || protocol != PROTOCOL_GRE) return false;

  s->gre = s->outer + outer_bytes;
  if (s->gre + 4 > length) return false;
  const uint8_t *gre = frame + s->gre;
  if (gre[1] & GRE_VERSION) return false;
  s->gre_checksum = (gre[0] & GRE_CHECKSUM) != 0;
  size_t gre_bytes = 4 + (s->gre_checksum ? 4 : 0) + (gre[0] & GRE_KEY ? 4 : 0);
  if (gre[0] & GRE_SEQUENCE) {
    s->gre_sequence = s->gre + gre_bytes;
    gre_bytes += 4;
  }
  s->inner = s->gre + gre_bytes;
  return true;
}

bool segment_begin(struct segmenter *s, const uint8_t *frame, size_t length, int kind, bool gre) {
  memset(s, 0, sizeof *s);
  s->frame = frame;
  s->outer = s->inner = PREFIX_BYTES;
  if (gre && !find_inner(s, frame, length)) return false;
  if (s->inner + 20 > length) return false;
  size_t inner_bytes = ip_header_bytes(frame + s->inner);

  /* The virtio-net header says where the transport header is, extension headers or not. */
  uint16_t start, offset, size;
  memcpy(&size, frame + 4, 2);
  memcpy(&start, frame + 6, 2);
  memcpy(&offset, frame + 8, 2);
  s->transport = (kind == KIND_ETHERNET ? VNET_BYTES : PREFIX_BYTES) + (size_t)start;
  s->tcp = offset == 16;
  if (!(frame[0] & VNET_NEEDS_CHECKSUM) || (!s->tcp && offset != 6)) return false;
  if (inner_bytes < 20 || s->transport < s->inner + inner_bytes) return false;
  if (s->transport + (s->tcp ? 20 : 8) > length) return false;
  s->header_bytes = s->transport + (s->tcp ? (size_t)(frame[s->transport + 12] >> 4) * 4 : 8);
  if (s->header_bytes < s->transport + (s->tcp ? 20 : 8)) return false;
  if (s->header_bytes > length || s->header_bytes > SEGMENT_HEADER_BYTES) return false;
  s->payload_bytes = length - s->header_bytes;
  s->segment_bytes = frame[1] != 0 && size > 0 && size < s->payload_bytes ? size : s->payload_bytes;
  return s->header_bytes + s->segment_bytes <= PREFIX_BYTES + 65535;
}

static void write_ip(uint8_t *ip, size_t bytes, uint32_t index) {
  if (ip[0] >> 4 == 6) {
    put16(ip + 4, bytes - 40);
    return;
  }
  put16(ip + 2, bytes);
  put16(ip + 4, get16(ip + 4) + index);
  put16(ip + 10, 0);
  store_sum(ip + 10, (uint16_t)~checksum_fold(checksum_add(0, ip, ip_header_bytes(ip))));
}

static void write_transport(const struct segmenter *s, uint8_t *header, size_t payload, bool last) {
  uint8_t *transport = header + s->transport;
  if (!s->tcp) {
    put16(transport + 4, s->header_bytes - s->transport + payload);
    return;
  }
  add32(transport + 4, (uint32_t)s->position);
  if (s->position > 0) transport[13] &= (uint8_t)~TCP_CWR;
  if (!last) transport[13] &= (uint8_t)~(TCP_FIN | TCP_PSH);
}

/* The transport checksum, and the GRE checksum if there is one. */
static void write_checksums(const struct segmenter *s, uint8_t *header, const uint8_t *payload, size_t bytes) {
  uint8_t *field = header + s->transport + (s->tcp ? 16 : 6);
  uint8_t protocol = s->tcp ? PROTOCOL_TCP : PROTOCOL_UDP;
  size_t transport_header = s->header_bytes - s->transport;
  uint64_t pseudo = checksum_pseudo(header + s->inner, protocol, transport_header + bytes);
  if (!s->gre_checksum) {
    store_sum(field, checksum_fold(pseudo));
    return;
  }
  uint64_t payload_sum = checksum_add(0, payload, bytes);
  put16(field, 0);
  uint16_t sum = (uint16_t)~checksum_fold(checksum_add(pseudo + payload_sum, header + s->transport, transport_header));
  store_sum(field, sum == 0 && !s->tcp ? 0xffff : sum);
  memset(header, 0, VNET_BYTES);
  /* Checksum and Reserved1. All headers are of even length, so the payload's sum fits here too. */
  memset(header + s->gre + 4, 0, 4);
  uint64_t covered = checksum_add(payload_sum, header + s->gre, s->header_bytes - s->gre);
  store_sum(header + s->gre + 4, (uint16_t)~checksum_fold(covered));
}

size_t segment_next(struct segmenter *s, uint8_t *header, const uint8_t **payload) {
  size_t left = s->payload_bytes - s->position;
  size_t bytes = left < s->segment_bytes ? left : s->segment_bytes;
  *payload = s->frame + s->header_bytes + s->position;
  memcpy(header, s->frame, s->header_bytes);
  /* gso_type, hdr_len, gso_size: this is a packet as on the wire. */
  memset(header + 1, 0, 5);
  write_ip(header + s->outer, s->header_bytes - s->outer + bytes, s->index);
  if (s->gre_sequence > 0) add32(header + s->gre_sequence, s->index);
  if (s->inner != s->outer) write_ip(header + s->inner, s->header_bytes - s->inner + bytes, s->index);
  write_transport(s, header, bytes, bytes == left);
  write_checksums(s, header, *payload, bytes);
  s->position += bytes;
  s->index++;
  s->done = s->position >= s->payload_bytes;
  return bytes;
}
