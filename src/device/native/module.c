/*
 * Node-API: takes arguments apart, calls, hands results back. src/device/native.ts is the only caller and gives
 * all this types and errors; so a wrong argument here is our own mistake and answered with a plain TypeError.
 * Control functions return a number, -errno on failure; lastStep() says what was being done.
 */
#define NAPI_VERSION 8
#include "homeward.h"

#include <errno.h>
#include <node_api.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_ARGUMENTS 8
#define MAX_PATH_BYTES 4096

/* Argument readers set `failed` and throw; callers check once, after reading all. */
struct arguments {
  napi_env env;
  napi_value values[MAX_ARGUMENTS];
  size_t count;
  bool failed;
};

static struct arguments read_arguments(napi_env env, napi_callback_info info) {
  struct arguments arguments = {.env = env, .count = MAX_ARGUMENTS};
  napi_get_cb_info(env, info, &arguments.count, arguments.values, NULL, NULL);
  return arguments;
}

static void wrong_argument(struct arguments *arguments) {
  if (!arguments->failed) napi_throw_type_error(arguments->env, "ERR_INVALID_ARG_TYPE", "native: wrong argument");
  arguments->failed = true;
}

static int32_t integer_at(struct arguments *arguments, int at) {
  int32_t value = 0;
  if (napi_get_value_int32(arguments->env, arguments->values[at], &value) != napi_ok) wrong_argument(arguments);
  return value;
}

static int64_t long_at(struct arguments *arguments, int at) {
  int64_t value = 0;
  if (napi_get_value_int64(arguments->env, arguments->values[at], &value) != napi_ok) wrong_argument(arguments);
  return value;
}

static void text_at(struct arguments *arguments, int at, char *text, size_t bytes) {
  size_t length = 0;
  text[0] = 0;
  if (napi_get_value_string_utf8(arguments->env, arguments->values[at], text, bytes, &length) != napi_ok ||
      length >= bytes - 1 || strlen(text) != length)
    wrong_argument(arguments);
}

/* The memory of a typed array of this type; `length` in elements. */
static void *array_at(struct arguments *arguments, int at, napi_typedarray_type type, size_t *length) {
  napi_typedarray_type actual;
  void *data = NULL;
  bool is_array = false;
  *length = 0;
  if (napi_is_typedarray(arguments->env, arguments->values[at], &is_array) != napi_ok || !is_array ||
      napi_get_typedarray_info(arguments->env, arguments->values[at], &actual, length, &data, NULL, NULL) != napi_ok ||
      actual != type)
    wrong_argument(arguments);
  return data;
}

static struct loop *loop_at(struct arguments *arguments, int at) {
  void *loop = NULL;
  if (napi_get_value_external(arguments->env, arguments->values[at], &loop) != napi_ok) wrong_argument(arguments);
  return loop;
}

static int index_at(struct arguments *arguments, int at) {
  int32_t index = integer_at(arguments, at);
  if (index < 0 || index >= MAX_DEVICES) wrong_argument(arguments);
  return index;
}

static napi_value number(napi_env env, int32_t value) {
  napi_value result = NULL;
  napi_create_int32(env, value, &result);
  return result;
}

/* Memory that is handed out as an ArrayBuffer. */

struct mapping {
  void *address;
  size_t bytes;
};

static void release_mapping(napi_env env, void *data, void *hint) {
  (void)env;
  (void)data;
  struct mapping *mapping = hint;
  munmap(mapping->address, mapping->bytes);
  free(mapping);
}

static napi_value hand_out(napi_env env, void *address, size_t bytes) {
  struct mapping *mapping = malloc(sizeof *mapping);
  napi_value buffer = NULL;
  if (mapping == NULL) {
    munmap(address, bytes);
    return number(env, -ENOMEM);
  }
  *mapping = (struct mapping){address, bytes};
  if (napi_create_external_arraybuffer(env, address, bytes, release_mapping, mapping, &buffer) != napi_ok) {
    munmap(address, bytes);
    free(mapping);
    last_step = "napi_create_external_arraybuffer";
    return number(env, -ENOMEM);
  }
  return buffer;
}

