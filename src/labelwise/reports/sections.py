"""The sections of the report as data and charts, one function per section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from labelwise.evaluation.figures import without_ap, without_rare
from labelwise.metrics.functional import precision_recall
from labelwise.rarity import FEWEST, format_rare
from labelwise.reports import figures
from labelwise.reports.heatmap import heat_map
from labelwise.reports.record import RecordedScores, RunRecord, finite_number
from labelwise.reports.tallies import count_confusions, most_confused, score_shares, strongest_pairs

NONE = "–"
TILES = 6
RATES = ("AP", "precision", "recall", "F1", "pointing", "ECE")


def percent(value: Any) -> str:
    """A fraction as percent with one decimal, a dash for no value.

    >>> percent(0.8734), percent(None)
    ('87.3', '–')
    """
    number = finite_number(value)
    return NONE if number is None else f"{100 * number:.1f}"


def format_probability(value: Any) -> str:
    """A probability with two decimals, a dash for no value."""
    number = finite_number(value)
    return NONE if number is None else f"{number:.2f}"


def format_count(value: Any) -> str:
    """A count with spaces between thousands, a dash for no value.

    >>> format_count(12345)
    '12\\u202f345'
    """
    number = finite_number(value)
    return NONE if number is None else f"{number:,.0f}".replace(",", "\u202f")


def duration(seconds: Any) -> str:
    """Seconds as text in suitable units.

    >>> duration(42), duration(150), duration(8100)
    ('42 s', '2 min 30 s', '2 h 15 min')
    """
    number = finite_number(seconds)
    if number is None:
        return NONE
    rounded = round(number)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s" if rounded % 60 else f"{rounded // 60} min"
    return f"{rounded // 3600} h {rounded % 3600 // 60} min"


def headline(run: RunRecord) -> dict[str, Any]:
    """The most important metrics, of `shown_split`."""
    split = run.shown_split
    metrics = run.splits[split].get("metrics", {})
    tuned = metrics.get("tuned") or {}
    backbone = run.config.get("backbone") or {}
    backbone = backbone if isinstance(backbone, Mapping) else {"name": backbone}
    data = run.config.get("data") or {}
    figures_shown = [(name, percent(tuned.get(name, metrics.get(name))), "%") for name in ("CF1", "OF1")]
    figures_shown += [(name, percent(metrics[name]), "%") for name in ("mA", "pointing") if name in metrics]
    rare = rare_figures(run)
    if rare["rare_labels"]:
        figures_shown.insert(0, ("mAP without rare labels", percent(rare["mAP_without_rare"]), "%"))
    images = len(run.scores[split].ids) if split in run.scores else None
    figures_shown += [
        (f"{split} images", format_count(images), ""),
        ("labels", format_count(len(run.names)), ""),
    ]
    return {
        "method": run.config.get("method", "a model"),
        "source": str(data.get("source", "") if isinstance(data, Mapping) else data).removesuffix(":"),
        "split": split,
        "mAP": percent(metrics.get("mAP")),
        "figures": figures_shown,
        "tuned": bool(tuned),
        "left_out": without_ap(metrics),
        "rare": format_rare({name: int(positives) for name, positives in rare["rare_labels"].items()}),
        "fewest": FEWEST,
        "facts": _facts(run, backbone),
    }


def rare_figures(run: RunRecord) -> dict[str, Any]:
    """`without_rare` of the shown split, also for results that do not hold it."""
    per_label = run.splits[run.shown_split].get("per_label", {})
    rows = {
        name: {"AP": finite_number(row.get("AP")), "positives": row["positives"]}
        for name, row in per_label.items()
        if finite_number(row.get("positives")) is not None
    }
    return without_rare(rows)


def _facts(run: RunRecord, backbone: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, text) of the backbone, the image size and the training, as far as the run stores them."""
    weights = backbone.get("weights")
    size = run.config.get("image_size")
    speed = finite_number(run.training.get("images_per_second"))
    facts = [
        ("Backbone", f"{backbone.get('name') or NONE}" + (f", weights: {weights}" if weights else "")),
        ("Image size", f"{size} px" if size else NONE),
        ("Epochs", format_count(run.training.get("epochs"))),
        ("Best epoch", format_count(run.training.get("best_epoch"))),
        ("Training took", duration(run.training.get("seconds"))),
        ("Device", str(run.training.get("device") or NONE)),
        ("Speed", f"{format_count(speed)} images/s" if speed else NONE),
    ]
    return [(name, text) for name, text in facts if text != NONE]


