/*
 * The loop: devices and watched descriptors in one epoll set, served by bursts.
 *
 *   burst:  send all of tx, device by device  ->  epoll_wait  ->  ready devices in turn, until drained or the
 *           quota (frames, bytes) is used up; what is left stays in the ready queue for the next burst
 *
 * Level-triggered: a device that was taken off the queue too early is reported again.
 */
#include "homeward.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* epoll data: a device index, or one of these in the high half and an id in the low. */
#define EVENT_DEVICE 0ull
#define EVENT_WATCH 1ull
#define EVENT_WAKE 2ull
#define EVENT_KIND_SHIFT 32

/* What one device may take before the next one has its turn. */
#define TURN_FRAMES 64
#define EVENTS 64

_Thread_local const char *last_step = "";

static size_t packed_bytes(int rx_frames, int byte_quota) {
  return (size_t)rx_frames * SMALL_STRIDE + (size_t)byte_quota + HEADROOM_BYTES + 16 + MAX_FRAME_BYTES;
}

size_t rx_area_bytes(int rx_frames, int byte_quota) {
  size_t packed = (packed_bytes(rx_frames, byte_quota) + 63) & ~(size_t)63;
  return packed + (size_t)LARGE_SLOTS * LARGE_STRIDE;
}

static int epoll_set(struct loop *loop, int operation, int fd, uint32_t events, uint64_t data) {
  struct epoll_event event = {.events = events, .data.u64 = data};
  return epoll_ctl(loop->epoll_fd, operation, fd, &event) < 0 ? -errno : 0;
}

int loop_open(struct loop *loop) {
  for (int i = 0; i < MAX_DEVICES; i++) {
    loop->devices[i].fd = -1;
    loop->devices[i].send_first = -1;
  }
  size_t packed = (packed_bytes(loop->rx_capacity, loop->byte_quota) + 63) & ~(size_t)63;
  loop->packed_end = loop->packed_start + packed;
  loop->large_start = loop->packed_end;
  loop->wake_fd = -1;
  last_step = "epoll_create1";
  loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (loop->epoll_fd < 0) return -errno;
  last_step = "eventfd";
  loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (loop->wake_fd < 0) return -errno;
  return epoll_set(loop, EPOLL_CTL_ADD, loop->wake_fd, EPOLLIN, EVENT_WAKE << EVENT_KIND_SHIFT);
}

void loop_close(struct loop *loop) {
  if (loop->epoll_fd < 0) return;
  for (int i = 0; i < MAX_DEVICES; i++) {
    if (loop->devices[i].fd >= 0) close(loop->devices[i].fd);
    loop->devices[i].fd = -1;
  }
  if (loop->wake_fd >= 0) close(loop->wake_fd);
  close(loop->epoll_fd);
  loop->epoll_fd = -1;
  loop->wake_fd = -1;
}

int loop_add(struct loop *loop, int index, int fd, const struct device *device) {
  last_step = "epoll_ctl";
  int result = epoll_set(loop, EPOLL_CTL_ADD, fd, EPOLLIN, EVENT_DEVICE << EVENT_KIND_SHIFT | (uint32_t)index);
  if (result < 0) return result;
  loop->devices[index] = *device;
  loop->devices[index].fd = fd;
  loop->devices[index].send_first = -1;
  loop->states[index] = STATE_OPEN;
  return 0;
}

static void unqueue(struct loop *loop, int index) {
  int kept = 0;
  for (int i = 0; i < loop->queue_count; i++) {
    int16_t entry = loop->queue[(loop->queue_first + i) % MAX_DEVICES];
    if (entry != index) loop->queue[(loop->queue_first + kept++) % MAX_DEVICES] = entry;
  }
  loop->queue_count = kept;
  loop->devices[index].queued = false;
}

void loop_remove(struct loop *loop, int index, enum device_state state) {
  struct device *device = &loop->devices[index];
  if (device->fd >= 0) {
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, device->fd, NULL);
    close(device->fd);
    device->fd = -1;
    if (device->queued) unqueue(loop, index);
  }
  loop->states[index] = (uint8_t)state;
}

int loop_watch(struct loop *loop, int fd, int32_t id, bool writable) {
  uint32_t events = EPOLLIN | (writable ? EPOLLOUT : 0);
  uint64_t data = EVENT_WATCH << EVENT_KIND_SHIFT | (uint32_t)id;
  last_step = "epoll_ctl";
  int result = epoll_set(loop, EPOLL_CTL_ADD, fd, events, data);
  return result == -EEXIST ? epoll_set(loop, EPOLL_CTL_MOD, fd, events, data) : result;
}

int loop_unwatch(struct loop *loop, int fd) {
  last_step = "epoll_ctl";
  return epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL) < 0 ? -errno : 0;
}

int loop_wake(struct loop *loop) {
  uint64_t one = 1;
  last_step = "write";
  /* EAGAIN: the counter is full, so the loop is awake already. */
  if (write(loop->wake_fd, &one, sizeof one) < 0 && errno != EAGAIN) return -errno;
  return 0;
}

