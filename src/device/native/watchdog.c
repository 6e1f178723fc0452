/*
 * The watchdog: a thread that ends calls of plugins that do not return.
 *
 * It looks at one word of shared memory, which is another one for every call and 0 between calls
 * (src/plugin/running-plugin.ts draws how both sides agree). A word that has been there for too long is accused; if it is
 * still there a moment later, this process gets a SIGINT, which ends the script that runs (vm, breakOnSigint). Once
 * for a call: what V8 cannot interrupt does not get interrupted by a second one.
 *
 * Too long is time on the clock, and half as much on the main thread's processor: a call that only waits for its turn on a
 * busy machine is not stuck. One that sleeps is not for this thread to end; nor could it.
 */
#include "homeward.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS 10
/* Between the accusation and the second look: long enough for a store to be seen, and for a call to notice. */
#define MOMENT_US 500
/* HOOK_SLOW of src/plugin/running-plugin.ts, where the hook stands in the word. */
#define SLOW_CALL 0x8000u
/* HOST, likewise: the plugin is in code that is not to be left half done. */
#define IN_HOST 0x4000u

struct suspicion {
  uint32_t seen, signalled;
  int64_t since, cpu_since;
};

static struct {
  /* Held while the thread looks at the words. */
  pthread_mutex_t mutex;
  pthread_t thread;
  bool started;
  atomic_bool stopped;
  _Atomic uint32_t *word;
  _Atomic uint32_t *accused;
  /* Of the words at hand. */
  struct suspicion suspicion;
  clockid_t main_clock;
  int64_t limit_ns;
  int64_t slow_limit_ns;
} watchdog = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static int64_t now_ns(clockid_t clock) {
  struct timespec now;
  if (clock_gettime(clock, &now) < 0) return 0;
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void rest(long ns) {
  struct timespec wait = {.tv_nsec = ns};
  nanosleep(&wait, NULL);
}

static void look(struct suspicion *suspicion) {
  uint32_t word = atomic_load(watchdog.word) & ~IN_HOST;
  if (word == 0 || word == suspicion->signalled) return;
  int64_t now = now_ns(CLOCK_MONOTONIC), cpu = now_ns(watchdog.main_clock);
  if (word != suspicion->seen) {
    suspicion->seen = word;
    suspicion->since = now;
    suspicion->cpu_since = cpu;
    return;
  }
  int64_t limit = word & SLOW_CALL ? watchdog.slow_limit_ns : watchdog.limit_ns;
  if (now - suspicion->since < limit || cpu - suspicion->cpu_since < limit / 2) return;
  atomic_store(watchdog.accused, word);
  rest(MOMENT_US * 1000L);
  uint32_t now_there = atomic_load(watchdog.word);
  if (now_there == word) {
    suspicion->signalled = word;
    kill(getpid(), SIGINT);
  } else if (now_there != (word | IN_HOST)) {
    atomic_store(watchdog.accused, 0);
  }
  /* Else it stays accused: the call waits at the border, and is looked at again. */
}

static void *watch_calls(void *argument) {
  (void)argument;
  while (!atomic_load(&watchdog.stopped)) {
    rest(POLL_MS * 1000000L);
    pthread_mutex_lock(&watchdog.mutex);
    look(&watchdog.suspicion);
    pthread_mutex_unlock(&watchdog.mutex);
  }
  return NULL;
}

void watchdog_stop(void *nothing) {
  (void)nothing;
  atomic_store(&watchdog.stopped, true);
  /* This very code is about to be unmapped. */
  pthread_join(watchdog.thread, NULL);
}

/* The same word of a shared mapping at another address, which is never unmapped; NULL on failure. */
static _Atomic uint32_t *own_view(int32_t *word) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t within = (uintptr_t)word % page;
  /* Of nothing, a shared mapping is extended by another view of it (mremap(2)). */
  uint8_t *view = mremap((uint8_t *)word - within, 0, page, MREMAP_MAYMOVE);
  return view == MAP_FAILED ? NULL : (_Atomic uint32_t *)(view + within);
}

int watchdog_start(int32_t *word, int32_t *accused, int limit_ms, int slow_limit_ms) {
  last_step = "mremap";
  _Atomic uint32_t *own_word = own_view(word), *own_accused = own_view(accused);
  if (own_word == NULL || own_accused == NULL) return -errno;
  pthread_mutex_lock(&watchdog.mutex);
  watchdog.accused = own_accused;
  watchdog.word = own_word;
  /* Who writes these words may count calls from the beginning: the same word is another call. */
  watchdog.suspicion = (struct suspicion){0};
  pthread_mutex_unlock(&watchdog.mutex);
  if (watchdog.started) return 0;
  last_step = "pthread_create";
  watchdog.limit_ns = (int64_t)limit_ms * 1000000;
  watchdog.slow_limit_ns = (int64_t)slow_limit_ms * 1000000;
  sigset_t all, before;
  sigfillset(&all);
  int result = pthread_getcpuclockid(pthread_self(), &watchdog.main_clock);
  /* The thread inherits it: signals are for the others. */
  if (result == 0) result = pthread_sigmask(SIG_SETMASK, &all, &before);
  if (result != 0) return -result;
  result = pthread_create(&watchdog.thread, NULL, watch_calls, NULL);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (result != 0) return -result;
  watchdog.started = true;
  return 1;
}
