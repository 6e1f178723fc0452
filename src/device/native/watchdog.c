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

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS 10
/* Between the accusation and the second look: long enough for a store to be seen, and for a call to notice. */
#define MOMENT_US 500
/* HOOK_SLOW of src/plugin/running-plugin.ts, where the hook stands in the word. */
#define SLOW_CALL 0x8000u

static struct watchdog {
  _Atomic(_Atomic uint32_t *) word;
  _Atomic(_Atomic uint32_t *) accused;
  clockid_t main_clock;
  int64_t limit_ns;
  int64_t slow_limit_ns;
} watchdog;

static int64_t now_ns(clockid_t clock) {
  struct timespec now;
  if (clock_gettime(clock, &now) < 0) return 0;
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void rest(long ns) {
  struct timespec wait = {.tv_nsec = ns};
  nanosleep(&wait, NULL);
}

static void *watch_calls(void *argument) {
  (void)argument;
  uint32_t seen = 0, signalled = 0;
  int64_t since = 0, cpu_since = 0;
  for (;;) {
    rest(POLL_MS * 1000000L);
    uint32_t word = atomic_load(atomic_load(&watchdog.word));
    if (word == 0 || word == signalled) continue;
    int64_t now = now_ns(CLOCK_MONOTONIC), cpu = now_ns(watchdog.main_clock);
    if (word != seen) {
      seen = word;
      since = now;
      cpu_since = cpu;
      continue;
    }
    int64_t limit = word & SLOW_CALL ? watchdog.slow_limit_ns : watchdog.limit_ns;
    if (now - since < limit || cpu - cpu_since < limit / 2) continue;
    atomic_store(atomic_load(&watchdog.accused), word);
    rest(MOMENT_US * 1000L);
    if (atomic_load(atomic_load(&watchdog.word)) == word) {
      signalled = word;
      kill(getpid(), SIGINT);
    } else {
      atomic_store(atomic_load(&watchdog.accused), 0);
    }
  }
  return NULL;
}

int watchdog_start(int32_t *word, int32_t *accused, int limit_ms, int slow_limit_ms) {
  static bool started;
  atomic_store(&watchdog.accused, (_Atomic uint32_t *)accused);
  atomic_store(&watchdog.word, (_Atomic uint32_t *)word);
  if (started) return 0;
  last_step = "pthread_create";
  watchdog.limit_ns = (int64_t)limit_ms * 1000000;
  watchdog.slow_limit_ns = (int64_t)slow_limit_ms * 1000000;
  sigset_t all, before;
  pthread_t thread;
  sigfillset(&all);
  int result = pthread_getcpuclockid(pthread_self(), &watchdog.main_clock);
  /* The thread inherits it: signals are for the others. */
  if (result == 0) result = pthread_sigmask(SIG_SETMASK, &all, &before);
  if (result != 0) return -result;
  result = pthread_create(&thread, NULL, watch_calls, NULL);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (result != 0) return -result;
  pthread_detach(thread);
  started = true;
  return 0;
}
