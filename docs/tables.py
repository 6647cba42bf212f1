"""Write the tables of README.md and of several pages of docs/ from results/: `python docs/tables.py`.

A table is between `<!-- table: NAME -->` and `<!-- end -->`. Figures are means over seeds in points, with their sample
standard deviation if there are several.
"""

from __future__ import annotations

import csv
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = tuple(
    ROOT / name
    for name in (
        "docs/comparison.md",
        "docs/backbones.md",
        "docs/export.md",
        "docs/web.md",
        "docs/collections.md",
        "docs/phones.md",
        "docs/training.md",
        "docs/teach.md",
        "docs/unfamiliar.md",
        "docs/attributes.md",
        "docs/serving.md",
        "docs/scale.md",
        "README.md",
    )
)
TABLE = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
Rows = list[dict[str, str]]

NAMES = {
    "class-features": "`class-features`, with its loss",
    "class-features-without-loss": "`class-features`, without its loss",
    "dlfl-disc": "`dlfl`, with the discriminative loss",
    "ssgrl-disc": "`ssgrl`, with the discriminative loss",
    "add-gcn-mean": "`add-gcn`, `extractor.own_logit=mean`",
    "stripes-mlp": "`baseline-stripes`, hidden layer (`extractor.hidden=512`)",
    "csra-disc": "`csra`, with the discriminative loss",
    "query2label-disc": "`query2label`, with the discriminative loss",
    "baseline-mlp-per-place": "`baseline-mlp`, hidden layer before the pool",
}
HEADS = (
    "ssgrl",
    "ssgrl-disc",
    "ssgrl-uniform",
    "csra",
    "csra-uniform",
    "dlfl",
    "dlfl-uniform",
    "baseline-mlp",
    "baseline-gap",
    "baseline-gmp",
)
REGIONS = {
    "dlfl": "`dlfl`, none",
    "dlfl-regions-0.1": "`dlfl`, `regions.outside=0.1`",
    "dlfl-regions-0.01": "`dlfl`, `regions.outside=0.01`",
    "baseline-gap": "`baseline-gap`, none",
    "stripes-mlp": NAMES["stripes-mlp"],
}
PARTS = {
    "dlfl-steps2": "`dlfl`, two steps (`extractor.steps=2`)",
    "dlfl-heads4": "`dlfl`, four heads",
    "dlfl-d256": "`dlfl`, D = 256",
    "dlfl-no-mean": "`dlfl`, without the mean feature (`extractor.mean_feature=false`)",
    "dlfl-no-ffn": "`dlfl`, without the feed-forward layer (`extractor.ffn=0`)",
    "dlfl-disc": "`dlfl`, `discriminative.weight=0.1`",
    "dlfl-intra": "`dlfl`, only its within-label part (`discriminative.inter=false`)",
    "dlfl-inter": "`dlfl`, only its between-label part (`discriminative.intra=false`)",
    "ssgrl-disc": "`ssgrl`, the whole loss",
    "query2label-disc": "`query2label`, the whole loss",
    "class-features": "`class-features`, the whole loss, its default",
}
PARTIAL = {
    "mlp": "`baseline-mlp`",
    "gap": "`baseline-gap`",
    "dlfl": "`dlfl`",
    "dlfl-blending": "`dlfl` with blending and contrast",
    "ssgrl": "`ssgrl`, the trunk",
    "dsrb": "`dsrb`",
    "sarb": "`sarb`",
    "sst": "`sst`",
}
SUBSETS = {"cuhk": "CUHK", "prid": "PRID", "viper": "VIPeR"}
SHARES = ("0.1", "0.3", "0.5", "0.7", "0.9")
ENDS = {"difference": "", "low": "_low", "high": "_high"}
EVIDENCE = (("pointing", "pointing_hard"), ("pointing_found", "pointing_found_hard"), ("energy",))


def kept(name: str) -> Rows:
    """Read a file of results/."""
    with (ROOT / "results" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def grouped(rows: Rows, *keys: str) -> dict[tuple[str, ...], Rows]:
    """Group rows by the values of some columns, in order of appearance."""
    groups: dict[tuple[str, ...], Rows] = defaultdict(list)
    for row in rows:
        groups[tuple(row[key] for key in keys)].append(row)
    return groups


def figure(
    rows: Iterable[dict[str, str]], key: str, digits: int = 2, scale: float = 100, sd: bool = True
) -> str:
    """Return mean and standard deviation of a column; empty if no row has it."""
    values = [scale * float(row[key]) for row in rows if row[key]]
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.{digits}f}" if sd and len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{spread}"


def markdown(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    head = list(head)
    rows = [[whole(cell) for cell in cells] for cells in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)) + "\n"


def whole(cell: str) -> str:
    """Return the cell with spaces that do not break inside a deviation or interval."""
    return re.sub(r"(?<=[\d,]) (?=[±+/-])", "\u00a0", cell).replace("± ", "±\u00a0").replace("/ ", "/\u00a0")


def shown(row: str) -> str:
    """Return the name of a row on the page."""
    if row.endswith("-uniform"):
        return f"`{row.removesuffix('-uniform')}`, uniform attention"
    return NAMES.get(row, f"`{row}`")


