/*
 * The native part: what Node cannot do by itself on the packet's way.
 *
 * One loop object owns a set of devices (TUN, packet sockets) and some watched descriptors, and serves them by
 * one call, burst: send, wait, receive. It works in memory that the JavaScript side holds: the arena (scratch
 * first, receive area behind it) and the descriptor lists. Nothing here knows flows or policy.
 *
 *   module.c          Node-API: arguments in, results out; every control function returns -errno on failure
 *   loop.c            the loop: epoll set, ready queue, the burst
 *   tun.c             TUN devices
 *   packet-socket.c   AF_PACKET sockets
 *   gre-segment.c     cuts IP > GRE > IP > TCP/UDP super-packets, and plain ones for PPP, before they are sent
 *   gre-coalesce.c    joins GRE-encapsulated TCP segments of one receive batch
 *   checksum.c        Internet checksums
 *   host-file.c       mapped files, file locks
 *   watchdog.c        a thread that ends calls of plugins that do not return
 *   unix-socket.c     stream sockets for commands, datagrams to the service manager
 */
#ifndef HOMEWARD_H
#define HOMEWARD_H

/* Every file includes this one first. */
#define _GNU_SOURCE

#include <linux/filter.h>
#include <linux/if_packet.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* The frame layout of src/wire/frame.ts. */
#define VNET_BYTES 10
#define LINK_BYTES 14
#define PREFIX_BYTES (VNET_BYTES + LINK_BYTES)
#define HEADROOM_BYTES 104
#define MAX_FRAME_BYTES (PREFIX_BYTES + 65536)
#define FLAG_SEGMENT_GRE 1

#define DESCRIPTOR_WORDS 4

#define MAX_DEVICES 1024
#define BATCH 64
/* Most bytes of a frame, up to its payload, that gre-segment.c copies per segment. */
#define SEGMENT_HEADER_BYTES 256

/*
 * The receive area:
 *
 *   packed area: frames back to back, from the start again with every burst
 *   large slots: room for one longest frame each
 *
 * A TUN read goes to the packed area. recvmmsg must name its buffers before it knows the lengths: message i of
 * a batch gets SMALL_BYTES in the packed area and goes on in large slot i, at the place where it would be if it
 * had begun there. A frame that spilled is made whole by copying those first SMALL_BYTES in front of the rest.
 * So small frames lie close together, 64 KiB frames are copied by 3 % only, and nothing has to be guessed. Against
 * slots of 64 KiB for all (16 MiB instead of 7), and against a first part of 512 bytes, no difference in time
 * could be measured beyond the noise, but for 1500-byte frames that then spill (+6 %).
 * Strides are odd multiples of a cache line, so that headers spread over all sets of the cache.
 */
#define SMALL_BYTES 1984
#define SMALL_STRIDE 2112
#define LARGE_STRIDE 65728
#define LARGE_SLOTS 96

/* Values of the states array that JavaScript reads. */
enum device_state { STATE_CLOSED = 0, STATE_OPEN = 1, STATE_GONE = 2 };
enum device_kind { KIND_TUN = 0, KIND_ETHERNET = 1, KIND_IP = 2 };

struct device {
  int fd;
  int kind;
  int ifindex;
  bool coalesce_gre;
  /* GSO packets are cut before they are sent, because the device would not. */
  bool cut_gso;
  /* In the ready queue. */
  bool queued;
  /* The last batch had frames of tens of kilobytes: ask for fewer. */
  bool large_frames;
  /* First and last frame to send in this burst, as tx indices; -1: none. */
  int send_first;
  int send_last;
};

/* Words of the status array that JavaScript reads. */
enum status_word {
  STATUS_NOW_MS = 0,
  STATUS_READY_COUNT = 1,
  STATUS_WAITED_US = 2, /* spent waiting for input since the start; wraps */
  STATUS_WORDS = 3
};

struct loop {
  int epoll_fd;
  int wake_fd;

  /* Owned by JavaScript, which keeps them alive as long as this object. */
  uint8_t *arena;
  size_t arena_bytes;
  int32_t *rx;
  int32_t *tx;
  int32_t *status;
  int32_t *ready_ids;
  double *tx_errors;
  double *rx_errors;
  uint8_t *states;
  int rx_capacity;
  int tx_capacity;
  int ready_capacity;

  /* Receive area, as offsets into the arena. */
  size_t packed_start;
  size_t packed_end;
  size_t large_start;
  int byte_quota;

  /* Of the burst that runs. */
  int rx_count;
  size_t rx_bytes;
  size_t packed_next;
  int large_next;

  /* Devices with input that has not been read yet, served in turn: a ring of device indices. */
  int16_t queue[MAX_DEVICES];
  int queue_first;
  int queue_count;

