"""The one kind of error a user of fermoe can cause, and can mend."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

LONGEST = 400  # characters of what is said; what users give may be longer than anybody wants to read


def shortened(value: Any, longest: int = 60) -> str:
    """A value as a message shows it: on one line, printable, the middle left out where it is long."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # a number of more digits than Python prints
        text = type(value).__name__
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(text.split()))
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"


class UserError(Exception):
    """Something the user gave cannot be used: says what, where, and what to do.

    The command line prints the message on one line and exits with code 2; nothing that was already
    written is touched.
    """

    def __init__(self, what: str, *, where: str | Path | None = None, fix: str) -> None:
        self.what, self.where, self.fix = what, where, fix
        place = f" [{shortened(str(where), LONGEST)}]" if where is not None else ""
        super().__init__(f"{shortened(what, LONGEST)}{place}: {shortened(fix, 2 * LONGEST)}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Keyword arguments are not pickled by themselves; a worker process sends its error to its parent."""
        return partial(type(self), where=self.where, fix=self.fix), (self.what,)