/* allocate(bytes): ArrayBuffer, zeroed, page-aligned. */
static napi_value allocate(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  int64_t bytes = long_at(&arguments, 0);
  if (arguments.failed) return NULL;
  last_step = "mmap";
  void *address = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) return number(env, -errno);
  return hand_out(env, address, (size_t)bytes);
}

/* mapFile(path, bytes, create, readOnly): ArrayBuffer */
static napi_value map_file(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  char path[MAX_PATH_BYTES];
  text_at(&arguments, 0, path, sizeof path);
  int64_t bytes = long_at(&arguments, 1);
  int32_t create = integer_at(&arguments, 2), read_only = integer_at(&arguments, 3);
  if (arguments.failed) return NULL;
  void *address;
  int result = file_map(path, (size_t)bytes, create != 0, read_only != 0, &address);
  return result < 0 ? number(env, result) : hand_out(env, address, (size_t)bytes);
}

/* lockFile(path): descriptor */
static napi_value lock_file(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  char path[MAX_PATH_BYTES];
  text_at(&arguments, 0, path, sizeof path);
  return arguments.failed ? NULL : number(env, file_lock(path));
}

/* lockNamespace(name): descriptor */
static napi_value lock_namespace(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  char name[MAX_PATH_BYTES];
  text_at(&arguments, 0, name, sizeof name);
  return arguments.failed ? NULL : number(env, namespace_lock(name));
}

/* namespaceLockHolder(name): pid */
static napi_value lock_holder(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  char name[MAX_PATH_BYTES];
  text_at(&arguments, 0, name, sizeof name);
  return arguments.failed ? NULL : number(env, namespace_lock_holder(name));
}

/* rxAreaBytes(rxFrames, byteQuota) */
static napi_value rx_area(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  int32_t frames = integer_at(&arguments, 0), quota = integer_at(&arguments, 1);
  return arguments.failed ? NULL : number(env, (int32_t)rx_area_bytes(frames, quota));
}

static void release_loop(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  struct loop *loop = data;
  loop_close(loop);
  free(loop->tx_next);
  free(loop);
}

/*
 * loopCreate(arena: Uint8Array, rxOffset, byteQuota,
 *            [rx, tx, status, readyIds]: Int32Array, [txErrors, rxErrors]: Float64Array, states: Uint8Array)
 * The two groups come as JavaScript arrays.
 */
static void *member(struct arguments *arguments, int at, uint32_t position, napi_typedarray_type type, size_t *length) {
  struct arguments inner = {.env = arguments->env, .count = 1};
  if (napi_get_element(arguments->env, arguments->values[at], position, &inner.values[0]) != napi_ok) {
    wrong_argument(arguments);
    return NULL;
  }
  void *data = array_at(&inner, 0, type, length);
  arguments->failed |= inner.failed;
  return data;
}

