/*
 * Unix stream sockets, non-blocking: commands reach the data plane by these, which has no event loop for
 * Node's own. And datagrams, which Node does not have at all: a service manager listens for those.
 */
#include "homeward.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 8

/* Whether the path is a socket that nobody listens on any more: what a killed process leaves behind. */
static bool is_stale(const struct sockaddr_un *address) {
  struct stat status;
  if (lstat(address->sun_path, &status) < 0 || !S_ISSOCK(status.st_mode)) return false;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  bool refused = connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 && errno == ECONNREFUSED;
  close(fd);
  return refused;
}

static int bind_path(int fd, const struct sockaddr_un *address) {
  last_step = "bind";
  if (bind(fd, (const struct sockaddr *)address, sizeof *address) == 0) return 0;
  int error = errno;
  if (error != EADDRINUSE || !is_stale(address)) return -error;
  unlink(address->sun_path);
  return bind(fd, (const struct sockaddr *)address, sizeof *address) < 0 ? -errno : 0;
}

int unix_listen(const char *path) {
  struct sockaddr_un address;
  memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  last_step = "path";
  if (path[0] == 0 || strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
  strcpy(address.sun_path, path);
  last_step = "socket";
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  int result = bind_path(fd, &address);
  if (result == 0) {
    /* Before listen, so that nobody else can have connected. */
    last_step = "chmod";
    if (chmod(path, 0600) < 0) result = -errno;
  }
  if (result == 0) {
    last_step = "listen";
    if (listen(fd, BACKLOG) < 0) result = -errno;
  }
  if (result < 0) close(fd);
  return result < 0 ? result : fd;
}

/* Sends one datagram. A path that begins with '@' is a name without a file (unix(7), abstract). */
int unix_send_datagram(const char *path, const uint8_t *bytes, size_t length) {
  struct sockaddr_un address;
  memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  size_t path_bytes = strlen(path);
  last_step = "path";
  if (path_bytes == 0 || path_bytes >= sizeof address.sun_path) return -ENAMETOOLONG;
  memcpy(address.sun_path, path, path_bytes);
  socklen_t address_bytes = sizeof address;
  if (path[0] == '@') {
    address.sun_path[0] = 0;
    address_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_bytes);
  }
  last_step = "socket";
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  last_step = "sendto";
  ssize_t sent = sendto(fd, bytes, length, MSG_NOSIGNAL, (const struct sockaddr *)&address, address_bytes);
  int result = sent < 0 ? -errno : 0;
  close(fd);
  return result;
}

int unix_accept(int fd) {
  last_step = "accept";
  int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  return accepted < 0 ? -errno : accepted;
}
