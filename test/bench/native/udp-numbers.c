/*
 * Numbered datagrams, sent at a steady rate and echoed: which came back, once, to whom.
 *
 *   udp-numbers echo ADDRESS PORT
 *   udp-numbers send SOURCE PORT DESTINATION PORT RATE SECONDS TOKEN
 *                 sends RATE datagrams a second, waits GRACE_MS for the last answers, then prints
 *                 sent, received, wrong (not what this one has sent), duplicates, longest gap in ms
 *
 *  datagram: | number, u64 | token, 24 bytes, zero-padded | zeros up to PAYLOAD_BYTES |
 *
 * The receive buffer is large and is read before every sending, so that what is lost was lost on the way. SIGTERM ends
 * the sending early.
 */
#include "forward.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define TOKEN_BYTES 24
#define PAYLOAD_BYTES 100
#define BUFFER_BYTES (64 << 20)
#define GRACE_MS 1500
#define TICK_NS 1000000

struct datagram {
  uint64_t number;
  char token[TOKEN_BYTES];
  uint8_t rest[PAYLOAD_BYTES - 8 - TOKEN_BYTES];
};

static struct datagram data[BATCH];
static struct mmsghdr messages[BATCH];
static struct iovec vectors[BATCH];
static struct sockaddr_in peers[BATCH];
static volatile sig_atomic_t ending;

static void end(int signal_number) {
  (void)signal_number;
  ending = 1;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static struct sockaddr_in endpoint(const char *address, const char *port) {
  struct sockaddr_in result = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  if (inet_pton(AF_INET, address, &result.sin_addr) != 1) {
    fprintf(stderr, "%s is no IPv4 address\n", address);
    exit(2);
  }
  return result;
}

static int bound(const struct sockaddr_in *own) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), bytes = BUFFER_BYTES;
  if (fd < 0) fail("socket");
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) < 0) fail("SO_RCVBUFFORCE");
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) < 0) fail("SO_SNDBUFFORCE");
  if (bind(fd, (const struct sockaddr *)own, sizeof *own) < 0) fail("bind");
  return fd;
}

static void prepare(bool with_peers) {
  for (int i = 0; i < BATCH; i++) {
    vectors[i] = (struct iovec){&data[i], sizeof data[i]};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    if (!with_peers) continue;
    messages[i].msg_hdr.msg_name = &peers[i];
    messages[i].msg_hdr.msg_namelen = sizeof peers[i];
  }
}

static _Noreturn void echo(const struct sockaddr_in *own) {
  int fd = bound(own);
  prepare(true);
  say_ready();
  for (;;) {
    int count = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
    for (int i = 0; i < count; i++) vectors[i].iov_len = messages[i].msg_len;
    for (int sent = 0; sent < count;) {
      int result = sendmmsg(fd, messages + sent, (unsigned)(count - sent), 0);
      /* An address nobody answers for is not our trouble. */
      sent += result > 0 ? result : 1;
    }
    prepare(true);
  }
}

struct answers {
  uint8_t *seen;
  uint64_t sent, received, wrong, duplicates;
  double last, longest_gap;
};

static void take(int fd, const char *token, struct answers *answers) {
  for (int count = BATCH; count == BATCH;) {
    prepare(false);
    count = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
    double at = now();
    for (int i = 0; i < count; i++) {
      uint64_t number = data[i].number;
      bool ours = messages[i].msg_len == sizeof data[i] && number < answers->sent &&
                  strncmp(data[i].token, token, TOKEN_BYTES) == 0;
      if (!ours) {
        answers->wrong++;
      } else if (answers->seen[number]) {
        answers->duplicates++;
      } else {
        answers->seen[number] = 1;
        answers->received++;
        if (answers->last > 0 && at - answers->last > answers->longest_gap) answers->longest_gap = at - answers->last;
        answers->last = at;
      }
    }
  }
}

/* Sends what is due. What cannot be sent counts as sent: it is lost. */
static void give(int fd, const char *token, uint64_t due, struct answers *answers) {
  while (answers->sent < due) {
    int count = due - answers->sent < BATCH ? (int)(due - answers->sent) : BATCH;
    prepare(false);
    memset(data, 0, sizeof data);
    for (int i = 0; i < count; i++) {
      data[i].number = answers->sent + (uint64_t)i;
      strncpy(data[i].token, token, TOKEN_BYTES);
    }
    answers->sent += (uint64_t)count;
    for (int done = 0; done < count;) {
      int result = sendmmsg(fd, messages + done, (unsigned)(count - done), 0);
      done += result > 0 ? result : 1;
    }
  }
}

static int numbers(const struct sockaddr_in *own, const struct sockaddr_in *peer, int rate, double seconds, char *token) {
  int fd = bound(own);
  if (connect(fd, (const struct sockaddr *)peer, sizeof *peer) < 0) fail("connect");
  struct answers answers = {.seen = calloc((size_t)(rate * (seconds + 1)), 1)};
  if (answers.seen == NULL) fail("calloc");
  signal(SIGTERM, end);
  say_ready();
  double begin = now(), limit = begin + seconds;
  struct pollfd polled = {.fd = fd, .events = POLLIN};
  for (double at = begin; at < limit && !ending; at = now()) {
    give(fd, token, (uint64_t)((at - begin) * rate), &answers);
    take(fd, token, &answers);
    nanosleep(&(struct timespec){.tv_nsec = TICK_NS}, NULL);
  }
  for (double grace = now() + GRACE_MS / 1e3; now() < grace;) {
    poll(&polled, 1, 10);
    take(fd, token, &answers);
  }
  printf("%llu %llu %llu %llu %.1f\n", (unsigned long long)answers.sent, (unsigned long long)answers.received,
         (unsigned long long)answers.wrong, (unsigned long long)answers.duplicates, answers.longest_gap * 1e3);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 4 && strcmp(argv[1], "echo") == 0) {
    struct sockaddr_in own = endpoint(argv[2], argv[3]);
    echo(&own);
  }
  if (argc == 9 && strcmp(argv[1], "send") == 0) {
    struct sockaddr_in own = endpoint(argv[2], argv[3]), peer = endpoint(argv[4], argv[5]);
    return numbers(&own, &peer, atoi(argv[6]), atof(argv[7]), argv[8]);
  }
  fprintf(stderr, "usage: udp-numbers echo ADDRESS PORT | send SOURCE PORT DESTINATION PORT RATE SECONDS TOKEN\n");
  return 2;
}
