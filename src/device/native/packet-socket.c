/*
 * Packet sockets with virtio-net headers: GSO segments and partial checksums cross whole.
 *
 *   ethernet  frame = virtio header | Ethernet header | packet; csum_start counts from the Ethernet header
 *   ip        devices without a link header: two vectors keep the gap, so that the packet stands at the same
 *             place; csum_start counts from the IP header; the protocol of what is sent is told by its version
 *
 * PPP: the kernel announces room for a header that packets do not have, takes the network header of what a packet
 * socket sends to be behind it, and would cut GSO packets there. So they are cut here, by gre-segment.c.
 *
 * Bound with ETH_P_ALL: taps for single protocols see nothing behind an nftables ingress drop. What the socket
 * takes is up to its filter, which is attached before the bind; another one takes its place without a gap.
 */
#include "homeward.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

/*
 * A hundred sites that speak at once fill 4 MiB while this process waits for a processor (seen: thousands of frames
 * lost). More costs some milliseconds of delay after an overload.
 */
#define RECEIVE_BUFFER_BYTES (16 << 20)
#define SEND_BUFFER_BYTES (4 << 20)
/*
 * Frames asked for at once when the last batch had large ones: 4 * 64 KiB still lie in the second-level cache when
 * they are sent. With 8, or with 2, a gigabit took a few per cent more processor time.
 */
#define LARGE_BATCH 4
/* What is large: not jumbo frames, but segments the kernel joined. */
#define LARGE_BYTES 16384
/* How long a send may wait for room in the socket's buffer, once a burst and device. */
#define SEND_WAIT_MS 1

static int option(int fd, int level, int name, const void *value, socklen_t bytes, const char *step) {
  last_step = step;
  return setsockopt(fd, level, name, value, bytes) < 0 ? -errno : 0;
}

static int flag(int fd, int name, const char *step) {
  int one = 1;
  return option(fd, SOL_PACKET, name, &one, sizeof one, step);
}

/* The device must have, or not have, an Ethernet header, as the kind says. */
static int check_kind(int fd, struct ifreq *request, int kind, struct device *device) {
  last_step = "SIOCGIFHWADDR";
  if (ioctl(fd, SIOCGIFHWADDR, request) < 0) return -errno;
  int type = request->ifr_hwaddr.sa_family;
  bool ethernet = type == ARPHRD_ETHER || type == ARPHRD_LOOPBACK;
  device->cut_gso = type == ARPHRD_PPP;
  last_step = ethernet ? "an Ethernet device is not an ip device" : "not an Ethernet device";
  return ethernet == (kind == KIND_ETHERNET) ? 0 : -EINVAL;
}

int packet_filter(int fd, const struct sock_filter *filter, int length) {
  struct sock_fprog program = {.len = (unsigned short)length, .filter = (struct sock_filter *)filter};
  return option(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program, "SO_ATTACH_FILTER");
}

static int configure(int fd, const char *name, const struct packet_options *options, struct device *device) {
  struct ifreq request;
  memset(&request, 0, sizeof request);
  last_step = "name";
  if (name[0] == 0 || strlen(name) >= IFNAMSIZ) return -EINVAL;
  strcpy(request.ifr_name, name);
  last_step = "SIOCGIFINDEX";
  if (ioctl(fd, SIOCGIFINDEX, &request) < 0) return -errno;
  device->ifindex = request.ifr_ifindex;

  int receive_bytes = RECEIVE_BUFFER_BYTES, send_bytes = SEND_BUFFER_BYTES;
  int result = check_kind(fd, &request, options->kind, device);
  if (result == 0) result = flag(fd, PACKET_VNET_HDR, "PACKET_VNET_HDR");
  if (result == 0) result = flag(fd, PACKET_IGNORE_OUTGOING, "PACKET_IGNORE_OUTGOING");
  if (result == 0 && options->qdisc_bypass) result = flag(fd, PACKET_QDISC_BYPASS, "PACKET_QDISC_BYPASS");
  if (result == 0) result = option(fd, SOL_SOCKET, SO_RCVBUFFORCE, &receive_bytes, sizeof receive_bytes, "SO_RCVBUFFORCE");
  if (result == 0) result = option(fd, SOL_SOCKET, SO_SNDBUFFORCE, &send_bytes, sizeof send_bytes, "SO_SNDBUFFORCE");
  if (result == 0 && options->filter_length > 0) result = packet_filter(fd, options->filter, options->filter_length);
  if (result == 0 && options->kind == KIND_ETHERNET) {
    struct packet_mreq membership = {.mr_ifindex = device->ifindex, .mr_type = PACKET_MR_ALLMULTI};
    result = option(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership, sizeof membership, "PACKET_ADD_MEMBERSHIP");
  }
  if (result < 0) return result;

  struct sockaddr_ll address;
  memset(&address, 0, sizeof address);
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = device->ifindex;
  last_step = "bind";
  return bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ? -errno : 0;
}

