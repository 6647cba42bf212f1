"""Charts as inline SVG: linear scales, ticks at round numbers, colours from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from markupsafe import Markup, escape

Number = int | float
Points = Sequence[tuple[Number, Number]]


def nice_ticks(low: Number, high: Number, count: int = 5) -> list[Number]:
    """About `count` round numbers inside [low, high].

    >>> nice_ticks(0, 1), nice_ticks(3, 47)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [10.0, 20.0, 30.0, 40.0])
    """
    if not high > low:
        return [low]
    rough_step = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough_step))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough_step * 0.999)
    # 1e-9 keeps both ends of the axis if they are multiples of the step but for rounding.
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def tick_text(value: Number) -> str:
    """Short text of a tick: 12k, 0.25, 1e-05.

    >>> [tick_text(v) for v in (0.0, 0.25, 12000, 0.00001)]
    ['0', '0.25', '12k', '1e-05']
    """
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:g}"


@dataclass(frozen=True)
class Frame:
    """A plot area inside a drawing: data coordinates to drawing units.

    Args:
        x: lowest and highest x of the data.
        y: lowest and highest y of the data.
        size: width and height of the drawing.
        margin: left, top, right, bottom.
    """

    x: tuple[Number, Number]
    y: tuple[Number, Number]
    size: tuple[int, int]
    margin: tuple[int, int, int, int]

    def at(self, x: Number, y: Number) -> tuple[Number, Number]:
        """Drawing units of a data point."""
        left, top, right, bottom = self.margin
        x_share = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        y_share = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        width, height = self.size[0] - left - right, self.size[1] - top - bottom
        return left + x_share * width, top + (1 - y_share) * height

    def path(self, points: Points) -> str:
        """The `d` of a line through data points."""
        return "".join(
            f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(self.at(*p) for p in points)
        )


SMALL = Frame((0, 1), (0, 1), (180, 150), (26, 6, 6, 20))
LARGE = Frame((0, 1), (0, 1), (480, 320), (46, 12, 14, 44))
SMALL_BARS = Frame((0, 1), (-1, 1), (180, 130), (8, 6, 8, 20))
LARGE_BARS = Frame((0, 1), (-1, 1), (480, 320), (18, 12, 18, 44))


def drawing(frame: Frame, inner: Markup, title: str, kind: str) -> Markup:
    """An SVG of the frame's size that scales with its column, with a title for screen readers."""
    width, height = frame.size
    return Markup('<svg class="chart {}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        kind, width, height, title, inner
    )


def axes(
    frame: Frame, x_ticks: Sequence[Number], y_ticks: Sequence[Number], x_name: str = "", y_name: str = ""
) -> Markup:
    """Faint horizontal lines at the y ticks, numbers at both axes, and the axes' names."""
    left, top, right, bottom = frame.margin
    width, height = frame.size
    parts = []
    for tick in y_ticks:
        y = frame.at(frame.x[0], tick)[1]
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_tick(left - 6, y, "end", tick, 'dy=".32em"'))
    for tick in x_ticks:
        x = frame.at(tick, frame.y[0])[0]
        anchor = "end" if x > width - right - 2 else "start" if x < left + 2 and left < 20 else "middle"
        parts.append(_tick(x, height - bottom + 15, anchor, tick))
    axis_y = frame.at(frame.x[0], max(frame.y[0], 0.0) if frame.y[0] < 0 else frame.y[0])[1]
    parts.append(f'<line class="axis" x1="{left}" x2="{width - right}" y1="{axis_y:.1f}" y2="{axis_y:.1f}"/>')
    if x_name:
        middle = (left + width - right) / 2
        position = f'x="{middle:.0f}" y="{height - 6}"'
        parts.append(f'<text class="name" {position} text-anchor="middle">{escape(x_name)}</text>')
    if y_name:
        middle = (top + height - bottom) / 2
        parts.append(
            f'<text class="name" transform="translate(12 {middle:.0f}) rotate(-90)" text-anchor="middle">'
            f"{escape(y_name)}</text>"
        )
    return Markup("".join(parts))


def _tick(x: Number, y: Number, anchor: str, value: Number, extra: str = "") -> str:
    attributes = f'x="{x:.1f}" y="{y:.1f}" {extra} text-anchor="{anchor}"'
    return f'<text class="tick" {attributes}>{tick_text(value)}</text>'


def loss_chart(points: Points) -> Markup:
    """The loss of every step, faint, under its running mean."""
    xs, ys = np.array([p[0] for p in points], float), np.array([p[1] for p in points], float)
    raw_x, raw_y = _thin(xs, ys, 400)
    high = float(np.quantile(raw_y, 0.99)) * 1.1 or 1.0
    last = float(xs[-1]) if xs[-1] > xs[0] else float(xs[0]) + 1
    frame = Frame((float(xs[0]), last), (0.0, high), (480, 260), (46, 22, 14, 44))
    smooth_x, smooth_y = _thin(xs, _running_mean(ys), 200)
    clipped = np.minimum(raw_y, high)
    inner = axes(frame, nice_ticks(*frame.x), nice_ticks(*frame.y), "step", "loss")
    inner += Markup('<path class="faint" d="{}"/>').format(frame.path(list(zip(raw_x, clipped, strict=True))))
    inner += Markup('<path class="line" d="{}"/>').format(
        frame.path(list(zip(smooth_x, np.minimum(smooth_y, high), strict=True)))
    )
    return drawing(frame, inner, f"Training loss from {ys[0]:.3g} to {smooth_y[-1]:.3g}", "wide")


