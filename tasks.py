"""Tasks: calls that take turns in one thread, and how they, and threads, wait.

A worker carries out each request as a task, a greenlet of its only thread: a task runs until it
waits for something, and then another does. So nobody is woken by the system, and nobody competes
for Python's lock. Outside of a worker (commands, tests, Flask's own server) whoever waits is a
thread, and waits by itself.
"""

import math
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

R = TypeVar("R")
T = TypeVar("T")


class Task(greenlet):
    """Carries out calls, one after another, in turns with other tasks; `hub` gives it its turns."""

    def __init__(self, hub: "Hub") -> None:
        super().__init__(parent=hub.loop)
        self.hub = hub

    def run(self, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        """Carry out a call, and then each that the hub has for a task with nothing to do."""
        while True:
            function(*arguments)
            function, arguments = self.hub.idle(self)


class Hub:
    """Gives tasks their turns, in the thread that it belongs to.

    `selector` is what that thread waits with, for the tasks and for whatever else it looks out for.
    """

    def __init__(self) -> None:
        self.loop = getcurrent()  # what looks out and gives turns
        self.selector = selectors.DefaultSelector()
        self._ready: deque[tuple[Task, tuple[Any, ...]]] = deque()
        self._idle: list[Task] = []  # a new one would need memory from the system
        self._deadlines: dict[Task, float] = {}  # of those that wait, on the monotonic clock

    def start(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have a call carried out, with the next turns."""
        task = self._idle.pop() if self._idle else Task(self)
        self._ready.append((task, (function, arguments)))

    def idle(self, task: Task) -> Any:
        """Of the running task, which has nothing to do: the call it is to carry out next."""
        self._idle.append(task)
        return self.loop.switch()

    def look_out(self, seconds: float) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait until there is something to do, for `seconds` at most.

        Returns the selector's events that no task waits for.
        """
        others = []
        for key, events in self.selector.select(self._patience(seconds)):
            if isinstance(key.data, Task):
                self.selector.unregister(key.fileobj)
                self.wake(key.data, events)
            else:
                others.append((key, events))
        if self._deadlines:
            now = time.monotonic()
            for task in [task for task, end in self._deadlines.items() if end <= now]:
                self.wake(task, 0)
        return others

    def _patience(self, seconds: float) -> float:
        if self._ready:
            return 0
        if self._deadlines:
            return max(0, min(seconds, min(self._deadlines.values()) - time.monotonic()))
        return seconds

    def give_turns(self) -> None:
        """Let every task that can go on do so, once."""
        for _ in range(len(self._ready)):
            task, arguments = self._ready.popleft()
            task.switch(*arguments)

    def wake(self, task: Task, word: int) -> None:
        """Have a task that waits go on, with the word that its wait is to return."""
        if self._deadlines.pop(task, None) is not None:
            self._ready.append((task, (word,)))

    def wait(self, task: Task, seconds: float) -> int:
        """Of the running task: wait to be woken; the word it was woken with, 0 if not in time."""
        self._deadlines[task] = time.monotonic() + seconds
        word: int = self.loop.switch()
        return word

    def wait_for_file(self, task: Task, file: int, events: int, seconds: float) -> int:
        """Of the running task: wait for events of a file; which came, 0 for none in time."""
        self.selector.register(file, events, task)
        came = self.wait(task, seconds)
        if not came:
            self.selector.unregister(file)
        return came

    def wait_for_others(self, task: Task) -> None:
        """Of the running task: let all who can go on, and who arrive till then, do so first."""
        self._ready.append((task, ()))
        self.loop.switch()


def current() -> Task | None:
    """The task that is running; nothing where it is a thread's own code."""
    running = getcurrent()
    return running if isinstance(running, Task) else None


def pause(seconds: float = 0) -> None:
    """Let others go on, for some seconds or, with none, for one turn."""
    task = current()
    if task is None:
        time.sleep(seconds)
    elif seconds:
        task.hub.wait(task, seconds)
    else:
        task.hub.wait_for_others(task)


def in_turns(items: list[T], size: int) -> Iterator[list[T]]:
    """Parts of a list, of a size; others go on after each."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
        pause()


def apart(function: Callable[..., R], *arguments: Any) -> R:
    """The result of a call that takes long without ever waiting as tasks do.

    Where a task calls it, a thread of its own carries it out, and other tasks go on meanwhile.
    """
    task = current()
    if task is None:
        return function(*arguments)
    future: Future[R] = Future()
    done, tell = os.pipe()

    def run() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:  # raised again in the task
            future.set_exception(error)
        os.write(tell, b".")

    try:
        threading.Thread(target=run, daemon=True).start()
        task.hub.wait_for_file(task, done, selectors.EVENT_READ, math.inf)
        return future.result()
    finally:
        os.close(done)
        os.close(tell)


class Word:
    """What one task or thread waits for and another gives. Made by the one who will wait."""

    __slots__ = ("_given", "_lock", "_task")

    def __init__(self) -> None:
        self._task = current()
        self._given = False
        if self._task is None:
            self._lock = threading.Lock()
            self._lock.acquire()

    def wait(self, seconds: float = threading.TIMEOUT_MAX) -> bool:
        """Wait for it; whether it came in time."""
        if self._task is None:
            return self._lock.acquire(timeout=seconds)
        return self._given or bool(self._task.hub.wait(self._task, seconds))

    def give(self) -> None:
        """Have the one who waits go on."""
        self._given = True
        if self._task is None:
            self._lock.release()
        else:
            self._task.hub.wake(self._task, 1)
