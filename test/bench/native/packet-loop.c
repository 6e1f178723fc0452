/*
 * The C loop between two Ethernet devices that homeward is measured against: packet sockets with virtio-net
 * headers, recvmmsg and sendmmsg of 64 frames, of 8 while they are large.
 *
 *   packet-loop DEVICE0 NEXT_HOP_MAC0 DEVICE1 NEXT_HOP_MAC1
 */
#include "forward.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

#define BATCH 64
#define LARGE_BATCH 8
#define LARGE_BYTES 2048
#define VNET_BYTES 10
#define LINK_END (VNET_BYTES + ETH_HLEN)
#define FRAME_BYTES (LINK_END + 65536)
#define STRIDE_BYTES (FRAME_BYTES + 168)
#define BUFFER_BYTES (4 << 20)

struct end {
  int fd;
  bool large;
  uint8_t own_mac[ETH_ALEN];
  uint8_t next_hop_mac[ETH_ALEN];
};

static uint8_t frames[BATCH][STRIDE_BYTES] __attribute__((aligned(64)));

static void set(int fd, int level, int name, const void *value, socklen_t bytes, const char *what) {
  if (setsockopt(fd, level, name, value, bytes) < 0) fail(what);
}

static void open_end(struct end *end, const char *device, const char *mac) {
  end->fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (end->fd < 0) fail("socket");
  struct ifreq request;
  memset(&request, 0, sizeof request);
  strncpy(request.ifr_name, device, IFNAMSIZ - 1);
  if (ioctl(end->fd, SIOCGIFHWADDR, &request) < 0) fail(device);
  memcpy(end->own_mac, request.ifr_hwaddr.sa_data, ETH_ALEN);
  unsigned byte[ETH_ALEN];
  if (sscanf(mac, "%x:%x:%x:%x:%x:%x", byte, byte + 1, byte + 2, byte + 3, byte + 4, byte + 5) != ETH_ALEN) {
    fprintf(stderr, "%s is no MAC address\n", mac);
    exit(2);
  }
  for (int i = 0; i < ETH_ALEN; i++) end->next_hop_mac[i] = (uint8_t)byte[i];

  /* Unicast frames with IPv4. */
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 3),
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_HOST, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0x40000),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
  int one = 1, bytes = BUFFER_BYTES;
  set(end->fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one, "PACKET_VNET_HDR");
  set(end->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one, "PACKET_IGNORE_OUTGOING");
  set(end->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes, "SO_RCVBUFFORCE");
  set(end->fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes, "SO_SNDBUFFORCE");
  set(end->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program, "SO_ATTACH_FILTER");
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
  address.sll_ifindex = (int)if_nametoindex(device);
  if (bind(end->fd, (struct sockaddr *)&address, sizeof address) < 0) fail("bind");
}

/* Moves one batch. */
static void turn(struct end *from, struct end *to) {
  struct mmsghdr messages[BATCH];
  struct iovec vectors[BATCH];
  int batch = from->large ? LARGE_BATCH : BATCH;
  memset(messages, 0, sizeof *messages * (size_t)batch);
  for (int i = 0; i < batch; i++) {
    vectors[i] = (struct iovec){frames[i], FRAME_BYTES};
    messages[i].msg_hdr.msg_iov = &vectors[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  int count = recvmmsg(from->fd, messages, (unsigned)batch, MSG_DONTWAIT, NULL);
  if (count < 0) {
    if (errno == EAGAIN || errno == EINTR || errno == ENETDOWN) return;
    fail("recvmmsg");
  }
  int kept = 0;
  from->large = false;
  for (int i = 0; i < count; i++) {
    size_t length = messages[i].msg_len;
    if (length > LARGE_BYTES) from->large = true;
    if (length <= LINK_END || !forward(frames[i] + LINK_END, length - LINK_END)) continue;
    memcpy(frames[i] + VNET_BYTES, to->next_hop_mac, ETH_ALEN);
    memcpy(frames[i] + VNET_BYTES + ETH_ALEN, to->own_mac, ETH_ALEN);
    vectors[kept] = (struct iovec){frames[i], length};
    messages[kept].msg_hdr = (struct msghdr){.msg_iov = &vectors[kept], .msg_iovlen = 1};
    kept++;
  }
  for (int sent = 0; sent < kept;) {
    int result = sendmmsg(to->fd, messages + sent, (unsigned)(kept - sent), MSG_DONTWAIT);
    if (result > 0) {
      sent += result;
      continue;
    }
    if (errno == EAGAIN) {
      struct pollfd room = {.fd = to->fd, .events = POLLOUT};
      if (poll(&room, 1, 1) > 0) continue;
      break;
    }
    /* A full queue, or a frame that the device refuses: that one is lost. */
    sent++;
  }
}

int main(int argc, char **argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: packet-loop DEVICE0 NEXT_HOP_MAC0 DEVICE1 NEXT_HOP_MAC1\n");
    return 2;
  }
  struct end ends[2] = {0};
  struct pollfd polled[2];
  for (int i = 0; i < 2; i++) {
    open_end(&ends[i], argv[1 + i * 2], argv[2 + i * 2]);
    polled[i] = (struct pollfd){ends[i].fd, POLLIN, 0};
  }
  say_ready();
  for (;;) {
    if (poll(polled, 2, -1) < 0) fail("poll");
    for (int i = 0; i < 2; i++)
      if (polled[i].revents & POLLIN) turn(&ends[i], &ends[i ^ 1]);
  }
}