static napi_value loop_create(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  struct loop *loop = calloc(1, sizeof *loop);
  if (loop == NULL) return number(env, -ENOMEM);
  size_t rx_words, tx_words, status_words, ready_words, tx_error_words, rx_error_words, state_bytes;
  loop->arena = array_at(&arguments, 0, napi_uint8_array, &loop->arena_bytes);
  loop->packed_start = (size_t)integer_at(&arguments, 1);
  loop->byte_quota = integer_at(&arguments, 2);
  loop->rx = member(&arguments, 3, 0, napi_int32_array, &rx_words);
  loop->tx = member(&arguments, 3, 1, napi_int32_array, &tx_words);
  loop->status = member(&arguments, 3, 2, napi_int32_array, &status_words);
  loop->ready_ids = member(&arguments, 3, 3, napi_int32_array, &ready_words);
  loop->tx_errors = member(&arguments, 4, 0, napi_float64_array, &tx_error_words);
  loop->rx_errors = member(&arguments, 4, 1, napi_float64_array, &rx_error_words);
  loop->states = array_at(&arguments, 5, napi_uint8_array, &state_bytes);
  loop->rx_capacity = (int)(rx_words / DESCRIPTOR_WORDS);
  loop->tx_capacity = (int)(tx_words / DESCRIPTOR_WORDS);
  loop->ready_capacity = (int)ready_words;
  loop->epoll_fd = -1;
  if (!arguments.failed &&
      (status_words < STATUS_WORDS || tx_error_words < MAX_DEVICES || rx_error_words < MAX_DEVICES ||
       state_bytes < MAX_DEVICES || loop->rx_capacity < 1 || loop->tx_capacity < 1 ||
       loop->packed_start + rx_area_bytes(loop->rx_capacity, loop->byte_quota) > loop->arena_bytes))
    wrong_argument(&arguments);
  if (arguments.failed) {
    free(loop);
    return NULL;
  }
  loop->tx_next = calloc((size_t)loop->tx_capacity, sizeof *loop->tx_next);
  int result = loop->tx_next == NULL ? -ENOMEM : loop_open(loop);
  napi_value external = NULL;
  if (result == 0 && napi_create_external(env, loop, release_loop, NULL, &external) == napi_ok) return external;
  release_loop(env, loop, NULL);
  return number(env, result == 0 ? -ENOMEM : result);
}

/* loopClose(loop) */
static napi_value close_loop(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  struct loop *loop = loop_at(&arguments, 0);
  if (arguments.failed) return NULL;
  loop_close(loop);
  memset(loop->states, STATE_CLOSED, MAX_DEVICES);
  return NULL;
}

/* Puts a descriptor that was just opened into the loop; returns the interface index. */
static napi_value add(struct loop *loop, napi_env env, int index, int fd, const struct device *device) {
  if (fd < 0) return number(env, fd);
  int result = loop_add(loop, index, fd, device);
  if (result < 0) close(fd);
  return number(env, result < 0 ? result : device->ifindex);
}

/* addTun(loop, index, name, mtu, txQueueFrames, persist) */
static napi_value add_tun(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  struct loop *loop = loop_at(&arguments, 0);
  int index = index_at(&arguments, 1);
  char name[64];
  text_at(&arguments, 2, name, sizeof name);
  int32_t mtu = integer_at(&arguments, 3), queue = integer_at(&arguments, 4), persist = integer_at(&arguments, 5);
  if (arguments.failed) return NULL;
  struct device device = {.kind = KIND_TUN};
  int fd = tun_open(name, mtu, queue, persist, &device.ifindex);
  return add(loop, env, index, fd, &device);
}

/* addPacket(loop, index, name, kind, filter: Uint8Array, qdiscBypass, coalesceGre) */
static napi_value add_packet(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  struct loop *loop = loop_at(&arguments, 0);
  int index = index_at(&arguments, 1);
  char name[64];
  text_at(&arguments, 2, name, sizeof name);
  size_t filter_bytes;
  struct packet_options options = {.kind = integer_at(&arguments, 3)};
  options.filter = array_at(&arguments, 4, napi_uint8_array, &filter_bytes);
  options.filter_length = (int)(filter_bytes / sizeof(struct sock_filter));
  options.qdisc_bypass = integer_at(&arguments, 5) != 0;
  bool coalesce = integer_at(&arguments, 6) != 0;
  if (arguments.failed) return NULL;
  struct device device = {.kind = options.kind, .coalesce_gre = coalesce};
  int fd = packet_open(name, &options, &device);
  return add(loop, env, index, fd, &device);
}

/* setFilter(loop, index, filter: Uint8Array) */
static napi_value set_filter(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  struct loop *loop = loop_at(&arguments, 0);
  int index = index_at(&arguments, 1);
  size_t bytes;
  const struct sock_filter *filter = array_at(&arguments, 2, napi_uint8_array, &bytes);
  if (arguments.failed) return NULL;
  const struct device *device = &loop->devices[index];
  last_step = "no packet socket";
  if (device->fd < 0 || device->kind == KIND_TUN) return number(env, -ENODEV);
  return number(env, packet_filter(device->fd, filter, (int)(bytes / sizeof *filter)));
}

