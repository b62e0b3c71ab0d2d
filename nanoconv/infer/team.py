"""How many threads compute an image together: fewer while other processes have some of the cores.

A core that another process uses, too, gives each of them a few milliseconds in turn. All threads
meet at the end of each step, so all wait for the one that is not running, and two threads may take
longer than one alone. A team hears of each run how long it took and which part of that was lost:

    lost ← lost + (lost·T − lost)/8          lost·T = 1: as much as one of T threads saves

One run that lost much is some short work of the system, which is over; an average near 1 is a core
that is taken, and the team goes without a thread. From time to time a few runs try it with one
more, and if they took less time on average, it stays.
"""

from __future__ import annotations

TAKEN = 0.8  # a little less than 1, since T threads are not T times as fast
PAUSE, TRIAL = 0.25, 0.02  # seconds until a thread is tried again, and of such a trial
BETTER = 0.97  # times as long: less than that is noise


class Team:
    """The threads of one program."""

    def __init__(self) -> None:
        self.absent = 0  # threads that runs go without
        self.lost = 0.0  # of late, on average
        self.average = 0.0  # seconds of a run while a thread is absent
        self.pause = 0.0  # seconds until it is tried again
        self.trial: list[float] | None = None  # seconds of the runs that try it now
        self.listens = False  # whether it is to hear of a run that lost little, too

    def threads(self, wanted: int) -> int:
        """So many of the `wanted` threads shall run."""
        return max(1, wanted - self.absent + (self.trial is not None))

    def learn(self, threads: int, seconds: float, lost: float) -> None:
        """So many threads took so long, and lost this part of it: 1 is one thread's whole time."""
        if self.trial is not None:
            self.trial.append(seconds)
            if sum(self.trial) >= TRIAL:
                better = sum(self.trial) / len(self.trial) < BETTER * self.average
                self.have_absent(self.absent - better)
            return
        self.average += (seconds - self.average) / 8 if self.average else seconds
        self.pause -= seconds
        self.lost += (lost * threads - self.lost) / 8
        if self.lost > TAKEN and threads > 1:
            self.have_absent(self.absent + 1)
        elif self.absent and self.pause <= 0:
            self.trial = []
        self.listens = self.absent > 0 or self.lost > 0.1

    def have_absent(self, threads: int) -> None:
        """Go without so many from now on."""
        self.absent, self.trial, self.pause = threads, None, PAUSE
        self.lost = self.average = 0.0
        self.listens = threads > 0
