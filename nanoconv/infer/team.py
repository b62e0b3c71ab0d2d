"""How many threads compute an image together: fewer while other processes have some of the cores.

A core that another process uses, too, gives each of them a few milliseconds in turn. All threads
meet at the end of each step, so all wait for the one that is not running, and two threads take
longer than one alone. A team hears of each run which part of its time was lost like that.

    average ← average + (lost·T − average)/4      lost·T = 1: as much as one of T threads saves

One run that lost much is some short work of the system, which is over; an average that stays near
1 is a core that is taken.
"""

from __future__ import annotations

TAKEN = 0.8  # a little less than 1, since T threads are not T times as fast
PAUSE = 15  # runs without a thread before it is tried again


class Team:
    """The threads of one program."""

    def __init__(self) -> None:
        self.absent = 0  # threads that runs go without
        self.left = 0  # runs until one more is tried
        self.average = 0.0

    def threads(self, wanted: int) -> int:
        """So many of the `wanted` threads shall run: one more than before, if that is tried."""
        return max(1, wanted - self.absent + self.trial)

    @property
    def trial(self) -> bool:
        """Whether the next run tries a thread that the last ones went without."""
        return self.absent > 0 and self.left == 0

    def learn(self, threads: int, lost: float) -> None:
        """So many threads have run and lost this part of the time, of which 1 is one thread's."""
        loss = lost * threads
        if self.trial:
            if loss < TAKEN:
                self.absent -= 1
                self.average = 0.0
            self.left = PAUSE
            return
        self.average += (loss - self.average) / 4
        self.left -= self.left > 0
        if self.average > TAKEN and threads > 1:
            self.absent += 1
            self.average = 0.0
            self.left = PAUSE