def training(run: RunRecord) -> dict[str, Any]:
    """The two curves of the training, each `None` if the log lacks its data."""
    loss_points = [
        (float(s["step"]), value)
        for s in run.steps
        if (value := finite_number(s.get("loss"))) is not None and "step" in s
    ]
    val_points = [
        (float(e["epoch"]), value)
        for e in run.epochs
        if (value := finite_number((e.get("val") or {}).get("mAP"))) is not None and "epoch" in e
    ]
    best = finite_number(run.training.get("best_epoch"))
    if best is None:
        best = next((float(e["epoch"]) for e in reversed(run.epochs) if e.get("best") and "epoch" in e), None)
    return {
        "loss": figures.loss_chart(loss_points) if len(loss_points) > 1 else None,
        "epochs": figures.epoch_chart(val_points, best) if len(val_points) > 1 else None,
        "only": percent(val_points[0][1]) if len(val_points) == 1 else None,
    }


def rows_of_labels(run: RunRecord) -> dict[str, Any]:
    """A row for each label, best AP first, then the rare labels, then those without AP."""
    per_label = run.splits[run.shown_split].get("per_label", {})
    rare = rare_figures(run)["rare_labels"]
    rows: list[dict[str, Any]] = []
    for j, (name, threshold) in enumerate(zip(run.names, run.thresholds, strict=True)):
        label_figures = per_label.get(name, {})
        rates = {
            key: finite_number(label_figures.get(key))
            for key in (*RATES, "positives", "negatives", "unknown")
        }
        rows.append(
            {
                "name": name,
                "threshold": float(threshold),
                "never": j in run.never,
                "rare": name in rare,
                **rates,
            }
        )
    rows.sort(key=lambda row: (row["AP"] is None, row["rare"], -(row["AP"] or 0.0)))
    return {
        "rows": rows,
        "pointing": any(row["pointing"] is not None for row in rows),
        "calibrated": any(row["ECE"] is not None for row in rows),
        "unknown": any(row["unknown"] for row in rows),
        "empty": sum(row["AP"] is None for row in rows),
        "thresholds_from": run.thresholds_from,
    }


def curves(run: RunRecord) -> dict[str, Any] | None:
    """Precision-recall curves and score histograms of the shown split; `None` without stored scores."""
    split = run.shown_split
    if split not in run.scores:
        return None
    label_curves = [_label_curve(run, run.scores[split], label) for label in range(len(run.names))]
    rare = rare_figures(run)["rare_labels"]
    drawable = sorted(
        (d for d in label_curves if d["points"]), key=lambda d: d["AP"] if d["AP"] is not None else 2.0
    )
    ranked = [d for d in drawable if d["name"] not in rare]
    only_rare = not ranked
    ranked = ranked or drawable
    one_list = only_rare or len(ranked) <= 2 * TILES
    worst = ranked[: 2 * TILES] if one_list else ranked[:TILES]
    best = [] if one_list else ranked[-TILES:][::-1]
    first = ranked[0]["index"] if ranked else 0
    return {
        "only_rare": only_rare,
        "without_rare": len(drawable) - len(ranked),
        "worst": [_curve_tile(d) for d in worst],
        "best": [_curve_tile(d) for d in best],
        "histograms": [_histogram(d) for d in ranked[:TILES]],
        "explorer": [_explorer_data(d) for d in label_curves],
        "order": sorted(range(len(label_curves)), key=lambda i: run.names[i].casefold()),
        "first": first,
        "faintness": f"{min(0.6, 0.12 + 10 / len(label_curves)):.2f}",
        "curve_axes": figures.axes(
            figures.LARGE, figures.nice_ticks(0, 1), figures.nice_ticks(0, 1), "recall", "precision"
        ),
        "bar_axes": figures.axes(figures.LARGE_BARS, figures.nice_ticks(0, 1), (), "score"),
    }


