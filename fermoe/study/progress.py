"""How far a study is: a bar with the time left on a terminal, a plain line for each run elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from types import TracebackType

import click
from tqdm import tqdm


class Progress:
    """Of `total` runs, those that are done; `quiet` says nothing at all."""

    def __init__(self, total: int, title: str = "", quiet: bool = False):
        self.total, self.done, self.made, self.quiet = total, 0, 0, quiet
        self.started = time.monotonic()
        self.drawn = not quiet and sys.stderr.isatty()
        self.bar = tqdm(total=total, desc=title, unit="run", dynamic_ncols=True, disable=not self.drawn)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bar.close()

    def found(self, runs: int) -> None:
        """So many runs were done before."""
        self.done += runs
        self.bar.update(runs)

    def ended(self, line: str) -> None:
        """One more run has ended, and this is said of it."""
        self.done, self.made = self.done + 1, self.made + 1
        self.say(f"  {line}" if self.drawn else f"  {line} [{self.left()}]")
        self.bar.update()

    def left(self) -> str:
        """How many runs are done and, from the time that those made now took, how long the others will take."""
        runs = f"{self.done} of {self.total}"
        if self.done >= self.total or not self.made:
            return runs
        minutes = (time.monotonic() - self.started) / self.made * (self.total - self.done) / 60
        return f"{runs}, about {max(1, round(minutes))} min left"

    def position(self, text: str) -> None:
        """What is being done now: on the bar only, a log file needs no position."""
        self.bar.set_postfix_str(text, refresh=self.drawn)

    def say(self, line: object) -> None:
        """A line above the bar."""
        if self.drawn:
            tqdm.write(str(line))
        elif not self.quiet:
            click.echo(str(line))