/* removeDevice(loop, index) */
static napi_value remove_device(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  struct loop *loop = loop_at(&arguments, 0);
  int index = index_at(&arguments, 1);
  if (!arguments.failed) loop_remove(loop, index, STATE_CLOSED);
  return NULL;
}

/* checkDevice(loop, index): 1 or 0 */
static napi_value check_device(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  struct loop *loop = loop_at(&arguments, 0);
  int index = index_at(&arguments, 1);
  if (arguments.failed) return NULL;
  const struct device *device = &loop->devices[index];
  /* Of a TUN device we are the other end. */
  return number(env, device->fd >= 0 && (device->kind == KIND_TUN || packet_check(loop, index)));
}

/* watch(loop, fd, id, writable) */
static napi_value watch(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  struct loop *loop = loop_at(&arguments, 0);
  int32_t fd = integer_at(&arguments, 1), id = integer_at(&arguments, 2), writable = integer_at(&arguments, 3);
  return arguments.failed ? NULL : number(env, loop_watch(loop, fd, id, writable != 0));
}

/* unwatch(loop, fd) */
static napi_value unwatch(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  struct loop *loop = loop_at(&arguments, 0);
  int32_t fd = integer_at(&arguments, 1);
  return arguments.failed ? NULL : number(env, loop_unwatch(loop, fd));
}

/* wake(loop) */
static napi_value wake(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  struct loop *loop = loop_at(&arguments, 0);
  return arguments.failed ? NULL : number(env, loop_wake(loop));
}

/* burst(loop, txCount, waitMs): frames received */
static napi_value burst(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  struct loop *loop = loop_at(&arguments, 0);
  int32_t tx_count = integer_at(&arguments, 1), wait_ms = integer_at(&arguments, 2);
  return arguments.failed ? NULL : number(env, loop_burst(loop, tx_count, wait_ms));
}

/* unixListen(path): descriptor */
static napi_value listen_unix(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  char path[MAX_PATH_BYTES];
  text_at(&arguments, 0, path, sizeof path);
  return arguments.failed ? NULL : number(env, unix_listen(path));
}

/* unixAccept(fd): descriptor */
static napi_value accept_unix(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  int32_t fd = integer_at(&arguments, 0);
  return arguments.failed ? NULL : number(env, unix_accept(fd));
}

/* unixSendDatagram(path, bytes: Uint8Array) */
static napi_value send_datagram(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  char path[MAX_PATH_BYTES];
  size_t bytes;
  text_at(&arguments, 0, path, sizeof path);
  uint8_t *data = array_at(&arguments, 1, napi_uint8_array, &bytes);
  return arguments.failed ? NULL : number(env, unix_send_datagram(path, data, bytes));
}

/* unixRead(fd, bytes: Uint8Array) */
static napi_value read_unix(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  int32_t fd = integer_at(&arguments, 0);
  size_t bytes;
  uint8_t *data = array_at(&arguments, 1, napi_uint8_array, &bytes);
  if (arguments.failed) return NULL;
  last_step = "recv";
  ssize_t result = recv(fd, data, bytes, MSG_DONTWAIT);
  return number(env, result < 0 ? -errno : (int32_t)result);
}

/* unixWrite(fd, bytes: Uint8Array, offset, length) */
static napi_value write_unix(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  int32_t fd = integer_at(&arguments, 0), offset = integer_at(&arguments, 2), length = integer_at(&arguments, 3);
  size_t bytes;
  uint8_t *data = array_at(&arguments, 1, napi_uint8_array, &bytes);
  if (offset < 0 || length < 0 || (size_t)offset + (size_t)length > bytes) wrong_argument(&arguments);
  if (arguments.failed) return NULL;
  last_step = "send";
  ssize_t result = send(fd, data + offset, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL);
  return number(env, result < 0 ? -errno : (int32_t)result);
}

