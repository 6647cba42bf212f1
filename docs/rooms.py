"""Check and draw the imports between the rooms of the package: `python docs/rooms.py` writes `docs/rooms.svg`.

A room is a subpackage or a module at the root of `src/labelwise`. It may import only rooms before it in `LAYERS`, so no
two rooms import each other.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "labelwise"
LAYERS: Mapping[str, tuple[str, ...]] = {
    "ground": (
        *("errors", "lazy", "memory", "cores", "numerics", "progress", "rarity", "distributed"),
        *("rules", "labels", "jsonfile", "taught", "types", "options", "registry"),
    ),
    "parts of a model": ("backbones", "extractors", "blending", "relations", "classifiers", "losses"),
    "data and decisions": ("metrics", "data", "decisions"),
    "methods": ("model", "terms", "composition", "methods"),
    "runs": ("runs", "engines", "evaluation", "export"),
    "training": ("training", "audit", "continual", "anytime", "experiments"),
    "prediction": ("inference", "collection"),
    "programs": ("reports", "serving", "cli"),
}
"""Rooms by layer, each after those that it may import."""
ORDER = tuple(room for rooms in LAYERS.values() for room in rooms)
ENTRIES = ("__init__", "__main__")
"""Modules at the root that may import every room."""
WIDTH, LEFT, ROW, HEIGHT = 860, 150, 92, 30


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the rooms that a module imports, at its top or inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            # `from labelwise import evaluation` names its room last.
            below = node.module == "labelwise"
            rooms = [f"labelwise.{a.name}" for a in node.names if a.name != "__version__"]
            names = rooms if below else [node.module or ""]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("labelwise."))


def room_of(path: Path) -> str:
    """Return the room of a module of the package."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def allowed(room: str) -> set[str]:
    """Return the rooms that a room may import: those before it, and of its layer none if it is a part of a model."""
    before = set(ORDER[: ORDER.index(room)])
    parts = set(LAYERS["parts of a model"])
    return before - parts if room in parts else before


def imports() -> dict[str, set[str]]:
    """Return the rooms that each room imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted(SOURCE.rglob("*.py")):
        room = room_of(path)
        if room not in ENTRIES:
            found[room] |= set(imported(ast.parse(path.read_text(encoding="utf-8")))) - {room}
    return dict(found)


def direct(edges: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return the imports that are not implied by others: `a` imports `c` is left out if `a` imports a `b` above `c`."""
    reached: dict[str, set[str]] = {}
    for room in ORDER:
        reached[room] = set().union(*(reached[low] | {low} for low in edges.get(room, ())), set())
    return {
        room: {low for low in lows if not any(low in reached[other] for other in lows if other != low)}
        for room, lows in edges.items()
    }


def drawing(edges: Mapping[str, set[str]]) -> str:
    """Return the rooms in their layers as SVG, with the imports of `direct` from one layer to another."""
    layers = list(reversed(LAYERS.items()))
    place: dict[str, tuple[float, float]] = {}
    boxes = []
    for row, (layer, rooms) in enumerate(layers):
        y = 20 + row * ROW
        boxes.append(f'<text x="10" y="{y + 20}" font-weight="600">{layer}</text>')
        lines = [rooms] if len(rooms) < 8 else [rooms[7:], rooms[:7]]
        for line, part in enumerate(lines):
            step = (WIDTH - LEFT) / len(part)
            for i, room in enumerate(part):
                x = LEFT + step * (i + 0.5)
                place[room] = (x, y + line * 40)
                boxes.append(
                    f'<rect x="{x - 46:.1f}" y="{y + line * 40}" width="92" height="{HEIGHT}" rx="6" fill="#f3f4f6" '
                    f'stroke="#4b5563"/><text x="{x:.1f}" y="{y + line * 40 + 20}" text-anchor="middle">{room}</text>'
                )
    layer_of = {room: layer for layer, rooms in LAYERS.items() for room in rooms}
    arrows = [
        f'<line x1="{place[room][0]:.1f}" y1="{place[room][1] + HEIGHT}" x2="{place[low][0]:.1f}" '
        f'y2="{place[low][1]}" stroke="#9ca3af" marker-end="url(#tip)"/>'
        for room in ORDER
        for low in sorted(direct(edges).get(room, ()))
        if layer_of[room] != layer_of[low] and low not in LAYERS["ground"]
    ]
    height = 20 + len(layers) * ROW + 20
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
            'font-size="13" role="img" aria-label="Rooms of the package and their imports">',
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path d="M0 0L8 4L0 8z" fill="#9ca3af"/></marker></defs>',
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            *arrows,
            *boxes,
            "</svg>\n",
        ]
    )


def main() -> None:
    """Print imports that are not allowed and end with 1, or write the drawing."""
    edges = imports()
    wrong = [
        f"{room} imports {sorted(lows - allowed(room))}"
        for room, lows in sorted(edges.items())
        if lows - allowed(room)
    ]
    if wrong:
        sys.exit("\n".join(wrong))
    (ROOT / "docs" / "rooms.svg").write_text(drawing(edges), encoding="utf-8")
    print(f"{len(edges)} rooms, {sum(map(len, edges.values()))} imports between them, none upward")


if __name__ == "__main__":
    main()
