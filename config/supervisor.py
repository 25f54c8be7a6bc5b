"""Keep `flask webhooks send` running beside a server: `python -m config.supervisor SERVER_PID`.

config/serve.py starts this before it becomes gunicorn. It is a process of its own, so that nothing
that happens to the sender reaches the server. It uses the standard library alone, to stay small.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
SENDER = [sys.executable, "-m", "sender", "flask", "webhooks", "send"]
SERVER_VARIABLE = "MEETINGS_SERVER_PID"  # tells the sender which process to end with
POLL_SECONDS = 0.2
FINISH_SECONDS = 20.0  # for the sender to finish its tries in progress
# The pause before a start grows while the sender keeps ending soon after its start. A server that
# cannot start reports why and ends during the first pause, so no sender reports the same again.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
SOON_SECONDS = 10.0


class Supervisor:
    """Starts the sender, and restarts it whenever it ends, as long as the server runs."""

    def __init__(self, server_pid: int) -> None:
        self.server_pid = server_pid
        self.is_stopping = False
        self.pause_seconds = FIRST_PAUSE_SECONDS

    def stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Ask the sender to finish, then end; a signal handler."""
        self.is_stopping = True

    def is_needed(self) -> bool:
        """Whether the server, this process's parent, still runs and no signal asked to stop."""
        return not self.is_stopping and os.getppid() == self.server_pid

    def run(self) -> None:
        """Keep a sender running."""
        while self.pause():
            began = time.monotonic()
            self.watch(self.start())
            if time.monotonic() - began > SOON_SECONDS:
                self.pause_seconds = FIRST_PAUSE_SECONDS
            else:
                self.pause_seconds = min(self.pause_seconds * 2, LONGEST_PAUSE_SECONDS)

    def start(self) -> subprocess.Popen[bytes]:
        """Start a sender; its threads share two of the allocator's arenas."""
        environment = os.environ | {
            SERVER_VARIABLE: str(self.server_pid),
            "MALLOC_ARENA_MAX": "2",
        }
        return subprocess.Popen(SENDER, cwd=ROOT, env=environment)  # noqa: S603  (all ours)

    def pause(self) -> bool:
        """Wait before a start; returns whether the sender is still needed."""
        until = time.monotonic() + self.pause_seconds
        while self.is_needed() and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
        return self.is_needed()

    def watch(self, sender: subprocess.Popen[bytes]) -> None:
        """Wait until the sender ends; end the sender when the server ends."""
        while sender.poll() is None:
            if not self.is_needed():
                finish(sender)
                return
            time.sleep(POLL_SECONDS)


def finish(sender: subprocess.Popen[bytes]) -> None:
    """Let the sender finish its tries in progress, for at most FINISH_SECONDS."""
    sender.terminate()
    try:
        sender.wait(FINISH_SECONDS)
    except subprocess.TimeoutExpired:
        sender.kill()
        sender.wait()


def main() -> None:
    """Supervise the sender of the server whose process id is the argument."""
    supervisor = Supervisor(int(sys.argv[1]))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, supervisor.stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # only the server reloads
    supervisor.run()


if __name__ == "__main__":
    main()