/* networkNamespaceCookie(): a number that no other namespace of this boot has, had or will have */
static napi_value namespace_cookie(napi_env env, napi_callback_info info) {
  (void)info;
  uint64_t cookie;
  int result = network_namespace_cookie(&cookie);
  if (result < 0) return number(env, result);
  napi_value value = NULL;
  napi_create_bigint_uint64(env, cookie, &value);
  return value;
}

/* nftState(table): { generation: number, fingerprint: bigint } */
static napi_value state_of_nft(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  char table[MAX_PATH_BYTES];
  text_at(&arguments, 0, table, sizeof table);
  if (arguments.failed) return NULL;
  uint32_t generation;
  uint64_t fingerprint;
  int result = nft_state(table, &generation, &fingerprint);
  if (result < 0) return number(env, result);
  napi_value state = NULL, value = NULL;
  napi_create_object(env, &state);
  napi_create_uint32(env, generation, &value);
  napi_set_named_property(env, state, "generation", value);
  napi_create_bigint_uint64(env, fingerprint, &value);
  napi_set_named_property(env, state, "fingerprint", value);
  return state;
}

/* startWatchdog(word: Int32Array, accused: Int32Array, limitMs, slowLimitMs) */
static napi_value start_watchdog(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  size_t words, accused_words;
  int32_t *word = array_at(&arguments, 0, napi_int32_array, &words);
  int32_t *accused = array_at(&arguments, 1, napi_int32_array, &accused_words);
  int32_t limit_ms = integer_at(&arguments, 2), slow_limit_ms = integer_at(&arguments, 3);
  if (words < 1 || accused_words < 1 || limit_ms < 1 || slow_limit_ms < 1) wrong_argument(&arguments);
  if (arguments.failed) return NULL;
  int result = watchdog_start(word, accused, limit_ms, slow_limit_ms);
  if (result == 1) napi_add_env_cleanup_hook(env, watchdog_stop, NULL);
  return number(env, result);
}

/* closeFd(fd) */
static napi_value close_fd(napi_env env, napi_callback_info info) {
  struct arguments arguments = read_arguments(env, info);
  int32_t fd = integer_at(&arguments, 0);
  last_step = "close";
  return arguments.failed ? NULL : number(env, close(fd) < 0 ? -errno : 0);
}

/* lastStep(): what was being done when the last control function failed */
static napi_value step(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value text = NULL;
  napi_create_string_utf8(env, last_step, NAPI_AUTO_LENGTH, &text);
  return text;
}

NAPI_MODULE_INIT() {
  static const struct {
    const char *name;
    napi_callback function;
  } functions[] = {
      {"allocate", allocate},     {"mapFile", map_file},      {"lockFile", lock_file},
      {"rxAreaBytes", rx_area},   {"loopCreate", loop_create}, {"loopClose", close_loop},
      {"addTun", add_tun},        {"addPacket", add_packet},  {"removeDevice", remove_device},
      {"setFilter", set_filter},  {"checkDevice", check_device},
      {"watch", watch},           {"unwatch", unwatch},       {"wake", wake},
      {"burst", burst},           {"unixListen", listen_unix}, {"unixAccept", accept_unix},
      {"unixSendDatagram", send_datagram},
      {"unixRead", read_unix},    {"unixWrite", write_unix},  {"closeFd", close_fd},
      {"lastStep", step},         {"networkNamespaceCookie", namespace_cookie},
      {"lockNamespace", lock_namespace}, {"namespaceLockHolder", lock_holder},
      {"nftState", state_of_nft},       {"startWatchdog", start_watchdog},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    napi_value function;
    if (napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, NULL, &function) != napi_ok ||
        napi_set_named_property(env, exports, functions[i].name, function) != napi_ok)
      return NULL;
  }
  return exports;
}
