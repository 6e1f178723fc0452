/*
 * The C loop between two TUN devices that homeward is measured against: the same devices and offloads, poll, up to
 * 64 reads per wake-up, one write a packet.
 *
 *   tun-loop NAME0 NAME1
 */
#include "tun.h"

#include <errno.h>
#include <poll.h>

#define READS_PER_TURN 64

static uint8_t frame[TUN_PREFIX_BYTES + 65536] __attribute__((aligned(64)));

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: tun-loop NAME0 NAME1\n");
    return 2;
  }
  struct pollfd ends[2];
  for (int end = 0; end < 2; end++) ends[end] = (struct pollfd){open_tun(argv[1 + end], true), POLLIN, 0};
  say_ready();
  for (;;) {
    if (poll(ends, 2, -1) < 0) fail("poll");
    for (int end = 0; end < 2; end++) {
      if (!(ends[end].revents & POLLIN)) continue;
      for (int i = 0; i < READS_PER_TURN; i++) {
        ssize_t length = read(ends[end].fd, frame, sizeof frame);
        if (length < 0) {
          if (errno == EAGAIN || errno == EINTR) break;
          fail("read");
        }
        if (length <= TUN_PREFIX_BYTES) continue;
        if (!forward(frame + TUN_PREFIX_BYTES, (size_t)length - TUN_PREFIX_BYTES)) continue;
        /* EIO: the other device is down. The packet is lost, as in any forwarder. */
        if (write(ends[end ^ 1].fd, frame, (size_t)length) < 0 && errno != EIO && errno != EAGAIN) fail("write");
      }
    }
  }
}