def twin_of(row: str) -> str:
    """Return the row's control with uniform attention."""
    return f"{row.removesuffix('-mean')}-uniform"


def interval(gap: dict[str, str]) -> str:
    """Return a difference in points with its interval, bold if it is beyond noise."""
    noise = float(gap["low"]) <= 0 <= float(gap["high"]) or gap.get("verdict") == "within noise"
    points = [round(100 * float(gap[key]), 1) for key in ("difference", "low", "high")]
    if noise:
        points = [point + 0.0 for point in points]  # "-0.0" only beyond noise, where it shows the side of 0
    mean, low, high = (f"{point:+.1f}" for point in points)
    cell = f"{mean} [{low}, {high}]"
    return cell if noise else f"**{cell}**"


def gaps(name: str) -> Callable[[str, str], str]:
    """Return a lookup of differences by row and reference row; empty if not measured."""
    cells = {(row["row"], row["against"]): interval(row) for row in kept(f"{name}-differences")}
    return lambda row, against: cells.get((row, against), "")


def methods(name: str) -> str:
    """Heads by mAP, best first; controls with uniform attention are shown as a difference."""
    lines, gap = grouped(kept(name), "row"), gaps(name)

    def line(row: str, own: Rows) -> list[str]:
        places = [" / ".join(figure(own, key, 1, sd=False) for key in keys) for keys in EVIDENCE]
        entropy = figure(own, "attention_entropy", 2, 1, sd=False)
        twin = gap(row, twin_of(row))
        return [
            shown(row),
            figure(own, "mAP"),
            str(len(own)),
            twin,
            gap(row, "baseline-mlp"),
            *places,
            entropy,
        ]

    rows = [(row, own) for (row,), own in lines.items() if not row.endswith("-uniform")]
    rows.sort(key=lambda item: -statistics.fmean(float(r["mAP"]) for r in item[1]))
    head = ["method", "test mAP", "seeds", "over its uniform twin", "over the pooled MLP"]
    return markdown(
        [*head, "pointing / hard", "called / hard", "energy", "entropy"], [line(*item) for item in rows]
    )


def finetuned() -> str:
    """Heads trained together with the backbone, best first."""
    lines = [(row, own) for (row,), own in grouped(kept("voc-finetuned"), "row").items()]
    lines.sort(key=lambda item: -statistics.fmean(float(r["mAP"]) for r in item[1]))
    gap = gaps("voc-finetuned")
    cells = [
        [shown(row), figure(own, "mAP"), str(len(own)), gap(row, f"{row}-uniform"), figure(own, "val_mAP")]
        for row, own in lines
    ]
    return markdown(["head", "test mAP", "seeds", "over its uniform twin", "val mAP"], cells)


def short() -> str:
    """A few heads on small and large maps, frozen and fine-tuned; the best of each column in bold."""
    columns = {
        "7 × 7 places, frozen": "voc-methods",
        "14 × 14 places, frozen": "voc-methods-448",
        "7 × 7, fine-tuned": "voc-finetuned",
    }
    tables = [grouped(kept(name), "row") for name in columns.values()]
    lines = [[shown(row), *(figure(rows[row,], "mAP") for rows in tables)] for row in HEADS]
    for i in range(1, len(lines[0])):
        top = max(lines, key=lambda cells: float(cells[i].split()[0]))
        top[i] = f"**{top[i]}**"
    return markdown(["head", *columns], lines)


def partial() -> str:
    """Methods by known proportion; the mean uses the seeds that all proportions have."""
    cells = grouped(kept("voc-partial"), "row", "known_proportion")
    lines = []
    for loss, title in (("bce", "partial BCE"), ("asl", "ASL")):
        lines.append([f"*{title}*", *[""] * 6])
        for method, name in PARTIAL.items():
            groups = [cells.get((f"{method}-{loss}", share), []) for share in SHARES]
            if not any(groups):
                continue
            maps = [{r["seed"]: float(r["mAP"]) for r in own} for own in groups]
            seeds = sorted(set.intersection(*map(set, maps)))
            mean = figure([{"mAP": str(statistics.fmean(share[s] for share in maps))} for s in seeds], "mAP")
            several = [f" ({len(own)})" if len(own) > 1 else "" for own in groups]
            shares = [figure(own, "mAP") + n for own, n in zip(groups, several, strict=True)]
            lines.append([name, *shares, mean])
    return markdown(["method, by share of known labels", *(s[1:] for s in SHARES), "mean"], lines)


def parts() -> str:
    """The effect of a changed part, on small and large maps."""
    names = ("voc-parts-differences", "voc-parts-448-differences")
    tables = [{row["row"]: row for row in kept(name)} for name in names]
    lines = []
    for row, title in PARTS.items():
        cells = [[interval(gaps[row]), gaps[row]["seeds"]] if row in gaps else ["", ""] for gaps in tables]
        lines.append([title, *cells[0], *cells[1]])
    return markdown(["changed", "7 × 7: change of test mAP", "seeds", "14 × 14", "seeds"], lines)


