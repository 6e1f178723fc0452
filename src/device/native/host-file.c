/*
 * Mapped files (flow memory on tmpfs), locks (one instance a directory, one a namespace), and which namespace this is.
 */
#include "homeward.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Makes the file long enough. Its blocks are reserved now: a full tmpfs must not become SIGBUS later. */
static int extend(int fd, size_t bytes) {
  struct stat status;
  last_step = "fstat";
  if (fstat(fd, &status) < 0) return -errno;
  last_step = "fallocate";
  if (fallocate(fd, 0, 0, (off_t)bytes) == 0) return 0;
  if (errno != EOPNOTSUPP) return -errno;
  if ((size_t)status.st_size >= bytes) return 0;
  last_step = "ftruncate";
  return ftruncate(fd, (off_t)bytes) < 0 ? -errno : 0;
}

int file_map(const char *path, size_t bytes, bool create, bool read_only, void **address) {
  last_step = "open";
  int fd = open(path, (read_only ? O_RDONLY : O_RDWR) | (create ? O_CREAT : 0) | O_CLOEXEC, 0600);
  if (fd < 0) return -errno;
  int result = create && !read_only ? extend(fd, bytes) : 0;
  struct stat status;
  if (result == 0) {
    last_step = "fstat";
    if (fstat(fd, &status) < 0) result = -errno;
  }
  if (result == 0 && (size_t)status.st_size < bytes) {
    last_step = "the file is shorter than what is to be mapped";
    result = -EINVAL;
  }
  if (result == 0) {
    last_step = "mmap";
    *address = mmap(NULL, bytes, read_only ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (*address == MAP_FAILED) result = -errno;
  }
  close(fd);
  return result;
}

/* Returns a descriptor that holds the lock until it is closed, -EWOULDBLOCK if another one does. */
int file_lock(const char *path) {
  last_step = "open";
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return -errno;
  last_step = "flock";
  if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
    int error = errno;
    close(fd);
    return -error;
  }
  return fd;
}

/* Abstract names belong to a network namespace, and are free when the last descriptor is closed. */
static int abstract_socket(const char *name, struct sockaddr_un *address, socklen_t *bytes) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  last_step = "name";
  size_t length = strlen(name);
  if (length == 0 || length >= sizeof address->sun_path) return -ENAMETOOLONG;
  memcpy(address->sun_path + 1, name, length);
  *bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
  last_step = "socket";
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  return fd < 0 ? -errno : fd;
}

/* Returns a descriptor that holds the lock until it is closed everywhere, -EADDRINUSE if another one does. */
int namespace_lock(const char *name) {
  struct sockaddr_un address;
  socklen_t bytes;
  int fd = abstract_socket(name, &address, &bytes);
  if (fd < 0) return fd;
  last_step = "bind";
  int result = bind(fd, (struct sockaddr *)&address, bytes);
  /* Listening is what tells others who it is. Nobody is ever accepted: a long queue. */
  if (result == 0) {
    last_step = "listen";
    result = listen(fd, SOMAXCONN);
  }
  if (result < 0) {
    int error = errno;
    close(fd);
    return -error;
  }
  return fd;
}

/* The process that took the lock; 0 if nobody holds it, or it cannot be told. */
int namespace_lock_holder(const char *name) {
  struct sockaddr_un address;
  socklen_t bytes;
  int fd = abstract_socket(name, &address, &bytes);
  if (fd < 0) return fd;
  struct ucred holder = {0};
  socklen_t holder_bytes = sizeof holder;
  last_step = "connect";
  int result = connect(fd, (struct sockaddr *)&address, bytes);
  if (result == 0) result = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &holder, &holder_bytes);
  close(fd);
  return result < 0 ? 0 : holder.pid;
}

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

/* Inode numbers of namespaces are used again at once; cookies (Linux 5.14) never are. */
int network_namespace_cookie(uint64_t *cookie) {
  last_step = "socket";
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  socklen_t bytes = sizeof *cookie;
  last_step = "getsockopt SO_NETNS_COOKIE";
  int result = getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, cookie, &bytes) < 0 ? -errno : 0;
  close(fd);
  return result;
}