int packet_open(const char *name, const struct packet_options *options, struct device *device) {
  last_step = "socket";
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  int result = configure(fd, name, options, device);
  if (result < 0) {
    close(fd);
    return result;
  }
  return fd;
}

/* A socket whose device was deleted or moved away has lost its index. */
static bool has_lost_device(int fd) {
  struct sockaddr_ll address;
  socklen_t bytes = sizeof address;
  return getsockname(fd, (struct sockaddr *)&address, &bytes) < 0 || address.sll_ifindex <= 0;
}

/*
 * The kernel says ENETDOWN both when a device is set down, after which the socket goes on working as soon as it
 * is up again, and when it is deleted or moved away.
 */
static bool is_gone(int fd, int error) {
  if (error == ENXIO || error == ENODEV) return true;
  return error == ENETDOWN && has_lost_device(fd);
}

/* Whether packets can pass: the device is up, and somebody is at its other end. */
static bool is_running(const struct device *device) {
  struct ifreq request;
  memset(&request, 0, sizeof request);
  request.ifr_ifindex = device->ifindex;
  /* By its index: it may have been given another name. */
  if (ioctl(device->fd, SIOCGIFNAME, &request) < 0 || ioctl(device->fd, SIOCGIFFLAGS, &request) < 0) return false;
  return (request.ifr_flags & IFF_UP) != 0 && (request.ifr_flags & IFF_RUNNING) != 0;
}

/* ENETDOWN comes once, when the device goes down: on its way out it may still have its index then. */
bool packet_check(struct loop *loop, int index) {
  /* What came while the socket's buffer was full. Reading resets the kernel's count. */
  struct tpacket_stats statistics;
  socklen_t bytes = sizeof statistics;
  if (getsockopt(loop->devices[index].fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &bytes) == 0)
    loop->rx_errors[index] += statistics.tp_drops;
  if (!has_lost_device(loop->devices[index].fd)) return is_running(&loop->devices[index]);
  loop_remove(loop, index, STATE_GONE);
  return false;
}

/* Names the buffers of a batch: see homeward.h for the two places a message is received to. */
static void prepare_receive(struct loop *loop, size_t small, int count, int kind) {
  for (int i = 0; i < count; i++) {
    uint8_t *frame = loop->arena + small + (size_t)i * SMALL_STRIDE;
    uint8_t *large = loop->arena + loop->large_start + (size_t)(loop->large_next + i) * LARGE_STRIDE + HEADROOM_BYTES;
    struct iovec *vector = &loop->vectors[i * 3];
    int vectors = 0;
    if (kind == KIND_IP) {
      vector[vectors++] = (struct iovec){frame, VNET_BYTES};
      vector[vectors++] = (struct iovec){frame + PREFIX_BYTES, SMALL_BYTES - PREFIX_BYTES};
    } else {
      vector[vectors++] = (struct iovec){frame, SMALL_BYTES};
    }
    vector[vectors++] = (struct iovec){large + SMALL_BYTES, MAX_FRAME_BYTES - SMALL_BYTES};
    struct msghdr *message = &loop->messages[i].msg_hdr;
    memset(message, 0, sizeof *message);
    message->msg_iov = vector;
    message->msg_iovlen = (size_t)vectors;
  }
}

bool packet_receive(struct loop *loop, int index, int frames) {
  struct device *device = &loop->devices[index];
  int batch = device->large_frames ? LARGE_BATCH : BATCH;
  if (batch > frames) batch = frames;
  if (batch > LARGE_SLOTS - loop->large_next) batch = LARGE_SLOTS - loop->large_next;
  size_t small = next_frame_offset(loop);
  int room = (int)((loop->packed_end - small) / SMALL_STRIDE);
  if (batch > room) batch = room;
  prepare_receive(loop, small, batch, device->kind);

  int count = recvmmsg(device->fd, loop->messages, (unsigned)batch, MSG_DONTWAIT, NULL);
  if (count < 0) {
    if (is_gone(device->fd, errno)) loop_remove(loop, index, STATE_GONE);
    else if (errno != EAGAIN && errno != EINTR && errno != ENETDOWN) loop->rx_errors[index]++;
    return true;
  }
  int first = loop->rx_count;
  size_t gap = device->kind == KIND_IP ? LINK_BYTES : 0;
  int large_used = 0;
  bool large_frames = false;
  for (int i = 0; i < count; i++) {
    size_t length = loop->messages[i].msg_len + gap;
    if (length <= PREFIX_BYTES || (loop->messages[i].msg_hdr.msg_flags & MSG_TRUNC)) {
      loop->rx_errors[index]++;
      continue;
    }
    size_t offset = small + (size_t)i * SMALL_STRIDE;
    loop->packed_next = offset + SMALL_BYTES;
    if (length > SMALL_BYTES) {
      size_t large = loop->large_start + (size_t)(loop->large_next + i) * LARGE_STRIDE + HEADROOM_BYTES;
      memcpy(loop->arena + large, loop->arena + offset, SMALL_BYTES);
      offset = large;
      large_used = i + 1;
      if (length > LARGE_BYTES) large_frames = true;
    }
    rx_push(loop, index, offset, length);
  }
  loop->large_next += large_used;
  device->large_frames = large_frames;
  if (device->coalesce_gre) coalesce_gre(loop, first, device->kind);
  return count < batch;
}

