"""What may come of an input: it is accepted, or refused in one line, within bounds of time and memory."""

from __future__ import annotations

import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from labelwise.errors import LabelwiseError

SECONDS = 2.0  # of processor time
WAITING = 20.0  # of any time, as of waiting for a file that never comes
MEMORY_MIB = 500
LONGEST_LINE = 4000


class Hang(BaseException):
    """An input took longer than `SECONDS` or `WAITING`."""


class Lost(AssertionError):  # noqa: N818 - the name says it
    """An input was accepted although something of it was lost or makes no sense."""


@dataclass(frozen=True)
class Verdict:
    """What came of one input.

    Args:
        end: "accepted", "refused" or "finding".
        message: the refusal, or what is wrong.
    """

    end: str
    message: str = ""


def judge(call: Callable[[], Any]) -> Verdict:
    """The verdict of one call."""
    before = peak_mib()
    try:
        with _deadline(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    except LabelwiseError as error:
        message = str(error)
        odd = not message.isprintable() or len(message) > LONGEST_LINE or "; expected " not in message
        finding = Verdict("finding", f"a refusal that is no plain line: {message[:300]!r}") if odd else None
        verdict = finding or Verdict("refused", message)
    except Hang:
        return Verdict("finding", f"more than {SECONDS:g} s")
    except Exception as error:
        return Verdict(
            "finding", f"{type(error).__name__}: {str(error)[:200]} at {_place(error.__traceback__)}"
        )
    else:
        verdict = Verdict("accepted")
    grown = peak_mib() - before
    if grown > MEMORY_MIB:
        return Verdict("finding", f"{grown:.0f} MiB more memory")
    return verdict


def peak_mib() -> float:
    """The most memory that this process has held."""
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


@contextmanager
def _deadline() -> Iterator[None]:
    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise Hang

    clocks = ((signal.ITIMER_PROF, signal.SIGPROF, SECONDS), (signal.ITIMER_REAL, signal.SIGALRM, WAITING))
    before = [signal.signal(sign, ring) for _, sign, _ in clocks]
    for clock, _, seconds in clocks:
        signal.setitimer(clock, seconds)
    try:
        yield
    finally:
        for (clock, sign, _), handler in zip(clocks, before, strict=True):
            signal.setitimer(clock, 0)
            signal.signal(sign, handler)


def _place(trace: TracebackType | None) -> str:
    frames = [f for f in traceback.extract_tb(trace) if "fuzz_verdict" not in f.filename]
    ours = [f for f in frames if "labelwise" in f.filename] or frames[-1:]
    return " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(ours[-3:]))
