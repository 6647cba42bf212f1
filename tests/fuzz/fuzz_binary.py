"""The readers of images, arrays, corrections and exports, to be fuzzed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import torch
from fuzz_target import Target, demand, from_file, sound
from PIL import Image
from safetensors.torch import save as to_safetensors

import official_layouts as layouts
from labelwise.data import complete, read
from labelwise.data.cellfile import read_cells, save_cells
from labelwise.data.decode import decode_image, image_size
from labelwise.data.review import read_items, read_journal
from labelwise.data.source import parse
from labelwise.data.vectors import read_vectors
from labelwise.decisions import Decisions
from labelwise.evaluation.scores import StoredScores
from labelwise.export.artefact import ARTEFACT, CHECKSUMS, Artefact, Preprocessing, sha256
from labelwise.runs.plain_yaml import read_yaml
from labelwise.types import LabelSet


def images(_base: Path) -> list[Target]:
    """Image files of every kind that is read."""
    grey = Image.fromarray((np.indices((9, 13)).sum(0) * 3000).astype(np.uint16))
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[274] = 6
    seeds = []
    for kind, picture, options in (
        ("JPEG", colour, {"exif": exif}),
        ("JPEG", colour.convert("CMYK"), {}),
        ("JPEG", colour, {"progressive": True}),
        ("PNG", colour.convert("RGBA"), {}),
        ("PNG", grey, {}),
        ("PNG", colour.quantize(7), {"transparency": 2}),
        ("GIF", colour.quantize(5), {"save_all": True, "append_images": [colour.quantize(3)]}),
        ("BMP", colour, {}),
        ("TIFF", colour, {"compression": "tiff_lzw", "exif": exif}),
        ("TIFF", grey, {}),
        ("WEBP", colour, {}),
        ("WEBP", colour, {"save_all": True, "append_images": [colour.rotate(90)]}),
        ("PPM", colour, {}),
        ("JPEG2000", colour, {}),
        ("AVIF", colour, {}),
    ):
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        seeds.append(buffer.getvalue())

    def decode(data: bytes) -> None:
        found = decode_image(data, max_pixels=1_000_000)
        demand(
            found.dtype == torch.uint8 and found.shape[0] == 3 and found.numel() <= 3_000_000,
            str(found.shape),
        )

    def header(data: bytes) -> None:
        demand(min(image_size(data, max_pixels=1_000_000)) > 0, "a size of 0")
        decode_image(data, max_pixels=1_000_000, shrink_to=8)

    return [Target("image", seeds, decode), Target("image-size", seeds, header)]


def arrays(base: Path) -> list[Target]:
    """Masks and stored scores, weights, word vectors."""
    data = read(f"csv:{_plain_table(base)}")
    save_cells(base / "mask.npz", "known", np.ones((3, 2), bool), data)
    np.savez(
        base / "scores.npz",
        ids=np.arange(3),
        logits=np.zeros((3, 2), np.float32),
        values=np.zeros((3, 2)),
        known=np.ones((3, 2), bool),
    )
    words = b"the 0.1 0.2 0.3\ncat 1 2 3\ndog -1 .5 1e-3\n. . 1 2 3\n"
    plain = {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros(0)}
    npz = io.BytesIO()
    np.savez(
        npz,
        **{
            "known": np.ones((3, 2), bool),
            "ids": np.array(["0.jpg", "1.jpg", "2.jpg"]),
            "labels": np.array(["cat", "dog"]),
        },
    )
    from labelwise.backbones import weights

    state = {name: torch.from_numpy(array) for name, array in plain.items()}
    torch.save(state, base / "seed.pth")
    return [
        Target(
            "mask",
            [(base / "mask.npz").read_bytes(), npz.getvalue()],
            from_file(base / "m.npz", lambda f: read_cells(f, "known", data)),
        ),
        Target("scores", [(base / "scores.npz").read_bytes()], from_file(base / "s.npz", StoredScores.read)),
        Target("weights-pth", [(base / "seed.pth").read_bytes()], from_file(base / "w.pth", weights._read)),
        Target(
            "weights-safetensors", [to_safetensors(state)], from_file(base / "w.safetensors", weights._read)
        ),
        Target(
            "vectors",
            [words, b"2 3\n" + words],
            from_file(base / "v.txt", lambda f: read_vectors(str(f), ["cat", "dog"])),
        ),
    ]


def _plain_table(base: Path) -> Path:
    layouts.pictures(base, [f"{i}.jpg" for i in range(3)])
    (base / "plain.csv").write_text("image,cat,dog\n0.jpg,1,0\n1.jpg,0,1\n2.jpg,1,\n")
    return base / "plain.csv"


def corrections(base: Path) -> list[Target]:
    """Tables and journals of corrected labels."""
    columns = "rank,image,label,current,proposed,kind,score,probability,reason"
    audit = (
        f'{columns}\n1,0.jpg,cat,1,0,wrong,0.9,0.1,because\n2,1.jpg,dog,,1,missing,0.8,0.7,"a, b"\n'.encode()
    )
    journal = (
        b'{"image":"0.jpg","label":"cat","choice":"change"}\n{"image":"1.jpg","label":"dog","choice":null}\n'
    )
    data = read(f"csv:{_plain_table(base)}")

    def corrected(file: Path) -> None:
        sound(complete.apply_corrections(data, complete.read_corrections(file))[0])

    return [
        Target("audit-complete", [audit], from_file(base / "c.csv", corrected)),
        Target("audit-review", [audit], from_file(base / "r.csv", read_items)),
        Target("journal", [journal], from_file(base / "j.jsonl", read_journal)),
    ]


def artefacts(base: Path) -> list[Target]:
    """What an export says of itself; its checksums are those of an attacker who makes them fit."""
    folder = base / "artefact"
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(b"graph")
    labels = LabelSet(("cat", "dog"))
    one = Artefact(
        folder,
        "onnx",
        "model.onnx",
        labels,
        Preprocessing((8, 8), "squash", (0.5,) * 3, (0.5,) * 3),
        Decisions.plain(labels),
        True,
    )
    one.save()
    valid, sums = (folder / ARTEFACT).read_bytes(), (folder / CHECKSUMS).read_bytes()

    def fitting(data: bytes) -> None:
        (folder / ARTEFACT).write_bytes(data)
        (folder / CHECKSUMS).write_text(
            json.dumps({name: sha256(folder / name) for name in (ARTEFACT, "model.onnx")})
        )
        found = Artefact.open(folder)
        found.preprocessing.transform()
        inside = (folder / found.file).resolve().is_relative_to(folder.resolve())
        demand(inside, f"a graph outside the folder: {found.file}")

    def summed(data: bytes) -> None:
        (folder / ARTEFACT).write_bytes(valid)
        (folder / CHECKSUMS).write_bytes(data)
        Artefact.open(folder)

    settings = b"method: dlfl\nseed: 3\noptim: {lr: 1e-3}\ndata:\n  source: 'csv:a.csv'\n  list: [1, 2, 3]\n"
    return [
        Target("artefact", [valid], fitting),
        Target("checksums", [sums], summed),
        Target("yaml", [settings], from_file(base / "c.yaml", lambda f: repr(read_yaml(f)))),
        Target(
            "source",
            [b"csv:labels.csv?images=a&separator=%3B", b"voc:D?difficult=ignore"],
            lambda d: str(parse(d.decode("latin-1"))),
        ),
    ]