def retrieval() -> str:
    """Heads without and with the discriminative loss."""
    frozen, tuned = (grouped(kept(name), "row") for name in ("retrieval", "retrieval-finetuned"))
    rows = []
    for head, lines, plain, beside in (
        ("`ssgrl`", frozen, "ssgrl", "ssgrl-disc"),
        ("`query2label`", frozen, "query2label", "query2label-disc"),
        ("`dlfl`", frozen, "dlfl", "dlfl-disc"),
        ("`class-features`", frozen, "class-features-without-loss", "class-features"),
        ("`baseline-mlp`, shared feature", frozen, "baseline-mlp", ""),
        ("`ssgrl`, fine-tuned", tuned, "ssgrl", "ssgrl-disc"),
    ):
        cells = [head]
        for key in ("ranking", "retrieval", "calibration"):
            cells += [figure(lines[row,], key, 1) if (row,) in lines else "" for row in (plain, beside)]
        rows.append([*cells, str(len(lines[plain,]))])
    head = ["head", "test mAP", "with the loss", "retrieval", "with the loss", "calibration", "with the loss"]
    return markdown([*head, "seeds"], rows)


def label_search() -> str:
    """Average precision for images that have a label, by its score and by its feature."""
    lines = grouped(kept("retrieval"), "row")
    rows = []
    for row in (
        "ssgrl-disc",
        "query2label-disc",
        "ssgrl",
        "dlfl-disc",
        "query2label",
        "dlfl",
        "baseline-mlp",
    ):
        name = f"`{row.removesuffix('-disc')}`" + (", discriminative loss" if row.endswith("-disc") else "")
        own = lines[row,]
        rows.append([name, figure(own, "ranking", 1), figure(own, "retrieval", 1), str(len(own))])
    return markdown(["run", "by the label's score", "by the label's feature", "seeds"], rows)


def kinds(of: str) -> str:
    """Average precision for images in which a label looks alike, by each feature."""
    lines = [row for row in kept("kinds") if (row["set"], row["split"]) == (of, "test")]
    lines = [row for row in lines if "head weight" not in row["feature"]]
    shown = ("label feature", "stored", "by the label's score")
    lines = [row for row in lines if row["head"] in ("", "dlfl") or row["feature"] in shown]
    groups = [group for group in dict.fromkeys(row["group"] for row in lines) if group != "mean"]
    base = "best_stripe" if lines[0].get("over_best_stripe") else "whole"
    rows = []
    for (feature, head), own in grouped(lines, "feature", "head").items():
        by = {row["group"]: row for row in own}
        mean = by["mean"]
        low, high = (f"{100 * float(mean[side]):.1f}" for side in ("low", "high"))
        spread = f" ± {100 * float(mean['sd']):.1f}, {mean['seeds']} seeds" if mean["sd"] else ""
        gaps = [f"{100 * float(mean[f'over_{base}{side}']):+.1f}" for side in ("", "_low", "_high")]
        rows.append(
            [
                feature + (f", `{head}`" if head else ""),
                f"{figure([mean], 'ap', 1)}{spread} ({low} to {high})",
                f"{gaps[0]} ({gaps[1]} to {gaps[2]})",
                *(figure([by[group]], "ap", 1) for group in groups),
            ]
        )
    over = {"best_stripe": "over the best stripe", "whole": "over the whole image"}[base]
    return markdown(["order by", "mean", over, *groups], rows)


def box_search() -> str:
    """Average precision of searches by a photograph and by a box of it."""
    by = {(row["question"], row["trait"], row["way"], row["part"]): row for row in kept("box-search")}

    def value(key: tuple[str, ...], sides: str) -> str:
        row = by.get(key)
        if row is None:
            return ""
        at, low, high = (float(row[side]) for side in sides.split())
        return (
            f"{at:+.1f} ({low:+.1f} to {high:+.1f})"
            if sides[0] == "o"
            else f"{at:.1f} ({low:.1f} to {high:.1f})"
        )

    rows = []
    for question, trait, way, part in by:
        if way != "photograph" or part == "appearance":
            continue
        name = ", ".join(filter(None, (question, trait, "`--by label`" if part == "label" else "")))
        own = [(question, trait, kind, part) for kind in ("photograph", "box", "cut out")]
        over = [value(key, "over over_low over_high") for key in own[1:]]
        chance = by.get((question, trait, "chance", ""))
        first = f"{float(chance['mean']):.1f}" if chance else ""
        rows.append([name, by[own[0]]["questions"], first, value(own[0], "mean low high"), *over])
    head = [
        "question",
        "number",
        "share that is right",
        "whole photograph",
        "box, more than that",
        "cut out, more than that",
    ]
    return markdown(head, rows)


def collection_search() -> str:
    """Writing and searching a synthetic collection."""
    rows = kept("collection-search")
    first = rows[0]
    million = f"{int(first['features']):,} features"
    written = [
        ["written", f"{int(first['features_per_second']):,} features/s"],
        ["index built", f"{first['index_seconds']} s"],
        ["size on disk", f"{first['gb_on_disk']} GB"],
        ["largest memory, writing and indexing", f"{first['write_peak_gb']} GB"],
        ["largest memory, searching", f"{first['search_peak_gb']} GB"],
        ["opened", f"{first['open_ms']} ms"],
    ]
    searched = [
        [
            f"search by a label{'' if row['search'] == 'label' else ' ' + row['search']}",
            f"p50 {row['p50_ms']} ms, p99 {row['p99_ms']} ms, processor {row['ms_cpu']} ms, "
            f"recall@20 {float(row['recall_at_20']):.3f}; exact p50 {row['exact_p50_ms']} ms",
        ]
        for row in rows
    ]
    return markdown([million, "measured"], written + searched)