def _label_curve(run: RunRecord, scores: RecordedScores, label: int) -> dict[str, Any]:
    """Precision and recall of one label, its operating point and the shares of its scores."""
    known = scores.known[:, label]
    p, true = scores.probabilities[known, label], scores.true[known, label]
    label_figures = run.splits[run.shown_split].get("per_label", {}).get(run.names[label], {})
    points: list[tuple[float, float]] = []
    if true.any() and not true.all():
        precision, recall, _ = precision_recall(p, true)
        points = [(float(r), float(q)) for r, q in zip(recall, precision, strict=True)]
        points = [(0.0, points[0][1]), *points, (1.0, float(true.mean()))]
    selected = scores.selected[known, label]
    hits, predicted = int(selected[true].sum()), int(selected.sum())
    return {
        "index": label,
        "name": run.names[label],
        "AP": finite_number(label_figures.get("AP")),
        "positives": int(true.sum()),
        "negatives": int((~true).sum()),
        "threshold": float(run.thresholds[label]),
        "points": points,
        "operating": (hits / int(true.sum()), hits / predicted) if predicted and true.any() else None,
        "shares": score_shares(scores, label),
    }


def _curve_tile(curve: dict[str, Any]) -> dict[str, Any]:
    chart = figures.curve_tile(curve["points"], curve["operating"], curve["name"])
    return {"name": curve["name"], "AP": curve["AP"], "positives": curve["positives"], "chart": chart}


def _histogram(curve: dict[str, Any]) -> dict[str, Any]:
    positives, negatives = curve["shares"]
    chart = figures.histogram_tile(positives, negatives, curve["threshold"], curve["name"])
    return {"name": curve["name"], "threshold": curve["threshold"], "chart": chart}


def _explorer_data(curve: dict[str, Any]) -> dict[str, Any]:
    """The data of one label's large chart: paths in drawing units and a sentence."""
    operating = curve["operating"]
    x, y = figures.LARGE.at(*operating) if operating else (-20.0, -20.0)
    threshold = figures.LARGE_BARS.at(curve["threshold"], 0)[0]
    positives, negatives = curve["shares"]
    highest = float(max(positives.max(), negatives.max()))
    rates = (
        f"precision {percent(operating[1])}\u202f%, recall {percent(operating[0])}\u202f%"
        if operating
        else "nothing is predicted"
    )
    for side in ("positives", "negatives"):
        rates = rates if curve[side] else f"no {side}, so no curve"
    return {
        "name": curve["name"],
        "curve": figures.LARGE.path(curve["points"]),
        "x": round(x, 1),
        "y": round(y, 1),
        "up": figures.bars_path(figures.LARGE_BARS, positives, highest, 1),
        "down": figures.bars_path(figures.LARGE_BARS, negatives, highest, -1),
        "threshold": round(threshold, 1),
        "text": f"AP {percent(curve['AP'])}\u202f%, {format_count(curve['positives'])} positives, "
        f"{format_count(curve['negatives'])} negatives. At the threshold {curve['threshold']:.2f}: {rates}.",
    }


def confusions(run: RunRecord) -> dict[str, Any] | None:
    """The confusion matrix of the most confused labels and the strongest pairs; `None` without stored scores."""
    split = run.shown_split
    if split not in run.scores:
        return None
    counts = count_confusions(run.scores[split])
    labels = most_confused(counts)
    if len(labels) < 2:
        return {"chart": None, "pairs": [], "shown": 0}
    grid = np.ix_(labels, labels)
    return {
        "chart": heat_map(counts.rate[grid], counts.chances[grid], [run.names[i] for i in labels]),
        "pairs": [
            {
                "true": run.names[i],
                "predicted": run.names[j],
                "wrong": int(counts.wrong[i, j]),
                "chances": int(counts.chances[i, j]),
                "rate": float(counts.rate[i, j]),
                "usual": float(counts.usual[j]),
            }
            for i, j in strongest_pairs(counts)
        ],
        "shown": len(labels),
    }
