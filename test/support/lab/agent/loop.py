"""One thread, one selector, timers in a heap: everything that an agent does happens here."""

import heapq
import itertools
import selectors
import time


class Loop:
    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list = []
        self._order = itertools.count()
        self.running = True

    def read(self, source, handler) -> None:
        """Calls handler() whenever there is something to read."""
        self._selector.register(source, selectors.EVENT_READ, handler)

    def read_and_write(self, source, handler) -> None:
        self._selector.register(source, selectors.EVENT_READ | selectors.EVENT_WRITE, handler)

    def only_read(self, source, handler) -> None:
        self._selector.modify(source, selectors.EVENT_READ, handler)

    def forget(self, source) -> None:
        try:
            self._selector.unregister(source)
        except (KeyError, ValueError):
            pass

    def at(self, when: float, action) -> None:
        """Calls action() at a time of now()."""
        heapq.heappush(self._timers, (when, next(self._order), action))

    @staticmethod
    def now() -> float:
        """Seconds, monotonic."""
        return time.monotonic()

    def run(self) -> None:
        while self.running:
            now = self.now()
            while self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()
            wait = max(0.0, self._timers[0][0] - self.now()) if self._timers else None
            for key, _ in self._selector.select(wait):
                # An event's handler may have closed a later event's socket, and its number may be another's now.
                if self._selector.get_map().get(key.fd) is key:
                    key.data()
