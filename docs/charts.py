"""Draw the charts of these pages from the tables in results/: `python docs/charts.py`."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COLOURS = ("#b45309", "#1d4ed8", "#15803d", "#be185d", "#6d28d9", "#0e7490", "#4b5563", "#111827", "#65a30d")
TOP = 34
Rows = list[dict[str, str]]
Points = Sequence[tuple[float, float]]
Marks = Iterable[tuple[float, str]]


def text(x: float, y: float, content: str, form: str) -> str:
    """Return a text element at a position."""
    return f'<text x="{x:.1f}" y="{y:.1f}" {form}>{content}</text>'


def panel(
    title: str, left: float, size: tuple[int, int], across: Marks, up: Marks, lines: Iterable[Points]
) -> list[str]:
    """Return a plot with title, axis marks and lines; positions are fractions of its width and height."""
    width, height = size
    parts = [text(left, TOP - 10, title, 'font-weight="600"')]
    for share, mark in up:
        y = TOP + height * (1 - share)
        parts.append(f'<line x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts += [text(left - 6, y + 4, mark, 'text-anchor="end"')] if mark else []
    for share, mark in across:
        parts.append(text(left + width * share, TOP + height + 16, mark, 'text-anchor="middle"'))
    for i, points in enumerate(lines):
        path = " ".join(f"{left + width * x:.1f},{TOP + height * (1 - y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[i]}" stroke-width="2"/>')
    return parts


def picture(parts: list[str], width: int, height: int, label: str) -> str:
    """Return the SVG file of the parts."""
    style = f'font-family="sans-serif" font-size="12" role="img" aria-label="{label}"'
    size = f'width="{width}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n' + "\n".join(parts) + "\n</svg>\n"


def growth(rows: Rows) -> str:
    """Plot processor seconds, 1e-4 to 10, in log-log panels: a line per task, with its slope."""
    panels: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        name = f"{row['work']}, {float(row['slope']):.2f}"
        point = math.log10(float(row["n"])), math.log10(float(row["cpu_seconds"]))
        panels[row["against"]][name].append(point)
    parts, left, (width, height) = [], 50, (260, 220)
    for against, lines in panels.items():
        powers = [x for points in lines.values() for x, _ in points]
        low, high = math.floor(min(powers)), math.ceil(max(powers))
        shares = [[((x - low) / (high - low), (y + 4) / 5) for x, y in points] for points in lines.values()]
        across = [((power - low) / (high - low), f"1e{power}") for power in range(low, high + 1)]
        up = [((power + 4) / 5, f"1e{power}") for power in range(-4, 2)]
        parts += panel(f"seconds against {against}", left, (width, height), across, up, shares)
        for i, name in enumerate(lines):
            parts.append(text(left + width + 8, TOP + 12 + 17 * i, name, f'fill="{COLOURS[i]}"'))
        left += width + 190
    return picture(parts, left, TOP + height + 30, "time by labels, rows and pixels")


def corruption(rows: Rows) -> str:
    """Plot mAP against strength, from 0 (clean) to 5: a panel per kind, a line per method."""
    clean = {row["method"]: float(row["mAP"]) for row in rows if row["kind"] == "clean"}
    lines: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(dict)
    for row in rows:
        if row["kind"] != "clean":
            points = lines[row["kind"]].setdefault(row["method"], [(0, clean[row["method"]])])
            points.append((int(row["strength"]) / 5, float(row["mAP"])))
    parts, first, (width, height) = [], 40, (150, 130)
    left = first
    for kind, curves in lines.items():
        across = [(strength / 5, str(strength)) for strength in range(6)]
        up = [(share, f"{share:g}" if left == first else "") for share in (0, 0.25, 0.5, 0.75, 1)]
        parts += panel(kind, left, (width, height), across, up, [sorted(curves[name]) for name in clean])
        left += width + 16
    for i, name in enumerate(clean):
        parts.append(text(first + 120 * i, TOP + height + 40, name, f'fill="{COLOURS[i]}"'))
    return picture(parts, left, TOP + height + 52, "mAP by strength of corruption")


def angles(rows: Rows) -> str:
    """Plot degrees, 0 to 90, against labels per image: a line per method and the limit of a shared feature."""
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    most = max(int(row["labels"]) for row in rows)
    for row in rows:
        x = (int(row["labels"]) - 1) / (most - 1)
        lines[row["method"]].append((x, float(row["mean"]) / 90))
    limit = "limit of a shared feature"
    lines[limit] = sorted({((int(r["labels"]) - 1) / (most - 1), float(r["orthonormal"]) / 90) for r in rows})
    across = [((count - 1) / (most - 1), str(count)) for count in range(1, most + 1)]
    up = [(degrees / 90, f"{degrees}°") for degrees in (0, 30, 60, 90)]
    left, (width, height) = 40, (280, 200)
    parts = panel("angle by labels in the image", left, (width, height), across, up, lines.values())
    for i, name in enumerate(lines):
        parts.append(text(left + width + 12, TOP + 12 + 17 * i, name, f'fill="{COLOURS[i]}"'))
    return picture(
        parts, left + width + 180, TOP + height + 30, "angles of true labels by labels in the image"
    )


def when(rows: Rows) -> str:
    """Plot the gain in mAP over uniform attention, -8 to 12 points, by object size, with intervals."""
    rows = [row for row in rows if row["by"] == "size" and row["against"].endswith("-uniform")]
    groups, heads = (list(dict.fromkeys(row[key] for row in rows)) for key in ("group", "row"))
    left, (width, height), low, high = 50, (480, 240), -8, 12
    across = [((i + 0.5) / len(groups), group) for i, group in enumerate(groups)]
    up = [((points - low) / (high - low), f"{points:+d}" if points else "0") for points in range(-5, 11, 5)]
    title = "points of mAP over the same head with uniform attention"
    parts = panel(title, left, (width, height), across, up, [])
    parts.append(
        text(
            left + width / 2,
            TOP + height + 34,
            "share of the image that the object fills",
            'text-anchor="middle"',
        )
    )

    def height_of(share: str) -> float:
        return TOP + height * (1 - (100 * float(share) - low) / (high - low))

    zero = height_of("0")
    parts.append(f'<line x1="{left}" x2="{left + width}" y1="{zero:.1f}" y2="{zero:.1f}" stroke="#666"/>')
    for row in rows:
        i, colour = heads.index(row["row"]), COLOURS[heads.index(row["row"])]
        x = left + width * (groups.index(row["group"]) + 0.5) / len(groups) + 11 * (i - (len(heads) - 1) / 2)
        ends = f'y1="{height_of(row["low"]):.1f}" y2="{height_of(row["high"]):.1f}"'
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" {ends} stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{height_of(row["difference"]):.1f}" r="4" fill="{colour}"/>')
    for i, head in enumerate(heads):
        parts.append(text(left + width + 14, TOP + 12 + 17 * i, head, f'fill="{COLOURS[i]}"'))
    return picture(parts, left + width + 110, TOP + height + 44, "gain of attention by size of the object")


CHARTS: dict[str, Callable[[Rows], str]] = {
    "growth": growth,
    "corruption": corruption,
    "angles": angles,
    "voc-when-448": when,
}


def chart(name: str) -> str:
    """Return the chart of results/NAME.csv."""
    with (ROOT / "results" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return CHARTS[name](list(csv.DictReader(file)))


if __name__ == "__main__":
    for name in CHARTS:
        (ROOT / "docs" / f"{name}.svg").write_text(chart(name), encoding="utf-8")
