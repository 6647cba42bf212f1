"""The program labelwise-runtime."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import labelwise_runtime
from labelwise_runtime.errors import LabelwiseError
from labelwise_runtime.export.devices import DEVICES
from labelwise_runtime.inference.output import find_images
from labelwise_runtime.inference.screen import note, predict_files, print_rate
from labelwise_runtime.inference.writers import TEXT_WRITERS


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the program; exit code 0 on success, 1 where an image could not be read, 2 for an error of the caller."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # as `labelwise` prints odd names
    given = _parser().parse_args(arguments)
    try:
        sys.exit(given.run(given))
    except LabelwiseError as error:
        print(f"labelwise-runtime: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno is None:
            raise
        path = f"{error.filename}: " if error.filename else ""
        print(f"labelwise-runtime: {path}{error.strerror}; expected to read and write there", file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="labelwise-runtime", description="Predict with an exported model.")
    parser.add_argument(
        "--version", action="version", version=f"labelwise-runtime {labelwise_runtime.__version__}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    predict = commands.add_parser("predict", help="labels of images, as `labelwise predict` gives them")
    serve = commands.add_parser("serve", help="predictions over HTTP, as `labelwise serve` gives them")
    for command, run in ((predict, _predict), (serve, _serve)):
        command.set_defaults(run=run)
        command.add_argument(
            "export", metavar="FOLDER", type=Path, help="an export of format onnx or openvino"
        )
        command.add_argument("--device", choices=DEVICES, help="what computes  [cpu]")
    predict.add_argument("paths", metavar="PATH", nargs="+", help="files, folders, globs, or @LIST of paths")
    predict.add_argument("--json", action="store_true", help="one JSON line per image")
    predict.add_argument("--out", metavar="FILE", type=Path, help=f"write FILE in {', '.join(TEXT_WRITERS)}")
    predict.add_argument(
        "--maps", metavar="DIR", type=Path, help="write evidence pictures of selected labels"
    )
    predict.add_argument(
        "--batch-size", metavar="N", type=_positive, default=32, help="images per batch  [32]"
    )
    predict.add_argument("--workers", metavar="N", type=_natural, default=1, help="decoding threads  [1]")
    predict.add_argument(
        "--bits", metavar="N", type=int, choices=range(8, 17), help="bits of 16-bit grey images"
    )
    serve.add_argument("--host", default="127.0.0.1", help="address; 0.0.0.0 for all  [127.0.0.1]")
    serve.add_argument("--port", type=int, default=8000, help="0 takes a free port  [8000]")
    serve.add_argument("--token", default=os.environ.get("LABELWISE_TOKEN"), help="require this bearer token")
    return parser


def _predict(given: argparse.Namespace) -> int:
    if given.out is not None and given.out.suffix.lower() not in TEXT_WRITERS:
        raise LabelwiseError(
            f"--out {given.out}", f"a file in {', '.join(TEXT_WRITERS)}", "change the suffix"
        )
    notes: list[str] = []
    files = find_images(given.paths, notes)
    for text in notes:
        note(text)
    started = time.perf_counter()
    predictor = labelwise_runtime.load(given.export, given.device)
    kind = TEXT_WRITERS[given.out.suffix.lower()] if given.out else None
    failed = predict_files(
        predictor,
        files,
        kind(given.out, predictor.labels.names) if kind else None,
        json=given.json,
        maps=given.maps,
        workers=given.workers,
        batch_size=given.batch_size,
        bits=given.bits,
    )
    print_rate(len(files), started, failed, given.out)
    return 1 if failed else 0


def _serve(given: argparse.Namespace) -> int:
    try:
        from labelwise_runtime.serving.app import create_app
        from labelwise_runtime.serving.listen import listen
    except ModuleNotFoundError as error:
        raise LabelwiseError(
            f"no package {error.name}", "what serving needs", "run: pip install 'labelwise-runtime[serve]'"
        ) from None
    from labelwise_runtime.memory import share_freed_memory
    from labelwise_runtime.serving.limits import Limits

    share_freed_memory()
    title, limits = given.export.resolve().name, Limits()
    predictor = labelwise_runtime.load(given.export, given.device)
    predictor.prepare(sys.maxsize, note)
    app = create_app(predictor, limits, title=title, token=given.token)
    listen(app, given.host, given.port, title, guarded=given.token is not None, limits=limits)
    return 0


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number}, which is not 1 or more")
    return number


def _natural(text: str) -> int:
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"{number}, which is not 0 or more")
    return number
