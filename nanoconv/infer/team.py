"""How many threads compute an image together: fewer while somebody else has some of the cores.

A core that another thread uses, too, gives each of them a few milliseconds in turn. All threads
meet at the end of each step, so all wait for the one that is not running, and two threads may take
longer than one alone. A team hears of runs how long they took and which part of that was lost:

    average ← average + (seconds − average)/8
    lost    ← lost + (lost·T − lost)/8       lost·T = 1: as much as one of T threads saves

One run that lost much is some short work of the system, which is over. An average near 1 may be a
core that is taken: then a few runs try it with one thread less, and if they took less time, it
stays so. From then on, from time to time, a few runs try it with one more.
"""

from __future__ import annotations

from threading import Lock

TAKEN = 0.8  # a little less than 1, since T threads are not T times as fast
PAUSE, TRIAL = 0.25, 0.02  # seconds from one trial to the next, and of one
BETTER = 0.97  # times as long: less than that is noise
LITTLE = 0.2  # of a run's time: to wake a thread takes that of a short one


class Team:
    """The threads of one program."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.absent = 0  # threads that runs go without
        self.lost = 0.0  # averages of late
        self.average = 0.0
        self.until = 0.0  # by the clock of `now`: no trial before that
        self.trial: list[float] | None = None  # seconds of the runs of this one
        self.step = 0  # how many threads more they have
        self.size = 0  # of the runs that begin now
        self.ignores = LITTLE  # of a run that lost no more than this it need not hear

    def threads(self, wanted: int) -> int:
        """So many of the `wanted` threads shall run, for which a plan has memory; never more."""
        if self.absent >= wanted:  # there were more before
            self.absent = max(0, wanted - 1)
        step = 0 if self.trial is None else self.step
        self.size = min(max(1, wanted - self.absent + step), wanted)
        return self.size

    def learn(self, threads: int, seconds: float, lost: float, now: float) -> None:
        """So many threads took so long, and lost this part of it: 1 is one thread's whole time."""
        with self.lock:  # calls may come from several threads at once,
            if threads == self.size:  # and have begun before the size was changed
                self.heard(threads, seconds, lost, now)

    def heard(self, threads: int, seconds: float, lost: float, now: float) -> None:
        if self.trial is not None:
            self.trial.append(seconds)
            if sum(self.trial) >= TRIAL:
                better = sum(self.trial) / len(self.trial) < BETTER * self.average
                self.have_absent(self.absent - self.step if better else self.absent, now)
            return
        self.average += (seconds - self.average) / 8 if self.average else seconds
        self.lost += (lost * threads - self.lost) / 8
        if now >= self.until:
            self.step = -1 if self.lost > TAKEN and threads > 1 else int(self.absent > 0)
            self.trial = [] if self.step else None
        calm = self.absent == 0 and self.trial is None and self.lost < LITTLE / 2
        self.ignores = LITTLE if calm else -1.0

    def have_absent(self, threads: int, now: float) -> None:
        """Go without so many from now on."""
        self.absent, self.trial, self.until = max(0, threads), None, now + PAUSE
        self.lost = self.average = 0.0
        self.ignores = -1.0
