"""Lanes: limit the deliveries in progress of each webhook, so that no receiver delays others."""

from collections import deque
from dataclasses import dataclass, field

from sender.client import ReceiverResponse
from sender.queue import Job

FIRST_WINDOW, LARGEST_WINDOW = 2, 64
WIDTH = 8  # connections to one receiver
QUICK_MILLISECONDS = 1000  # only an answer within this time enlarges the window


@dataclass
class Lane:
    """The leased deliveries of one webhook: those that wait for a thread, and those in progress.

    The window is their largest number. It doubles with quick answers and shrinks to one with a
    failure, so a receiver that hangs occupies one thread.
    """

    waiting: deque[Job] = field(default_factory=deque)
    running: int = 0  # threads
    window: int = FIRST_WINDOW
    is_failing: bool = False

    @property
    def room(self) -> int:
        """How many deliveries may be leased now."""
        return max(0, self.window - len(self.waiting) - self.running)

    def wants_thread(self) -> bool:
        """Whether another thread would have something to do."""
        return len(self.waiting) > 0 and self.running < min(WIDTH, self.window)

    def learn(self, answer: ReceiverResponse) -> None:
        """Adapt the window to an answer."""
        self.is_failing = not answer.is_success
        if self.is_failing:
            self.window = 1
        elif answer.milliseconds <= QUICK_MILLISECONDS:
            self.window = min(self.window * 2, LARGEST_WINDOW)