def collection_stores() -> str:
    """Writing and searching the same synthetic features in each store."""
    names = {"lancedb": "LanceDB", "pgvector": "PostgreSQL, pgvector", "qdrant": "Qdrant, local mode"}
    lines = [
        [
            names[row["store"]] + (f", index from {int(row['index_from']):,}" if row["index_from"] else ""),
            f"{int(row['features']):,}",
            f"{int(row['features_per_second']):,}",
            row["index_seconds"],
            row["p50_ms"],
            f"{float(row['recall_at_20']):.3f}",
            row["exact_p50_ms"],
        ]
        for row in kept("collection-stores")
        if row["search"] == "label"
    ]
    head = ["store", "features", "written per s", "index, s", "search p50, ms", "recall@20", "exact p50, ms"]
    return markdown(head, lines)


def collection_page() -> str:
    """Times of the page that searches a collection, shifts of its layout and faults."""
    rows = kept("collection-page")
    first = rows[0]
    lines = []
    for row in rows:
        times = [f"p50 {row['p50_ms']} ms, p95 {row['p95_ms']} ms"] if row["p50_ms"] else []
        page = row["what"].startswith("page")
        if page:
            times = [f"first photograph {time}" for time in times]
            times += [
                f"layout shift {float(row['layout_shift']):g}, serious faults by axe {row['serious_faults']}"
            ]
        lines.append([row["what"] if page else f"request: {row['what']}", "; ".join(times)])
    lines.append(["largest memory of the server", f"{first['server_peak_gb']} GB"])
    head = f"{int(first['photographs']):,} photographs, {int(first['features']):,} features, {first['labels']} labels"
    return markdown([head, "measured"], lines)


def teach() -> str:
    """Mean AP of taught labels by number of examples, beside fine-tuning, and the time of a call."""
    lines = grouped(kept("teach"), "way", "examples")
    ways = {
        "given": "`teach`, the same examples and negatives",
        "positives": "`teach`, positives alone",
        "random": "`teach`, 5 positives and 40 answers to random images",
        "suggested": "`teach`, 5 positives and 40 answers to suggested images",
    }
    rows = []
    for way, name in ways.items():
        cells = []
        for k in ("5", "10", "20"):
            draws = [
                {"AP": str(statistics.mean(float(line["AP"]) for line in own))}
                for own in grouped(lines.get((way, k), []), "draw").values()
            ]
            cells.append(figure(draws, "AP", 1) if draws else "")
        calls = [line for (of, _), own in lines.items() if of == way for line in own]
        median = [statistics.median(float(c[of]) for c in calls) for of in ("processor_seconds", "seconds")]
        rows.append([name, *cells, f"{median[0]:.1f} s ({median[1]:.1f} s)"])
    for row in ("baseline-mlp", "dlfl"):
        rows.append(
            [f"`--init-from`, `{row}`", figure(grouped(kept("new-label"), "row")[row,], "mAP", 1), "", "", ""]
        )
    return markdown(["", "5 examples", "10", "20", "processor time of a call (elapsed)"], rows)


def unfamiliar() -> str:
    """Areas under the ROC curve of unfamiliar sets, by several scores."""
    rows = kept("unfamiliar")
    flagged = {row["set"]: row["flagged"] for row in rows if row["flagged"]}
    sets = [name for name in flagged if name != "test"]
    lines = [
        [of, *(f"{100 * float(next(r for r in own if r['set'] == name)['AUROC']):.1f}" for name in sets)]
        for (of,), own in grouped([row for row in rows if row["AUROC"]], "score").items()
    ]
    shares = ["called unfamiliar", *(f"{100 * float(flagged[name]):.0f} %" for name in sets)]
    return markdown(["score", *sets], [*lines, shares])


def new_label() -> str:
    """AP of new labels from five examples each, over random samples of examples."""
    rows = kept("new-label")
    names = [key for key in rows[0] if key not in ("row", "seed", "draw", "mAP", "images", "image_size")]
    lines = [
        [
            f"`{row.removesuffix('-disc')}`" + (" with the loss" if row.endswith("-disc") else ""),
            figure(own, "mAP", 1),
        ]
        + [figure(own, name, 1, sd=False) for name in names]
        for (row,), own in grouped(rows, "row").items()
    ]
    return markdown(["head", "mean AP of the new labels", *names], lines)


def when(name: str) -> str:
    """Gain of each head over its uniform twin, by object size."""
    rows = [row for row in kept(name) if row["against"] == twin_of(row["row"]) and row["by"] != "labels"]
    gaps = {(row["row"], row["group"]): row for row in rows}
    heads, groups = (list(dict.fromkeys(row[key] for row in rows)) for key in ("row", "group"))
    head = ["object size, share of the image", *(group.replace("% to", " to") for group in groups)]
    counts = ["*positives*", *(f"{int(gaps[heads[0], group]['positives']):,}" for group in groups)]
    return markdown(head, [counts, *([shown(h), *(interval(gaps[h, g]) for g in groups)] for h in heads)])


