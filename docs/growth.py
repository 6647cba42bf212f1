"""Draws docs/growth.svg from results/growth.csv: `python docs/growth.py`."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COLOURS = ("#b45309", "#1d4ed8", "#15803d", "#be185d", "#6d28d9", "#0e7490", "#4b5563", "#a16207")
WIDTH, HEIGHT, TOP, LEFT, GAP = 260, 220, 34, 50, 190
Lines = dict[str, list[tuple[float, float]]]


def panel(against: str, place: int, lines: Lines) -> str:
    """One cause of growth: powers of ten on both axes, a line a work, with its slope."""
    x0 = LEFT + place * (WIDTH + GAP)
    low, high = 4, 0
    xs = [math.log10(n) for points in lines.values() for n, _ in points]
    left, right = math.floor(min(xs)), math.ceil(max(xs))

    def at(n: float, seconds: float) -> tuple[float, float]:
        x = x0 + WIDTH * (math.log10(n) - left) / (right - left)
        return x, TOP + HEIGHT * (1 - (math.log10(seconds) + low) / (high + low + 1))

    parts = [f'<text x="{x0}" y="{TOP - 10}" font-weight="600">seconds against {against}</text>']
    for power in range(-low, high + 2):
        y = at(10**left, 10**power)[1]
        parts.append(f'<line x1="{x0}" x2="{x0 + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{x0 - 6}" y="{y + 4:.1f}" text-anchor="end">1e{power}</text>')
    for power in range(left, right + 1):
        x = at(10**power, 1)[0]
        parts.append(f'<text x="{x:.1f}" y="{TOP + HEIGHT + 16}" text-anchor="middle">1e{power}</text>')
    for i, (name, points) in enumerate(lines.items()):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[i]}" stroke-width="2"/>')
        parts.append(f'<text x="{x0 + WIDTH + 8}" y="{TOP + 12 + 17 * i}" fill="{COLOURS[i]}">{name}</text>')
    return "\n".join(parts)


def draw(rows: list[dict[str, str]]) -> str:
    """The whole picture."""
    panels: dict[str, Lines] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        name = f"{row['work']}, {float(row['slope']):.2f}"
        panels[row["against"]][name].append((float(row["n"]), float(row["cpu_seconds"])))
    body = [panel(against, place, lines) for place, (against, lines) in enumerate(panels.items())]
    size = f'width="{LEFT + len(panels) * (WIDTH + GAP)}" height="{TOP + HEIGHT + 30}"'
    style = 'font-family="sans-serif" font-size="12" role="img" aria-label="time by labels, rows and pixels"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n' + "\n".join(body) + "\n</svg>\n"


if __name__ == "__main__":
    with (ROOT / "results" / "growth.csv").open(newline="", encoding="utf-8") as file:
        text = draw(list(csv.DictReader(file)))
    (ROOT / "docs" / "growth.svg").write_text(text, encoding="utf-8")