def epoch_chart(points: Points, best: Number | None) -> Markup:
    """A validation metric per epoch with the chosen epoch marked."""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    low, high = min(ys), max(ys)
    padding = max((high - low) * 0.15, 0.01)
    span = (min(xs), max(xs)) if len(xs) > 1 else (xs[0] - 1, xs[0] + 1)
    frame = Frame(span, (max(0.0, low - padding), min(1.0, high + padding)), (480, 260), (46, 22, 14, 44))
    x_ticks = sorted({float(round(tick)) for tick in nice_ticks(*span)} & set(map(float, xs))) or [xs[0]]
    inner = axes(frame, x_ticks, nice_ticks(*frame.y), "epoch", "mAP, validation")
    inner += Markup('<path class="line" d="{}"/>').format(frame.path(points))
    if len(points) <= 40:
        for point in points:
            x, y = frame.at(*point)
            inner += Markup('<circle class="point" cx="{:.1f}" cy="{:.1f}" r="2.5"/>').format(x, y)
    chosen = next((point for point in points if point[0] == best), None)
    if chosen is not None:
        inner += _ring(frame, chosen, f"epoch {chosen[0]:g}: {chosen[1]:.3f}")
    return drawing(frame, inner, f"Validation mAP per epoch, from {ys[0]:.3f} to {ys[-1]:.3f}", "wide")


def _ring(frame: Frame, point: tuple[Number, Number], text: str) -> Markup:
    """A ring around the point, with text beside it."""
    x, y = frame.at(*point)
    right_half = x > frame.size[0] * 0.6
    text_y = y - 13 if y > 24 else y + 26
    return Markup(
        '<circle class="best" cx="{:.1f}" cy="{:.1f}" r="5"/>'
        '<text class="mark" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>'
    ).format(x, y, x + (6 if right_half else -6), text_y, "end" if right_half else "start", text)


def curve_tile(points: Points, operating: tuple[Number, Number] | None, title: str) -> Markup:
    """A small precision-recall curve with the label's operating point."""
    inner = axes(SMALL, (0, 1), (0, 0.5, 1))
    inner += Markup('<path class="area" d="{}"/>').format(area_under(SMALL, points))
    inner += Markup('<path class="line" d="{}"/>').format(SMALL.path(points))
    if operating is not None:
        x, y = SMALL.at(*operating)
        inner += Markup('<circle class="best" cx="{:.1f}" cy="{:.1f}" r="3.5"/>').format(x, y)
    return drawing(SMALL, inner, f"Precision over recall, {title}", "small")


def area_under(frame: Frame, points: Points) -> str:
    """The `d` of the closed area between a line and the x axis."""
    if not points:
        return ""
    low = frame.y[0]
    return frame.path([(points[0][0], low), *points, (points[-1][0], low)]) + "Z"


def bars_path(frame: Frame, shares: Float[np.ndarray, " bins"], highest: Number, side: int) -> str:
    """The `d` of bars upwards (`side` 1) or downwards (-1): roots of the shares, `highest` fills the side."""
    bins = len(shares)
    gap = 0.08 / bins
    parts = []
    for i, share in enumerate(shares):
        if share > 0:
            (x0, base), (x1, end) = (
                frame.at(i / bins + gap, 0),
                frame.at((i + 1) / bins - gap, side * (share / highest) ** 0.5),
            )
            parts.append(f"M{x0:.1f} {base:.1f}V{end:.1f}H{x1:.1f}V{base:.1f}Z")
    return "".join(parts)


def histogram_tile(
    positives: Float[np.ndarray, " bins"],
    negatives: Float[np.ndarray, " bins"],
    threshold: Number,
    title: str,
) -> Markup:
    """Scores of positives upwards, of negatives downwards, and the label's threshold."""
    highest = float(max(positives.max(), negatives.max()))
    inner = Markup('<path class="positive" d="{}"/><path class="negative" d="{}"/>').format(
        bars_path(SMALL_BARS, positives, highest, 1), bars_path(SMALL_BARS, negatives, highest, -1)
    )
    inner += axes(SMALL_BARS, (0, 0.5, 1), ())
    (x, top), (_, bottom) = SMALL_BARS.at(threshold, 1), SMALL_BARS.at(threshold, -1)
    inner += Markup('<line class="threshold" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}"/>').format(
        x, top, bottom
    )
    return drawing(SMALL_BARS, inner, f"Scores of positives and negatives, {title}", "small")


def _running_mean(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The mean of each value and those before it, within a window of 1/40 of all."""
    window = max(1, len(values) // 40)
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _thin(
    xs: Float[np.ndarray, " n"], ys: Float[np.ndarray, " n"], limit: int
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """At most `limit` of the points, at equal distances."""
    if len(xs) <= limit:
        return xs, ys
    indices = np.unique(np.linspace(0, len(xs) - 1, limit).round().astype(int))
    return xs[indices], ys[indices]