def small() -> str:
    """The same heads by number of training images, on small and large maps."""
    columns: list[tuple[str, dict[tuple[str, ...], Rows]]] = []
    names: list[str] = []
    for places, few, whole_data in (
        ("7 × 7", "voc-small", "voc-methods"),
        ("14 × 14", "voc-small-448", "voc-methods-448"),
    ):
        rows = [{**row, "row": row["row"].replace(f"-{row['train']}", "")} for row in kept(few)]
        names += [row["row"] for row in rows]
        cells = grouped(rows + kept(whole_data), "train", "row")
        columns += [(f"{places}: {int(n):,}", cells) for n in ("200", "600", "1976")]
    lines = [
        [
            shown(name),
            *(figure(cells[title.split()[-1].replace(",", ""), name], "mAP") for title, cells in columns),
        ]
        for name in sorted(dict.fromkeys(names))
    ]
    return markdown(["test mAP by training images", *(title for title, _ in columns)], lines)


def backbones() -> str:
    """One checked model of each family of timm."""
    lines = []
    for row in kept("backbones"):
        other = row["other_size"].replace(", built for it", " (built)")
        side = f"{int(row['image_size']) // int(row['stride'])}" if row["stride"] else ""
        exports = [row[kind].partition(":")[0] for kind in ("onnx", "openvino")]
        result = row["result"] + (f": {row['reason']}" if row["reason"] else "")
        sizes = [row["image_size"], row["train_size"], other]
        lines.append([f"`{row['family']}`", f"`{row['model']}`", *sizes, side, result, *exports])
    head = ["family", "model", "image size", "in training", "a second size", "rows of the map", "result"]
    return markdown([*head, "ONNX", "OpenVINO"], lines)


def precision() -> str:
    """Graphs of a run in each precision: size, speed and what they lose."""
    lines = []
    rows = kept("precision")
    for row in (row for row in rows if row["split"] == "val"):
        same = [r for r in rows if r["image_size"] == row["image_size"] and r["engine"] == row["engine"]]
        test = next((100 * float(r["mAP"]) for r in same if r["split"] == "test"), None)
        base = next(
            r
            for r in rows
            if r["image_size"] == row["image_size"] and r["engine"] == "OpenVINO 2026.4.1 (cpu)"
        )
        speed = float(base["milliseconds_per_image"]) / float(row["milliseconds_per_image"])
        lines.append([
            row["image_size"],
            row["engine"],
            f"{float(row['megabytes']):.1f}",
            row["milliseconds_per_image"],
            f"{speed:.2f}",
            f"{100 * float(row['mAP']):.2f}",
            f"{100 * float(row['largest_loss_of_a_label']):.2f} (`{row['label']}`)",
            "yes" if row["passes"] == "True" else "refused",
            "" if test is None else f"{test:.2f}",
        ])  # fmt: skip
    head = ["px", "engine", "MB", "ms per image", "times as fast as OpenVINO in fp32", "val mAP"]
    return markdown([*head, "largest loss of a label, points of AP", "exported", "test mAP"], lines)


def builds() -> str:
    """Commands by this build and by an earlier one."""
    head = ["work", "engine or precision", "times as fast", "seconds before", "seconds", "difference"]
    keys = ("work", "engine", "times", "seconds_before", "seconds", "difference")
    return markdown(head, [[row[key] for key in keys] for row in kept("builds")])


def parity() -> str:
    """The largest difference of a probability of each method in each format and runtime."""
    columns = {
        "`onnx` in ONNX Runtime": ("onnx", "ONNX Runtime"),
        "in OpenVINO": ("onnx", "OpenVINO"),
        "`--tagger` in ONNX Runtime": ("tagger", "onnxruntime"),
        "in OpenVINO ": ("tagger", "openvino"),
        "`openvino`": ("openvino", ""),
        "`torch`": ("torch", ""),
        "`executorch`": ("executorch", ""),
        "`litert`": ("litert", ""),
        "`web` in Node": ("web", ""),
    }
    rows = kept("parity")

    def cell(method: str, kind: str, engine: str) -> str:
        row = next(
            (r for r in rows if r["method"] == method and r["format"] == kind and engine in r["engine"]), None
        )
        if row is None:
            return ""
        difference = float(row["max_probability_difference"] or 0)
        return "refused" if row["refused"] else f"{difference:.0e}" if difference else "0"

    methods = sorted({row["method"] for row in rows})
    measured = {name: where for name, where in columns.items() if any(cell(m, *where) for m in methods)}
    lines = [[f"`{method}`", *(cell(method, *where) for where in measured.values())] for method in methods]
    return markdown(["method", *map(str.strip, measured)], lines)


def triton() -> str:
    """Answers of a Triton server."""
    keys = ("protocol", "requests", "photographs")
    figures = ("largest_probability_difference", "decisions_that_differ", "largest_map_distance")
    head = [*keys, "largest difference of a probability", "other decisions", "largest distance of a map"]
    return markdown(head, [[row[key] for key in (*keys, *figures)] for row in kept("triton")])