  /* Chains the frames of tx by device: index of the next frame of the same device, -1 at the end. */
  int32_t *tx_next;
  int send_devices[MAX_DEVICES];

  struct device devices[MAX_DEVICES];

  struct mmsghdr messages[BATCH];
  struct iovec vectors[BATCH * 3];
  struct sockaddr_ll names[2];
  /* Headers that gre-segment.c writes, one place for each message of a batch. */
  uint8_t segment_headers[BATCH][SEGMENT_HEADER_BYTES];
};

/* What was being done when a control function failed; for the error message. */
extern _Thread_local const char *last_step;

/* loop.c */
size_t rx_area_bytes(int rx_frames, int byte_quota);
int loop_open(struct loop *loop);
/* Closes all descriptors. Touches no memory of JavaScript's, which may be collected already. */
void loop_close(struct loop *loop);
int loop_add(struct loop *loop, int index, int fd, const struct device *device);
void loop_remove(struct loop *loop, int index, enum device_state state);
int loop_watch(struct loop *loop, int fd, int32_t id, bool writable);
int loop_unwatch(struct loop *loop, int fd);
int loop_wake(struct loop *loop);
int loop_burst(struct loop *loop, int tx_count, int wait_ms);
/* Offset of the next frame in the packed area, 8 mod 16, with headroom in front. */
size_t next_frame_offset(const struct loop *loop);
void rx_push(struct loop *loop, int index, size_t offset, size_t length);

/* tun.c */
int tun_open(const char *name, int mtu, int tx_queue_frames, int persist, int *ifindex);
/* Reads up to `frames`. Returns true if nothing is left to read. */
bool tun_receive(struct loop *loop, int index, int frames);
void tun_send(struct loop *loop, int index);

/* packet-socket.c */
struct packet_options {
  int kind;
  bool qdisc_bypass;
  const struct sock_filter *filter;
  int filter_length;
};
/* Sets what the device is like in `device`. */
int packet_open(const char *name, const struct packet_options *options, struct device *device);
/* Puts another filter in place of the one a socket has. What was received before stays. */
int packet_filter(int fd, const struct sock_filter *filter, int length);
/* Notices a device that is gone although nothing was sent or received since, and frames that the kernel dropped. */
bool packet_check(struct loop *loop, int index);
bool packet_receive(struct loop *loop, int index, int frames);
void packet_send(struct loop *loop, int index);

/* gre-segment.c */
struct segmenter {
  const uint8_t *frame;
  /* Offsets in the frame; outer and inner are the same, gre 0, without GRE; gre_sequence is 0 if there is none. */
  size_t outer, gre, gre_sequence, inner, transport, header_bytes;
  bool gre_checksum, tcp;
  size_t payload_bytes, segment_bytes;
  /* Payload done so far, and segments. */
  size_t position;
  uint32_t index;
  bool done;
};
/*
 * False if the frame is not IP > GRE > IP > TCP or UDP (`gre`), or IP > TCP or UDP, with the virtio-net header that
 * belongs to it. Else there is at least one segment.
 */
bool segment_begin(struct segmenter *segmenter, const uint8_t *frame, size_t length, int kind, bool gre);
/* Writes the next segment's header_bytes; returns the bytes of its payload, which stays where it is. */
size_t segment_next(struct segmenter *segmenter, uint8_t *header, const uint8_t **payload);

/* gre-coalesce.c: joins among the frames of rx from `first` on, which came by a device of that kind. */
void coalesce_gre(struct loop *loop, int first, int kind);

/* checksum.c */
uint64_t checksum_add(uint64_t sum, const uint8_t *data, size_t bytes);
uint16_t checksum_fold(uint64_t sum);
/* Of the pseudo-header; `ip` is an IPv4 or IPv6 header. */
uint64_t checksum_pseudo(const uint8_t *ip, uint8_t protocol, size_t transport_bytes);

/* host-file.c */
int file_map(const char *path, size_t bytes, bool create, bool read_only, void **address);
int network_namespace_cookie(uint64_t *cookie);
int file_lock(const char *path);
int namespace_lock(const char *name);
int namespace_lock_holder(const char *name);

/*
 * watchdog.c: both words are in a shared mapping; the JavaScript side may give it up at any time. To be called by the thread
 * that is watched. Returns 1 if it has started the watching one.
 */
int watchdog_start(int32_t *word, int32_t *accused, int limit_ms, int slow_limit_ms);
void watchdog_stop(void *nothing);

/* unix-socket.c */
int unix_listen(const char *path);
int unix_accept(int fd);
int unix_send_datagram(const char *path, const uint8_t *bytes, size_t length);

/* nft-state.c: the generation of all rules, and what stands of the tables of this name. */
int nft_state(const char *table, uint32_t *generation, uint64_t *fingerprint);

#endif
