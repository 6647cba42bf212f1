"""The program: one file a command. Heavy imports wait until a command runs."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import typer

from labelwise.cli import (
    audit,
    continual,
    convert,
    data,
    demo,
    evaluate,
    export,
    methods,
    predict,
    report,
    serve,
    sweep,
    train,
    tune,
)
from labelwise.errors import LabelwiseError, Stopped
from labelwise.memory import keep_freed_memory

RESUMABLE = 75
"""Exit code of work that a signal stopped and that can be gone on with; the system's EX_TEMPFAIL."""

app = typer.Typer(
    help="Recognise many labels in one image: train, judge, explain, use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo")(demo.demo)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("tune")(tune.tune)
app.command("predict")(predict.predict)
app.command("export")(export.export)
app.command("serve")(serve.serve)
app.command("report")(report.report)
app.command("audit")(audit.audit)
app.command("sweep")(sweep.sweep)
app.command("continual")(continual.continual)
app.command("methods")(methods.methods)
data.app.command("convert")(convert.convert)
app.add_typer(data.app, name="data")


@contextmanager
def _ending_resumably(words: Sequence[str]) -> Iterator[None]:
    """SIGTERM in a command that goes on where it stopped, while it does nothing that is to be saved."""
    if not set(words) & {"train", "continual", "sweep"}:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped("stopped by SIGTERM")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main() -> None:
    """Run the program: exit code 0 when all went well, 2 for something that the caller can mend, 75 to go on later."""
    # Read when torch loads. Threads that spin while they wait cost several times over on a machine with other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if sys.argv[1:2] not in (["data"], ["train"]):  # their tables are read once: freed memory goes back
        keep_freed_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name that is no UTF-8 is printed with escapes, which are also what JSON writes for it.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _ending_resumably(sys.argv[1:2]):
            app()
    except LabelwiseError as error:
        print(f"labelwise: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stopped:
        if os.environ.get("RANK", "0") == "0":
            print(f"labelwise: {stopped}", file=sys.stderr)
        sys.exit(RESUMABLE)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno is None:
            raise
        place = f"{error.filename}: " if error.filename else ""
        todo = "check the path, its permissions and the free space"
        print(
            f"labelwise: {place}{error.strerror}; expected to read and write there; {todo}", file=sys.stderr
        )
        sys.exit(2)
    except KeyboardInterrupt:
        print("labelwise: stopped; go on with --resume", file=sys.stderr)
        sys.exit(130)