def phones() -> str:
    """Exports for phones, a line per format, method and backbone."""
    lines = []
    for row in kept("phones"):
        difference, equal = "not computed", ""
        if row["refused"]:
            difference = f"refused: {row['refused']}"
        elif row["engine"]:
            difference = f"{float(row['max_probability_difference']):.1e}"
            equal = "yes" if row["decisions_equal"] == "True" else "**no**"
        names = [f"`{row[key]}`" for key in ("format", "method", "backbone")]
        lines.append([*names, row["megabytes"], difference, equal])
    head = ["format", "method", "backbone", "MB", "largest difference of a probability", "decisions equal"]
    return markdown(head, lines)


ATTRIBUTES = (
    ("mAP", "", "mAP over its uniform twin"),
    ("mAP", "baseline-mlp", "over the pooled MLP"),
    ("mAP", "stripes-mlp", "over the MLP of stripes"),
)
"""Columns of differences: the figure, the row compared with (empty for the uniform twin), the title."""
TUNED_ATTRIBUTES = (
    ("mA", "baseline-gap", "mA over the strong baseline"),
    ("F1_instance", "baseline-gap", "F1 over the strong baseline"),
    ("mAP", "baseline-gap", "mAP over the strong baseline"),
    ("mAP", "baseline-mlp", "mAP over the pooled MLP"),
)


def attributes(file: str, differences: tuple[tuple[str, str, str], ...]) -> str:
    """Heads on pedestrian attributes, best first, with differences to the controls."""
    rows = kept(file)
    cells = {(row["row"], row["against"], row["figure"]): row for row in rows}
    names = sorted(
        {row["row"] for row in rows if not row["row"].endswith("-uniform") and "-regions" not in row["row"]},
        key=lambda name: (-float(cells[name, "", "mAP"]["value"]), name),
    )

    def value(name: str, key: str) -> str:
        row = cells[name, "", key]
        low, high = (f"{100 * float(row[side]):.1f}" for side in ("low", "high"))
        return f"{100 * float(row['value']):.1f} [{low}, {high}]"

    def gap(name: str, figure: str, against: str) -> str:
        row = cells.get((name, against or twin_of(name), figure))
        return interval({**row, "difference": row["value"]}) if row else ""

    lines = [
        [
            NAMES.get(name, f"`{name}`"),
            *(value(name, key) for key in ("mAP", "mA", "tuned_mA", "F1_instance")),
            *(gap(name, figure, against) for figure, against, _ in differences),
            cells[name, "", "mAP"]["seeds"],
        ]
        for name in names
    ]
    titles = [title for *_, title in differences]
    return markdown(["head", "mAP", "mA at .5", "mA, tuned", "F1 over images", *titles, "seeds"], lines)


def partial_attributes() -> str:
    """Blending over its trunk on pedestrian attributes, by the known share."""
    cells = {(row["row"], row["against"], row["figure"]): row for row in kept("peta-partial")}
    lines = []
    for name in dict.fromkeys(row for row, _, _ in cells):
        method, _, share = name.partition("-known")
        figures = [f"{100 * float(cells[name, '', key]['value']):.1f}" for key in ("mAP", "mA", "tuned_mA")]
        trunk = f"ssgrl-known{share}"
        gaps = [cells.get((name, trunk, key)) for key in ("mAP", "mA", "tuned_mA")]
        over = [interval({**row, "difference": row["value"]}) if row else "" for row in gaps]
        lines.append([share, PARTIAL[method], *figures, *over, cells[name, "", "mAP"]["seeds"]])
    lines.sort(key=lambda line: (line[0], "dsrb" in line[1]))
    head = ["known", "head", "mAP", "mA at .5", "mA, tuned"]
    return markdown([*head, "mAP over its trunk", "mA", "mA, tuned", "seeds"], lines)


def attribute_corruption() -> str:
    """mAP of a pedestrian run by region of the body, and what each kind of corruption takes of it."""
    kinds = ("noise", "blur", "jpeg", "erasing", "low-resolution")
    lines = [
        [row["group"], *(f"{100 * float(row[key]):.1f}" for key in ("clean", *kinds))]
        for row in kept("peta-corruption")
    ]
    return markdown(["region", "mAP, clean", *(f"loss under {kind}" for kind in kinds)], lines)


def attribute_parts() -> str:
    """Figures of parts of the test images of pedestrians, with the widest gap of recall."""
    rows = kept("peta-parts")

    def value(row: dict[str, str], key: str) -> str:
        if not row[key]:
            return ""
        low, high = (f"{100 * float(row[f'{key}_{side}']):.1f}" for side in ("low", "high"))
        return f"{100 * float(row[key]):.1f} [{low}, {high}]"

    lines = []
    for row in rows:
        if row["part"] == "all" and lines:
            continue
        recalls = [f"{100 * float(row[key]):.0f}" for key in ("recall", "rest") if row["widest"]]
        lines.append(
            [
                row["part"],
                f"{int(row['images']):,}",
                f"{int(row['persons']):,}",
                *(value(row, key) for key in ("mA", "F1_instance", "label_recall", "gap")),
                f"{100 * float(row['ECE']):.1f}" if row["ECE"] else "",
                f"`{row['widest']}`, {' against '.join(recalls)}" if recalls else "",
            ]
        )
    head = ["part", "images", "persons", "mA", "F1 over images", "label recall", "gap to the rest", "ECE"]
    return markdown([*head, "widest gap of recall"], lines)


