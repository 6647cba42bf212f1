"""Predictions of files, printed or written."""

from __future__ import annotations

import json as js
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from labelwise.decisions.decisions import never_selected_note
from labelwise.inference.output import stems, write_maps
from labelwise.inference.predictor import Predictor
from labelwise.inference.writers import Writer


def note(text: str) -> None:
    """Prints a note on standard error."""
    print(f"note: {text}", file=sys.stderr)


def predict_files(
    predictor: Predictor,
    files: Sequence[str],
    writer: Writer | None,
    *,
    json: bool,
    maps: Path | None,
    workers: int,
    batch_size: int,
    bits: int | None,
) -> int:
    """Predicts images to the terminal, a file or pictures; returns the number of unreadable ones.

    Args:
        predictor: the model.
        files: the images, from `find_images`.
        writer: of a file; `None` prints a line per image, unless `json`.
        json: print one JSON line per image.
        maps: folder of the evidence pictures of selected labels; `None` writes none.
        workers: decoding threads.
        batch_size: images per batch.
        bits: bits used by 16-bit grey images; `None` for those of the model.
    """
    names = stems(files) if maps else {}
    predictor = predictor if bits is None else predictor.with_bits(bits)
    if never := never_selected_note(predictor.never_selected):
        note(never)
    predictor.prepare(len(files), note)
    image_notes: list[str] = []
    failed = 0
    with writer or nullcontext():
        for p in predictor.predict(files, maps=maps is not None, batch_size=batch_size, workers=workers):
            failed += p.error is not None
            image_notes += [p.note] * bool(p.note)
            if writer:
                writer.add(p)
            if json:
                print(js.dumps(p.to_json(), ensure_ascii=False))
            elif p.error is not None:
                print(f"{p.image}: {p.error}", file=sys.stderr)
            elif not writer:
                warning = (
                    f"  [unfamiliar: has seen nothing like it, p {p.familiar:.3f}]" if p.unfamiliar else ""
                )
                print(f"{p.image}: {p.summary() or '(nothing over its threshold)'}{warning}")
            if maps and p.error is None:
                write_maps(p, maps, names[p.image], predictor.transform.config.bits)
    if image_notes:
        others = len(image_notes) - 1
        note(image_notes[0] + (f" So are {others:,} more." if others else ""))
    return failed


def print_rate(images: int, started: float, failed: int, out: object = None) -> None:
    """Prints the number of images, their rate and where they were written, on standard error.

    Args:
        images: number of images.
        started: time of `time.perf_counter` at the start.
        failed: number of unreadable ones.
        out: the file or folder, if any.
    """
    seconds = time.perf_counter() - started
    rate, target = f"{images / seconds:.1f} images/s", f" -> {out}" if out else ""
    print(f"{images:,} images in {seconds:.1f} s, {rate}, {failed} unreadable{target}", file=sys.stderr)
