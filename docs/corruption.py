"""Draws docs/corruption.svg from results/corruption.csv: `python docs/corruption.py`."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COLOURS = {"baseline-gap": "#b45309", "dlfl": "#1d4ed8"}
WIDTH, HEIGHT, TOP, LEFT = 150, 130, 34, 40


def panel(kind: str, place: int, lines: dict[str, list[tuple[int, float]]]) -> str:
    """One kind: mAP from 0 to 1 against strength from 0, the clean picture, to 5."""
    x0 = LEFT + place * (WIDTH + 16)
    parts = [f'<text x="{x0}" y="{TOP - 8}" font-weight="600">{kind}</text>']
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = TOP + HEIGHT * (1 - share)
        parts.append(f'<line x1="{x0}" x2="{x0 + WIDTH}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        if not place:
            parts.append(f'<text x="{x0 - 6}" y="{y + 4}" text-anchor="end">{share:g}</text>')
    for strength in range(6):
        x = x0 + WIDTH * strength / 5
        parts.append(f'<text x="{x}" y="{TOP + HEIGHT + 16}" text-anchor="middle">{strength}</text>')
    for method, points in lines.items():
        path = " ".join(f"{x0 + WIDTH * s / 5:.1f},{TOP + HEIGHT * (1 - m):.1f}" for s, m in sorted(points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[method]}" stroke-width="2"/>')
    return "\n".join(parts)


def draw(rows: list[dict[str, str]]) -> str:
    """The whole picture."""
    lines: dict[str, dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    clean = {row["method"]: float(row["mAP"]) for row in rows if row["kind"] == "clean"}
    for row in rows:
        if row["kind"] != "clean":
            lines[row["kind"]][row["method"]].append((int(row["strength"]), float(row["mAP"])))
    for found in lines.values():
        for method, points in found.items():
            points.append((0, clean[method]))
    body = [panel(kind, place, found) for place, (kind, found) in enumerate(lines.items())]
    for i, (method, colour) in enumerate(COLOURS.items()):
        body.append(f'<text x="{LEFT + 120 * i}" y="{TOP + HEIGHT + 40}" fill="{colour}">{method}</text>')
    size = f'width="{LEFT + len(lines) * (WIDTH + 16)}" height="{TOP + HEIGHT + 52}"'
    style = 'font-family="sans-serif" font-size="12" role="img" aria-label="mAP by strength of corruption"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n' + "\n".join(body) + "\n</svg>\n"


if __name__ == "__main__":
    with (ROOT / "results" / "corruption.csv").open(newline="", encoding="utf-8") as file:
        text = draw(list(csv.DictReader(file)))
    (ROOT / "docs" / "corruption.svg").write_text(text, encoding="utf-8")