def body_regions() -> str:
    """The share of selected and true attributes whose evidence peaks in their part of the body, by head."""
    rows = kept("body-regions")
    every = [{**row, "row": row["run"].rpartition("-seed")[0]} for row in rows if row["attribute"] == "all"]
    every = [row for row in every if "-regions" not in row["row"]]
    keys = ("in_stripe", "mean_over_attributes", "chance")
    lines = [
        [shown(row), *(figure(own, key, 1, sd=False) for key in keys), str(len(own))]
        for (row,), own in grouped(every, "row").items()
    ]
    return markdown(["head", "in the part", "mean over attributes", "by chance", "runs"], lines)


def place_prior() -> str:
    """A head with and without regions: figures on pedestrian attributes, and the share of evidence in the part."""
    cells = {(row["row"], row["against"], row["figure"]): row for row in kept("peta-attributes")}
    evidence = [row for row in kept("body-regions") if row["attribute"] == "all"]
    lines = []
    for name in [name for name in REGIONS if (name, "", "mAP") in cells]:
        own = [row for row in evidence if row["run"].rpartition("-seed")[0] == name]
        figures = (cells[name, "", key] for key in ("mAP", "mA", "tuned_mA", "F1_instance"))
        gaps = (cells.get((name, "dlfl", key)) for key in ("mAP", "F1_instance"))
        lines.append(
            [
                REGIONS[name],
                *(f"{100 * float(row['value']):.1f}" for row in figures),
                *(interval({**row, "difference": row["value"]}) if row else "" for row in gaps),
                figure(own, "in_stripe", 1, sd=False) if own else "",
                cells[name, "", "mAP"]["seeds"],
            ]
        )
    head = ["regions", "mAP", "mA at .5", "mA, tuned", "F1 over images", "mAP over `dlfl`", "F1 over `dlfl`"]
    return markdown([*head, "in the part", "seeds"], lines)


def same_person() -> str:
    """Finding other pictures of a person by what is carried, by sub-dataset."""
    cells = {(row["feature"], row["subset"]): row for row in kept("same-person")}
    subsets = list(dict.fromkeys(subset for _, subset in cells))
    lines = []
    for feature in dict.fromkeys(feature for feature, _ in cells):
        own = [cells[feature, subset] for subset in subsets]
        over = [{**row, **{k: row[f"ap_over_whole{end}"] for k, end in ENDS.items()}} for row in own]
        shown = [f"{100 * float(row['ap']):.1f}" for row in own]
        compared = feature not in ("chance", "whole image")
        gaps = [f", {interval(row)}" if compared else "" for row in over]
        lines.append([feature, *(a + b for a, b in zip(shown, gaps, strict=True))])
    heads = [
        f"{s}, {cells['chance', s]['persons']} persons, {cells['chance', s]['questions']} questions"
        for s in subsets
    ]
    return markdown(["feature", *heads], lines)


def left_out() -> str:
    """What is lost on a sub-dataset that training has not seen, by region of the body."""
    rows = [row for row in kept("peta-left-out") if row["figure"] in ("mAP", "mA")]
    lines = []
    for (name, region), own in grouped(rows, "left_out", "region").items():
        cells = {row["figure"]: row for row in own}
        gaps = (interval({**cells[key], "difference": cells[key]["drop"]}) for key in ("mAP", "mA"))
        figures = (f"{100 * float(cells['mAP'][key]):.1f}" for key in ("seen", "unseen"))
        lines.append([SUBSETS[name], region, cells["mAP"]["labels"], *figures, *gaps])
    return markdown(
        ["left out", "region", "attributes", "mAP, seen", "mAP, not seen", "loss of mAP", "loss of mA"], lines
    )


def left_out_noticed() -> str:
    """How well familiarity tells the images of a sub-dataset from others, seen in training and not."""
    rows = [row for row in kept("peta-left-out") if row["figure"] == "AUROC"]
    lines = []
    for (name,), own in grouped(rows, "left_out").items():
        cells = {row["run"].startswith("without"): row for row in own}
        areas = (f"{float(cells[unseen]['value']):.3f}" for unseen in (False, True))
        called = (f"{100 * float(cells[unseen]['called']):.1f}" for unseen in (False, True))
        lines.append([SUBSETS[name], *areas, *called, f"{100 * float(cells[True]['others_called']):.1f}"])
    head = ["left out", "AUROC, seen", "AUROC, not seen", "called unfamiliar, seen", "not seen", "the others"]
    return markdown(head, lines)


def pedestrian_stream(file: str) -> str:
    """Strategies on a stream of pedestrians."""
    lines = []
    for (strategy, method), own in grouped(kept(file), "strategy", "method").items():
        keys = ("mAP", "OF1", "fitted_OF1", "forgetting_mAP", "forgetting_OF1")
        lines.append([f"`{strategy}`", f"`{method}`", *(figure(own, key, 1) for key in keys), str(len(own))])
    head = ["strategy", "head", "mAP", "OF1", "OF1, fitted threshold", "mAP forgotten", "OF1 forgotten"]
    return markdown([*head, "seeds"], lines)


