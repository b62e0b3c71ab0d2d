"""How many threads compute an image together: fewer while other processes have some of the cores.

A core that another process uses, too, gives each of them a few milliseconds in turn. All threads
meet at the end of each step, so all wait for the one that is not running, and two threads may take
longer than one alone. A team hears of each run how long it took and which part of that was lost:

    average ← average + (seconds − average)/8
    lost    ← lost + (lost·T − lost)/8       lost·T = 1: as much as one of T threads saves

One run that lost much is some short work of the system, which is over. An average near 1 may be a
core that is taken: then a few runs try it with one thread less, and if they took less time, it
stays so. From then on, from time to time, a few runs try it with one more.
"""

from __future__ import annotations

TAKEN = 0.8  # a little less than 1, since T threads are not T times as fast
PAUSE, TRIAL = 0.25, 0.02  # seconds from one trial to the next, and of one
BETTER = 0.97  # times as long: less than that is noise


class Team:
    """The threads of one program."""

    def __init__(self) -> None:
        self.absent = 0  # threads that runs go without
        self.lost = 0.0  # averages of late
        self.average = 0.0
        self.until = 0.0  # by the clock of `now`: no trial before that
        self.trial: list[float] | None = None  # seconds of the runs of this one
        self.step = 0  # how many threads more they have
        self.listens = False  # whether it is to hear of a run that lost little, too

    def threads(self, wanted: int) -> int:
        """So many of the `wanted` threads shall run, for which a plan has memory; never more."""
        step = 0 if self.trial is None else self.step
        return min(max(1, wanted - self.absent + step), wanted)

    def learn(self, threads: int, seconds: float, lost: float, now: float) -> None:
        """So many threads took so long, and lost this part of it: 1 is one thread's whole time."""
        trial = self.trial  # of several calls at once, another one may end it meanwhile
        if trial is not None:
            trial.append(seconds)
            if sum(trial) >= TRIAL:
                better = sum(trial) / len(trial) < BETTER * self.average
                self.have_absent(max(0, self.absent - better * self.step), now)
            return
        self.average += (seconds - self.average) / 8 if self.average else seconds
        self.lost += (lost * threads - self.lost) / 8
        if now >= self.until:
            self.step = -1 if self.lost > TAKEN and threads > 1 else int(self.absent > 0)
            self.trial = [] if self.step else None
        self.listens = self.absent > 0 or self.trial is not None or self.lost > 0.1

    def have_absent(self, threads: int, now: float) -> None:
        """Go without so many from now on."""
        self.absent, self.trial, self.until = threads, None, now + PAUSE
        self.lost = self.average = 0.0
        self.listens = threads > 0
