"""The one kind of error a user of fermoe can cause, and can mend."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any


class UserError(Exception):
    """Something the user gave cannot be used: says what, where, and what to do.

    The command line prints the message on one line and exits with code 2; nothing that was already
    written is touched.
    """

    def __init__(self, what: str, *, where: str | Path | None = None, fix: str) -> None:
        self.what, self.where, self.fix = what, where, fix
        place = f" [{where}]" if where is not None else ""
        super().__init__(" ".join(f"{what}{place}: {fix}".split()))

    def __reduce__(self) -> tuple[Any, ...]:
        """Keyword arguments are not pickled by themselves; a worker process sends its error to its parent."""
        return partial(type(self), where=self.where, fix=self.fix), (self.what,)