def web() -> str:
    """Answers in a browser and in Node beside the run's."""
    head = ["where", "input", "photographs", "largest difference of a probability", "other decisions"]
    head += ["pixels: largest, mean difference", "ready", "first answer", "next answers"]
    head += ["processor, to the first answer", "load"]
    lines = []
    for row in kept("web"):
        pixels = row["largest_pixel_difference"]
        cells = [row[key] for key in ("where", "input", "photographs")]
        cells += [f"{float(row['largest_probability_difference']):.1e}", row["decisions_that_differ"]]
        cells += [f"{pixels}, {float(row['mean_pixel_difference']):.2f}" if pixels else "the same"]
        seconds = ("seconds_to_ready", "seconds_to_first_answer", "seconds_per_answer")
        processor = row["processor_seconds_to_first_answer"]
        cells += [f"{float(row[key]):.1f} s" for key in seconds]
        lines.append([*cells, f"{float(processor):.1f} s" if processor else "", row["load"]])
    return markdown(head, lines)


def decide() -> str:
    """Decisions in the graph against those of the run's predictor."""
    lines = [
        [
            f"`{row['method']}`, {row['decisions']}",
            f"`{row['format']}`, {row['engine']}",
            row["images"],
            f"{row['other_decisions']} of {int(row['cells']):,}",
            row["max_probability_difference"],
        ]
        for row in kept("decide")
    ]
    head = ("decisions", "graph", "photographs", "other decisions", "largest difference of a probability")
    return markdown(head, lines)


def kserve() -> str:
    """A public client over HTTP and gRPC."""
    rows = kept("kserve")
    head = [name for name in rows[0] if name not in ("client", "rounds")]
    return markdown(head, [[row[name] for name in head] for row in rows])


def overload() -> str:
    """Goodput of the server at and beyond its capacity, before and with refusal by time."""
    head = [
        "model",
        "refuses",
        "requests, of capacity",
        "capacity, images/s",
        "answered in time, of capacity",
    ]
    head += ["median answer", "median, 99 % of refusals", "without an answer"]
    sides = {
        ("export", "before"): "a full queue (64fdb6d)",
        ("run", "before"): "a full queue (01c7837)",
        ("export", "now"): "what would be late",
        ("run", "now"): "what would be late",
    }
    return markdown(
        head,
        [
            [
                row["model"],
                sides[row["model"], row["side"]],
                row["load"],
                row["capacity_per_second"],
                f"{float(row['share_of_capacity']):.2f}",
                f"{float(row['median_seconds']):.1f} s",
                f"{row['median_refusal_ms']}, {row['p99_refusal_ms']} ms" if row["median_refusal_ms"] else "",
                row["without_answer"],
            ]
            for row in kept("overload")
        ],
    )


def peers() -> str:
    """Training and prediction by other libraries, beside the row of Labelwise that does the same work."""
    lines = []
    for row in kept("peers"):
        version = "" if row["side"].startswith("Labelwise") else f" ({row['version']})"
        times = (row[f"ours_{key}"] for key in ("training", "prediction"))
        lines.append(
            [
                f"{row['side']}{version}",
                row["training_per_second"],
                row["seconds_to_model"],
                f"{float(row['peak_MiB']) / 1024:.1f}",
                row["prediction_per_second"],
                row["prediction_seconds"],
                *times,
            ]
        )
    head = ["", "training, images/s", "seconds to a model", "peak GiB", "prediction, images/s"]
    head += ["seconds to a table", "ours, times as fast in training", "in prediction"]
    return markdown(head, lines)


TABLES: dict[str, Callable[[], str]] = {
    "voc-methods": lambda: methods("voc-methods"),
    "voc-methods-448": lambda: methods("voc-methods-448"),
    "voc-finetuned": finetuned,
    "heads": short,
    "voc-partial": partial,
    "voc-when-448": lambda: when("voc-when-448"),
    "voc-small-448": small,
    "voc-parts": parts,
    "retrieval": retrieval,
    "new-label": new_label,
    "backbones": backbones,
    "precision": precision,
    "label-search": label_search,
    "collection-search": collection_search,
    "builds": builds,
    "parity": parity,
    "triton": triton,
    "phones": phones,
    "collection-stores": collection_stores,
    "box-search": box_search,
    "collection-page": collection_page,
    "teach": teach,
    "unfamiliar": unfamiliar,
    "peta-attributes": lambda: attributes("peta-attributes", ATTRIBUTES),
    "peta-attributes-mobilenetv2": lambda: attributes("peta-attributes-mobilenetv2", ATTRIBUTES),
    "peta-tuned": lambda: attributes("peta-tuned", TUNED_ATTRIBUTES),
    "peta-partial": partial_attributes,
    "peta-parts": attribute_parts,
    "body-regions": body_regions,
    "place-prior": place_prior,
    "peta-corruption": attribute_corruption,
    "peta-left-out": left_out,
    "same-person": same_person,
    "peta-left-out-noticed": left_out_noticed,
    "peta-stream": lambda: pedestrian_stream("continual-peta"),
    "peta-domains": lambda: pedestrian_stream("continual-peta-domains"),
    "web": web,
    "kinds-peta": lambda: kinds("peta"),
    "kinds-voc": lambda: kinds("voc"),
    "decide": decide,
    "kserve": kserve,
    "overload": overload,
    "peers": peers,
}


def page(written: str) -> str:
    """Return the page with regenerated tables."""
    return TABLE.sub(lambda m: m[1] + TABLES[m[2]]() + m[3], written)


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")
