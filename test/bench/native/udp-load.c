/*
 * Small packets: a sender that sends as fast as it can, and a receiver that counts.
 *
 *   udp-load send ADDRESS PORT SECONDS      64-byte IP packets, sendmmsg of 64; prints how many were sent
 *   udp-load count PORT SECONDS             waits for the first packet, lets SETTLE_MS pass, then prints how many
 *                                           came in SECONDS and how many seconds that were
 *   udp-load begin ADDRESS PORT FLOWS       one such packet from PORT to each of so many ports, as fast as it can
 *   udp-load arrive                         waits for the first packet to any port, and until none comes any more; prints
 *                                           how many came and how many seconds were between the first and the last
 *
 * The receiver looks every millisecond and takes everything that waits, so that waking it up costs little.
 */
#include "forward.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define PAYLOAD_BYTES (64 - 20 - 8)
#define SETTLE_MS 200
#define FIRST_PORT 1024
/* So long after the last arrival none comes any more. */
#define LULL_MS 1000
#define BUFFER_BYTES (64 << 20)
/* Nothing came at all: give up. */
#define PATIENCE_MS 10000

static uint8_t payload[BATCH][64];
static struct mmsghdr messages[BATCH];
static struct iovec vectors[BATCH];

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void prepare(size_t bytes) {
  for (int i = 0; i < BATCH; i++) {
    vectors[i] = (struct iovec){payload[i], bytes};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
  }
}

static int open_socket(int type, int protocol) {
  int fd = socket(AF_INET, type | SOCK_CLOEXEC, protocol);
  if (fd < 0) fail("socket");
  return fd;
}

static int udp_socket(void) { return open_socket(SOCK_DGRAM, 0); }

static void bind_port(int fd, int port) {
  struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (bind(fd, (struct sockaddr *)&own, sizeof own) < 0) fail("bind");
}

static void enlarge_buffer(int fd) {
  int bytes = BUFFER_BYTES;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) < 0) fail("SO_RCVBUFFORCE");
}

static bool wait_for_packet(int fd) {
  struct pollfd polled = {.fd = fd, .events = POLLIN};
  if (poll(&polled, 1, PATIENCE_MS) > 0) return true;
  fprintf(stderr, "no packet came\n");
  return false;
}

static int send_packets(const char *address, int port, double seconds) {
  struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, address, &peer.sin_addr) != 1) return 2;
  int fd = udp_socket();
  if (connect(fd, (struct sockaddr *)&peer, sizeof peer) < 0) fail("connect");
  prepare(PAYLOAD_BYTES);
  uint64_t sent = 0;
  for (double end = now() + seconds; now() < end;) {
    int result = sendmmsg(fd, messages, BATCH, 0);
    if (result > 0) sent += (uint64_t)result;
    else if (errno != ENOBUFS && errno != EAGAIN && errno != ECONNREFUSED) fail("sendmmsg");
  }
  printf("%llu\n", (unsigned long long)sent);
  return 0;
}

static uint64_t drain(int fd) {
  uint64_t taken = 0;
  for (int count = BATCH; count == BATCH;) {
    count = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
    if (count > 0) taken += (uint64_t)count;
  }
  return taken;
}

static int count_packets(int port, double seconds) {
  int fd = udp_socket();
  enlarge_buffer(fd);
  bind_port(fd, port);
  prepare(sizeof payload[0]);
  say_ready();
  if (!wait_for_packet(fd)) return 1;
  for (double end = now() + SETTLE_MS / 1e3; now() < end; usleep(1000)) drain(fd);
  uint64_t taken = 0;
  double begin = now();
  while (now() < begin + seconds) {
    taken += drain(fd);
    usleep(1000);
  }
  printf("%llu %.6f\n", (unsigned long long)taken, now() - begin);
  return 0;
}

static int begin_flows(const char *address, int port, int count) {
  static struct sockaddr_in peers[BATCH];
  if (count > 65536 - FIRST_PORT) return 2;
  for (int i = 0; i < BATCH; i++) {
    peers[i] = (struct sockaddr_in){.sin_family = AF_INET};
    if (inet_pton(AF_INET, address, &peers[i].sin_addr) != 1) return 2;
  }
  int fd = udp_socket();
  bind_port(fd, port);
  prepare(PAYLOAD_BYTES);
  for (int begun = 0; begun < count;) {
    int wanted = count - begun < BATCH ? count - begun : BATCH;
    for (int i = 0; i < wanted; i++) {
      peers[i].sin_port = htons((uint16_t)(FIRST_PORT + begun + i));
      messages[i].msg_hdr.msg_name = &peers[i];
      messages[i].msg_hdr.msg_namelen = sizeof peers[i];
    }
    int result = sendmmsg(fd, messages, (unsigned)wanted, 0);
    if (result > 0) begun += result;
    else if (errno != ENOBUFS && errno != EAGAIN && errno != ECONNREFUSED) fail("sendmmsg");
  }
  return 0;
}

static int count_arrivals(void) {
  int fd = open_socket(SOCK_RAW, IPPROTO_UDP);
  enlarge_buffer(fd);
  prepare(sizeof payload[0]);
  say_ready();
  if (!wait_for_packet(fd)) return 1;
  uint64_t taken = 0;
  double first = now(), last = first;
  while (now() < last + LULL_MS / 1e3) {
    uint64_t more = drain(fd);
    if (more > 0) last = now();
    taken += more;
    usleep(1000);
  }
  printf("%llu %.6f\n", (unsigned long long)taken, last - first);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 5 && strcmp(argv[1], "send") == 0) return send_packets(argv[2], atoi(argv[3]), atof(argv[4]));
  if (argc == 4 && strcmp(argv[1], "count") == 0) return count_packets(atoi(argv[2]), atof(argv[3]));
  if (argc == 5 && strcmp(argv[1], "begin") == 0) return begin_flows(argv[2], atoi(argv[3]), atoi(argv[4]));
  if (argc == 2 && strcmp(argv[1], "arrive") == 0) return count_arrivals();
  fprintf(stderr, "usage: udp-load send ADDRESS PORT SECONDS | count PORT SECONDS | begin ADDRESS PORT FLOWS | arrive\n");
  return 2;
}
