/*
 * TUN devices: layer 3, with a virtio-net header and all offloads, so that 64 KiB segments cross whole.
 *
 * The virtio-net header's size is set to PREFIX_BYTES: the kernel writes and reads its 10 bytes and skips the
 * other 14, which leaves the room of an Ethernet header. csum_start counts from the IP header.
 */
#include "homeward.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

static int configure(int fd, struct ifreq *request, int mtu, int tx_queue_frames, int persist, int *ifindex) {
  last_step = "TUNSETIFF";
  request->ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
  if (ioctl(fd, TUNSETIFF, request) < 0) return -errno;
  int header = PREFIX_BYTES;
  last_step = "TUNSETVNETHDRSZ";
  if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0) return -errno;
  unsigned offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  last_step = "TUNSETOFFLOAD";
  /* Kernels before 6.2 do not know UDP segmentation. */
  if (ioctl(fd, TUNSETOFFLOAD, offloads | TUN_F_USO4 | TUN_F_USO6) < 0 && ioctl(fd, TUNSETOFFLOAD, offloads) < 0)
    return -errno;
  if (persist >= 0) {
    last_step = "TUNSETPERSIST";
    if (ioctl(fd, TUNSETPERSIST, persist) < 0) return -errno;
  }
  last_step = "socket";
  int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (control < 0) return -errno;
  int result = 0;
  if (mtu > 0) {
    last_step = "SIOCSIFMTU";
    request->ifr_mtu = mtu;
    if (ioctl(control, SIOCSIFMTU, request) < 0) result = -errno;
  }
  if (result == 0 && tx_queue_frames > 0) {
    last_step = "SIOCSIFTXQLEN";
    request->ifr_qlen = tx_queue_frames;
    if (ioctl(control, SIOCSIFTXQLEN, request) < 0) result = -errno;
  }
  if (result == 0) {
    last_step = "SIOCGIFINDEX";
    if (ioctl(control, SIOCGIFINDEX, request) < 0) result = -errno;
    else *ifindex = request->ifr_ifindex;
  }
  close(control);
  return result;
}

/* mtu, tx_queue_frames: 0 leaves it. persist: -1 leaves it. Returns a descriptor or -errno. */
int tun_open(const char *name, int mtu, int tx_queue_frames, int persist, int *ifindex) {
  struct ifreq request;
  memset(&request, 0, sizeof request);
  last_step = "name";
  if (name[0] == 0 || strlen(name) >= IFNAMSIZ) return -EINVAL;
  strcpy(request.ifr_name, name);
  last_step = "open /dev/net/tun";
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return -errno;
  int result = configure(fd, &request, mtu, tx_queue_frames, persist, ifindex);
  if (result < 0) {
    close(fd);
    return result;
  }
  return fd;
}

bool tun_receive(struct loop *loop, int index, int frames) {
  int fd = loop->devices[index].fd;
  for (int i = 0; i < frames && loop->rx_bytes < (size_t)loop->byte_quota; i++) {
    size_t offset = next_frame_offset(loop);
    if (offset + MAX_FRAME_BYTES > loop->packed_end) return false;
    ssize_t length = read(fd, loop->arena + offset, MAX_FRAME_BYTES);
    if (length < 0) {
      /* EBADFD: the device was deleted. Anything else but "empty" is worth no more than another try. */
      if (errno == EBADFD) loop_remove(loop, index, STATE_GONE);
      else if (errno != EAGAIN && errno != EINTR) loop->rx_errors[index]++;
      return true;
    }
    if (length <= PREFIX_BYTES) {
      loop->rx_errors[index]++;
      continue;
    }
    rx_push(loop, index, offset, (size_t)length);
    loop->packed_next = offset + (size_t)length;
  }
  return false;
}

static bool send_segments(int fd, const uint8_t *frame, size_t length) {
  struct segmenter segmenter;
  uint8_t header[SEGMENT_HEADER_BYTES];
  if (!segment_begin(&segmenter, frame, length, KIND_TUN, true)) {
    errno = EINVAL;
    return false;
  }
  while (!segmenter.done) {
    const uint8_t *payload;
    size_t bytes = segment_next(&segmenter, header, &payload);
    struct iovec vector[2] = {{header, segmenter.header_bytes}, {(void *)payload, bytes}};
    if (writev(fd, vector, 2) < 0) return false;
  }
  return true;
}

void tun_send(struct loop *loop, int index) {
  struct device *device = &loop->devices[index];
  for (int i = device->send_first; i >= 0; i = loop->tx_next[i]) {
    const int32_t *descriptor = loop->tx + (size_t)i * DESCRIPTOR_WORDS;
    const uint8_t *frame = loop->arena + descriptor[0];
    size_t length = (size_t)descriptor[1];
    if (device->fd >= 0) {
      bool sent = descriptor[3] & FLAG_SEGMENT_GRE ? send_segments(device->fd, frame, length)
                                                   : write(device->fd, frame, length) >= 0;
      if (sent) continue;
      /* EIO is a device that is down, EINVAL a header the kernel does not like: both concern this frame only. */
      if (errno == EBADFD) loop_remove(loop, index, STATE_GONE);
    }
    loop->tx_errors[index]++;
  }
}
