/* Makes a TUN device, as homeward does or plain. */
#ifndef TUN_H
#define TUN_H

#include "forward.h"
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* virtio-net header and the gap that homeward keeps behind it. */
#define TUN_PREFIX_BYTES 24
#define TUN_QUEUE_FRAMES 1000

/* `offloads`: with virtio-net headers and all offloads; else bare packets. */
static int open_tun(const char *name, bool offloads) {
  struct ifreq request;
  memset(&request, 0, sizeof request);
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TUN | IFF_NO_PI | (offloads ? IFF_VNET_HDR : 0);
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) fail("/dev/net/tun");
  if (ioctl(fd, TUNSETIFF, &request) < 0) fail("TUNSETIFF");
  if (offloads) {
    int header = TUN_PREFIX_BYTES;
    unsigned wanted = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0) fail("TUNSETVNETHDRSZ");
    /* USO4 and USO6, which older headers do not name and older kernels refuse. */
    if (ioctl(fd, TUNSETOFFLOAD, wanted | 0x60) < 0 && ioctl(fd, TUNSETOFFLOAD, wanted) < 0) fail("TUNSETOFFLOAD");
  }
  int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  request.ifr_qlen = TUN_QUEUE_FRAMES;
  if (control < 0 || ioctl(control, SIOCSIFTXQLEN, &request) < 0) fail("SIOCSIFTXQLEN");
  close(control);
  return fd;
}

#endif