size_t next_frame_offset(const struct loop *loop) {
  return ((loop->packed_next + HEADROOM_BYTES + 7) & ~(size_t)15) + 8;
}

void rx_push(struct loop *loop, int index, size_t offset, size_t length) {
  int32_t *descriptor = loop->rx + (size_t)loop->rx_count * DESCRIPTOR_WORDS;
  descriptor[0] = (int32_t)offset;
  descriptor[1] = (int32_t)length;
  descriptor[2] = index;
  descriptor[3] = 0;
  loop->rx_count++;
  loop->rx_bytes += length;
}

/* Chains the frames by device, keeping their order, and sends chain by chain. */
static void flush(struct loop *loop, int tx_count) {
  int used = 0;
  for (int i = 0; i < tx_count; i++) {
    const int32_t *descriptor = loop->tx + (size_t)i * DESCRIPTOR_WORDS;
    uint32_t offset = (uint32_t)descriptor[0], length = (uint32_t)descriptor[1], index = (uint32_t)descriptor[2];
    if (index >= MAX_DEVICES) continue;
    struct device *device = &loop->devices[index];
    if (device->fd < 0 || length <= PREFIX_BYTES || length > MAX_FRAME_BYTES || offset > loop->arena_bytes ||
        length > loop->arena_bytes - offset) {
      loop->tx_errors[index]++;
      continue;
    }
    loop->tx_next[i] = -1;
    if (device->send_first < 0) {
      device->send_first = i;
      loop->send_devices[used++] = (int)index;
    } else {
      loop->tx_next[device->send_last] = i;
    }
    device->send_last = i;
  }
  for (int i = 0; i < used; i++) {
    int index = loop->send_devices[i];
    if (loop->devices[index].kind == KIND_TUN) tun_send(loop, index);
    else packet_send(loop, index);
    loop->devices[index].send_first = -1;
  }
}

static void enqueue(struct loop *loop, int index) {
  struct device *device = &loop->devices[index];
  if (device->queued || device->fd < 0) return;
  device->queued = true;
  loop->queue[(loop->queue_first + loop->queue_count++) % MAX_DEVICES] = (int16_t)index;
}

static uint32_t clock_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint32_t)((uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
}

/* Waits, and says how long that took: the rest of the time the loop is busy. Without system calls (vDSO). */
static int wait_for_events(struct loop *loop, struct epoll_event *events, int wait_ms) {
  uint32_t began = clock_us();
  int count = epoll_wait(loop->epoll_fd, events, EVENTS, wait_ms);
  loop->status[STATUS_WAITED_US] = (int32_t)((uint32_t)loop->status[STATUS_WAITED_US] + clock_us() - began);
  return count;
}

static void collect(struct loop *loop, int wait_ms) {
  struct epoll_event events[EVENTS];
  int count = loop->queue_count > 0 || wait_ms == 0 ? epoll_wait(loop->epoll_fd, events, EVENTS, 0)
                                                    : wait_for_events(loop, events, wait_ms);
  int ready = 0;
  for (int i = 0; i < count; i++) {
    uint32_t id = (uint32_t)events[i].data.u64;
    switch (events[i].data.u64 >> EVENT_KIND_SHIFT) {
      case EVENT_DEVICE:
        enqueue(loop, (int)id);
        break;
      case EVENT_WATCH:
        if (ready < loop->ready_capacity) loop->ready_ids[ready++] = (int32_t)id;
        break;
      default: {
        uint64_t counter;
        if (read(loop->wake_fd, &counter, sizeof counter) < 0) continue;
      }
    }
  }
  loop->status[STATUS_READY_COUNT] = ready;
}

int loop_burst(struct loop *loop, int tx_count, int wait_ms) {
  if (loop->epoll_fd < 0) return 0;
  if (tx_count > loop->tx_capacity) tx_count = loop->tx_capacity;
  flush(loop, tx_count);

  loop->rx_count = 0;
  loop->rx_bytes = 0;
  loop->packed_next = loop->packed_start;
  loop->large_next = 0;
  collect(loop, wait_ms);

  while (loop->queue_count > 0 && loop->rx_bytes < (size_t)loop->byte_quota) {
    int frames = loop->rx_capacity - loop->rx_count;
    if (frames <= 0 || next_frame_offset(loop) + MAX_FRAME_BYTES > loop->packed_end) break;
    if (loop->large_next >= LARGE_SLOTS) break;
    if (frames > TURN_FRAMES) frames = TURN_FRAMES;
    int index = loop->queue[loop->queue_first];
    loop->queue_first = (loop->queue_first + 1) % MAX_DEVICES;
    loop->queue_count--;
    loop->devices[index].queued = false;
    bool drained = loop->devices[index].kind == KIND_TUN ? tun_receive(loop, index, frames)
                                                         : packet_receive(loop, index, frames);
    if (!drained) enqueue(loop, index);
  }

  struct timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  loop->status[STATUS_NOW_MS] = (int32_t)(uint32_t)((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
  return loop->rx_count;
}
