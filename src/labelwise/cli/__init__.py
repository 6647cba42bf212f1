"""The command line: one file per command. Heavy imports run only inside a command."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import labelwise
from labelwise.cli import (
    audit,
    backbones,
    cache,
    compare,
    complete,
    continual,
    convert,
    data,
    demo,
    embed,
    evaluate,
    export,
    familiarity,
    groups,
    methods,
    predict,
    report,
    search,
    serve,
    sweep,
    teach,
    train,
    tune,
)
from labelwise.errors import LabelwiseError, Stopped
from labelwise.memory import keep_freed_memory
from labelwise.progress import show_bars

RESUMABLE = 75
"""Exit code of resumable work that a signal stopped; EX_TEMPFAIL of sysexits.h."""


class _FullSummaries(TyperGroup):
    """A group whose help shows the whole first sentence of each command; the default cuts it at the line's end."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is not None and command.help and not command.short_help:
            command.short_help = (
                command.help.partition("\n\n")[0].split(". ")[0].replace("\n", " ").rstrip(".")
            )
        return command


app = typer.Typer(
    cls=_FullSummaries,
    help="Recognise many labels in one image: train, evaluate, explain, use.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(requested: bool) -> bool:
    if requested:
        print(f"labelwise {labelwise.__version__}")
        raise typer.Exit
    return requested


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    pass


for _command in (
    *(demo.demo, train.train, evaluate.evaluate, tune.tune, familiarity.familiarity, predict.predict),
    *(embed.embed, search.search, groups.groups, teach.teach, compare.compare_runs, export.export),
    *(serve.serve, report.report, audit.audit, sweep.sweep, continual.continual, methods.methods),
):
    app.command(_command.__name__.removesuffix("_runs"))(_command)  # `compare_runs` is the command `compare`
data.app.command()(complete.complete)
data.app.command()(convert.convert)
app.add_typer(data.app, name="data", cls=_FullSummaries)
app.add_typer(backbones.app, name="backbones")
app.add_typer(cache.app, name="cache")


def _program_of(command: Sequence[str]) -> typer.Typer:
    """The program with the called command alone, as building all of them takes a tenth of a short command's time."""
    program = copy(app)
    matching = [entry for entry in app.registered_commands if command == [entry.name]]
    if matching:
        program.registered_commands, program.registered_groups = matching, []
    return program


@contextmanager
def _stopped_by_sigterm(arguments: Sequence[str]) -> Iterator[None]:
    """Raise `Stopped` on SIGTERM in a resumable command, outside the steps that save their state."""
    if not set(arguments) & {"train", "continual", "sweep"}:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped("stopped by SIGTERM")

    previous_handler = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous_handler)


def main() -> None:
    """Run the program; exit code 0 on success, 2 for an error of the caller, 75 for resumable work."""
    # Read when torch loads: spinning threads cost several times as much on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if sys.argv[1:2] not in (["data"], ["train"]):  # these read their tables once and return the memory
        keep_freed_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Print a file name that is not UTF-8 with escapes, as JSON does.
        sys.stdout.reconfigure(errors="backslashreplace")
    show_bars()
    try:
        with _stopped_by_sigterm(sys.argv[1:2]):
            _program_of(sys.argv[1:2])()
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
        path = f"{error.filename}: " if error.filename else ""
        remedy = "check the path, its permissions and the free space"
        print(
            f"labelwise: {path}{error.strerror}; expected to read and write there; {remedy}", file=sys.stderr
        )
        sys.exit(2)
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        builds = "expected builds for the same device, CPU or CUDA; install both with one command, see docs/start.md"
        print(f"labelwise: a torchvision that this torch cannot load; {builds}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("labelwise: stopped; resume with --resume", file=sys.stderr)
        sys.exit(130)
