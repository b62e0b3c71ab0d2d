"""How many threads compute an image together: fewer while other processes have some of the cores.

A core that another process uses, too, gives each of them a few milliseconds in turn. All threads
meet at the end of each step, so all wait for the one that is not running, and two threads take
longer than one alone. A team hears of each run which part of its time was lost like that.
"""

from __future__ import annotations

MOST_PATIENCE = 15  # runs without a thread before it is tried again


class Team:
    """The threads of one program.

    Two runs, one after the other, that each lost more than a thread brings say that a core is
    taken: the next ones go without a thread, for twice as many runs each time that it was tried
    again in vain. A single such run is some short work of the system, which is over.
    """

    def __init__(self) -> None:
        self.absent = 0  # threads that runs go without
        self.left = 0  # runs until one more is tried
        self.patience = 0  # how many that was the last time

    def threads(self, wanted: int) -> int:
        """So many of the `wanted` threads shall run."""
        return max(1, wanted - self.absent)

    def learn(self, threads: int, lost: float) -> None:
        """So many threads have run and lost this part of the time, of which 1 is one thread's."""
        if threads > 1 and lost * threads > 1:
            self.patience = min(2 * self.patience + 1, MOST_PATIENCE)
            if self.patience > 1:
                self.absent += 1
                self.left = self.patience
        elif self.absent == 0:
            self.patience //= 2
        else:
            self.left -= 1
            if self.left <= 0:
                self.absent -= 1
                self.left = self.patience