/* What packet_send keeps while it fills batches. */
struct sending {
  int index;
  /* Messages filled and not sent yet. */
  int count;
  /* It has waited for room once. */
  bool waited;
  /* The device takes no more in this burst. */
  bool blocked;
};

static void send_batch(struct loop *loop, struct sending *sending) {
  struct device *device = &loop->devices[sending->index];
  int sent = 0, count = sending->count;
  sending->count = 0;
  while (sent < count) {
    int result = sendmmsg(device->fd, loop->messages + sent, (unsigned)(count - sent), MSG_DONTWAIT);
    if (result > 0) {
      sent += result;
      continue;
    }
    int error = errno;
    if (error == EINTR) continue;
    if (error == EAGAIN && !sending->waited) {
      struct pollfd poll_fd = {.fd = device->fd, .events = POLLOUT};
      sending->waited = true;
      if (poll(&poll_fd, 1, SEND_WAIT_MS) > 0) continue;
    }
    bool gone = is_gone(device->fd, error);
    if (gone || error == EAGAIN || error == ENETDOWN) {
      loop->tx_errors[sending->index] += count - sent;
      if (gone) loop_remove(loop, sending->index, STATE_GONE);
      sending->blocked = true;
      return;
    }
    /* This frame was refused (ENOBUFS: a full queue; EINVAL, EMSGSIZE: the frame): the next may pass. */
    loop->tx_errors[sending->index]++;
    sent++;
  }
}

/* Appends a message: `head` bytes of a frame from its virtio header on, and `payload` bytes from elsewhere. */
static void append(struct loop *loop, struct sending *sending, uint8_t *frame, size_t head, const uint8_t *payload,
                   size_t payload_bytes) {
  struct iovec *vector = &loop->vectors[sending->count * 3];
  struct msghdr *message = &loop->messages[sending->count].msg_hdr;
  size_t vectors = 0;
  memset(message, 0, sizeof *message);
  message->msg_iov = vector;
  if (loop->devices[sending->index].kind == KIND_IP) {
    vector[vectors++] = (struct iovec){frame, VNET_BYTES};
    vector[vectors++] = (struct iovec){frame + PREFIX_BYTES, head - PREFIX_BYTES};
    message->msg_name = &loop->names[frame[PREFIX_BYTES] >> 4 == 6];
    message->msg_namelen = sizeof loop->names[0];
  } else {
    vector[vectors++] = (struct iovec){frame, head};
  }
  if (payload_bytes > 0) vector[vectors++] = (struct iovec){(void *)payload, payload_bytes};
  message->msg_iovlen = vectors;
  if (++sending->count == BATCH) send_batch(loop, sending);
}

static void append_segments(struct loop *loop, struct sending *sending, const uint8_t *frame, size_t length, bool gre) {
  struct segmenter segmenter;
  if (!segment_begin(&segmenter, frame, length, loop->devices[sending->index].kind, gre)) {
    loop->tx_errors[sending->index]++;
    return;
  }
  while (!segmenter.done && !sending->blocked) {
    uint8_t *header = loop->segment_headers[sending->count];
    const uint8_t *payload;
    size_t bytes = segment_next(&segmenter, header, &payload);
    append(loop, sending, header, segmenter.header_bytes, payload, bytes);
  }
}

void packet_send(struct loop *loop, int index) {
  struct device *device = &loop->devices[index];
  struct sending sending = {.index = index};
  for (int version = 0; version < 2; version++) {
    struct sockaddr_ll *name = &loop->names[version];
    memset(name, 0, sizeof *name);
    name->sll_family = AF_PACKET;
    name->sll_protocol = htons(version == 0 ? ETH_P_IP : ETH_P_IPV6);
    name->sll_ifindex = device->ifindex;
  }
  for (int i = device->send_first; i >= 0; i = loop->tx_next[i]) {
    const int32_t *descriptor = loop->tx + (size_t)i * DESCRIPTOR_WORDS;
    uint8_t *frame = loop->arena + descriptor[0];
    size_t length = (size_t)descriptor[1];
    if (sending.blocked) loop->tx_errors[index]++;
    else if (descriptor[3] & FLAG_SEGMENT_GRE) append_segments(loop, &sending, frame, length, true);
    else if (device->cut_gso && frame[1] != 0) append_segments(loop, &sending, frame, length, false);
    else append(loop, &sending, frame, length, NULL, 0);
  }
  if (sending.count > 0) send_batch(loop, &sending);
}
