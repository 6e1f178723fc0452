/*
 * What the loops do with a packet: the least that a forwarder with flow state must do. A lookup of the five-tuple
 * in a table with a counter for each flow, TTL, and the header checksum. IPv4 only; everything else is dropped.
 */
#ifndef FORWARD_H
#define FORWARD_H

#define _GNU_SOURCE
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLOW_SLOTS 65536

struct flow {
  uint32_t source, destination, ports, protocol;
  uint64_t packets, bytes;
};

static struct flow flows[FLOW_SLOTS];

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static uint32_t mix(uint32_t state, uint32_t word) {
  uint32_t product = (state ^ word) * 0x9e3779b1u;
  return product ^ product >> 15;
}

/* Finds or makes the flow of a packet and counts it. False: the packet is none, or the table is full. */
static bool count_flow(const uint8_t *packet, size_t length) {
  if (length < 28 || packet[0] != 0x45) return false;
  uint32_t source, destination, ports, protocol = packet[9];
  memcpy(&source, packet + 12, 4);
  memcpy(&destination, packet + 16, 4);
  memcpy(&ports, packet + 20, 4);
  if (protocol == 1) ports = 0;
  uint32_t hash = mix(mix(mix(mix(0x1234567, source), destination), ports), protocol);
  for (uint32_t probe = 0; probe < FLOW_SLOTS; probe++) {
    struct flow *flow = &flows[(hash + probe) % FLOW_SLOTS];
    if (flow->packets == 0) *flow = (struct flow){source, destination, ports, protocol, 0, 0};
    if (flow->source == source && flow->destination == destination && flow->ports == ports &&
        flow->protocol == protocol) {
      flow->packets++;
      flow->bytes += length;
      return true;
    }
  }
  return false;
}

/* Does what a router does to the header. False: the packet ends here. */
static inline bool forward(uint8_t *packet, size_t length) {
  if (!count_flow(packet, length) || packet[8] <= 1) return false;
  packet[8]--;
  uint32_t sum = (uint32_t)(packet[10] << 8 | packet[11]) + 0x100;
  sum += sum >> 16;
  packet[10] = (uint8_t)(sum >> 8);
  packet[11] = (uint8_t)sum;
  return true;
}

/* Tells the starter that everything is open. */
static inline void say_ready(void) {
  puts("ready");
  fflush(stdout);
}

#endif
