/*
 * Internet checksums (RFC 1071). Sums are kept in memory order, as little-endian loads give them: ones'
 * complement addition does not mind, and the folded sum is stored as it is.
 */
#include "homeward.h"

#include <string.h>

uint64_t checksum_add(uint64_t sum, const uint8_t *data, size_t bytes) {
  uint64_t a = 0, b = 0;
  while (bytes >= 32) {
    uint32_t words[8];
    memcpy(words, data, sizeof words);
    a += (uint64_t)words[0] + words[1] + words[2] + words[3];
    b += (uint64_t)words[4] + words[5] + words[6] + words[7];
    data += 32;
    bytes -= 32;
  }
  while (bytes >= 2) {
    uint16_t word;
    memcpy(&word, data, sizeof word);
    a += word;
    data += 2;
    bytes -= 2;
  }
  if (bytes > 0) a += *data;
  return sum + a + b;
}

uint16_t checksum_fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)sum;
}

uint64_t checksum_pseudo(const uint8_t *ip, uint8_t protocol, size_t transport_bytes) {
  /* Both addresses stand together, at the end of the fixed header. */
  uint64_t sum = ip[0] >> 4 == 4 ? checksum_add(0, ip + 12, 8) : checksum_add(0, ip + 8, 32);
  uint8_t rest[4] = {0, protocol, (uint8_t)(transport_bytes >> 8), (uint8_t)transport_bytes};
  return checksum_add(sum, rest, sizeof rest);
}
