"""From opened data to a finished run: training, thresholds, evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from labelwise.composition import Method
from labelwise.data.dataset import Dataset
from labelwise.decisions import Decisions, Tuning, tune
from labelwise.engines.frozen_engine import engine_name, use_engine
from labelwise.evaluation.evaluate import Result, evaluate_model
from labelwise.evaluation.figures import decimals, main_figures, rare_left_out, without_ap
from labelwise.evaluation.frequency import COUNTS, Frequencies
from labelwise.evaluation.growth import TAKEN_OVER
from labelwise.memory import keep_freed_memory
from labelwise.rarity import FEWEST, format_rare, rare_labels
from labelwise.runs.config import Config
from labelwise.runs.disk import refuse_failing_disk
from labelwise.runs.files import write_json
from labelwise.runs.kept_decisions import kept_decisions, number_taken_over
from labelwise.runs.run import Run
from labelwise.runs.test_time import NONE
from labelwise.training.checkpoint import settle_state
from labelwise.training.choosing import cannot_judge, rows_to_choose_by
from labelwise.training.first_step import settle_format
from labelwise.training.grown import grow_from, never_selected
from labelwise.training.loaders import Loaders
from labelwise.training.loop import Trainer
from labelwise.training.opening import TrainingData
from labelwise.training.peers import watched_peers
from labelwise.training.priors import count_priors, word_vectors
from labelwise.training.probe import Probe
from labelwise.training.processes import make_accelerator
from labelwise.training.progress import ProgressBar
from labelwise.training.resuming import as_begun, claim, readable_failures, record_of
from labelwise.training.sizes import fitted
from labelwise.training.stopping import StopRequest
from labelwise.training.teaching import TaughtLoader, Teacher
from labelwise.training.unknown import keep_mask, method_of, record, shown_rows, unknown_loss, unknown_notes


def train_opened(
    opened: TrainingData, config: Config, out: Path, resume: bool, quiet: bool, stop: StopRequest
) -> Run:
    """Train on opened data; the other arguments are those of `labelwise.training.fit.train`.

    Raises:
        LabelwiseError: settings that do not fit the machine or the data, or a folder that holds another run.
        Stopped: after a request to stop, with the state saved.
    """
    with readable_failures(stop):
        return _train(opened, config, out, resume, quiet, stop)


def _train(
    opened: TrainingData, config: Config, out: Path, resume: bool, quiet: bool, stop: StopRequest
) -> Run:
    """Train from opened data to a finished run; every process of a distributed run calls it."""
    keep_freed_memory()
    accelerator = make_accelerator(config)
    is_first = accelerator.is_main_process
    watch = ProgressBar(quiet or not is_first)
    dataset, config = opened.dataset, fitted(config, watch.say)
    if resume and is_first:
        settle_state(out, watch.say)
    accelerator.wait_for_everyone()
    dataset = as_begun(dataset, out) if resume else dataset
    validation = rows_to_choose_by(dataset, config)
    rows = shown_rows(dataset.split("train"), config.data)
    requested = config.method
    config, vectors = _with_method(config, rows)
    teacher = Teacher.of(config.teacher, dataset.labels)
    if teacher is not None:
        config = config.model_copy(update={"teacher": teacher.settings})
    run, run_record = Run(out, config, dataset.labels), record_of(config, *_learned_splits(dataset))
    if is_first:
        claim(run, resume, run_record)
        run.save()
        run.settle_weights(watch.say)
    accelerator.wait_for_everyone()
    for line in (*opened.messages, *(f"note: {note}" for note in dataset.notes[len(opened.dataset.notes) :])):
        watch.say(line)
    method = _initial_method(run, rows, vectors)
    settle_format(method.model.backbone, config, accelerator.device, watch.say)
    if teacher is not None:
        teacher.teach(method, config.method)
    if requested != config.method:
        reason = f"{len(rows):,} training images, {rows.known.mean():.0%} of their labels known"
        watch.say(f"note: {reason}: method {config.method}")
    unlearned = never_selected(rows, config.init_from)
    doubts = (*_unlearned_warnings(config, unlearned, rows.labels.names), *cannot_judge(dataset, validation))
    teacher_notes = () if teacher is None else teacher.doubts(run_record["data"])
    for line in (*unknown_notes(config, rows), *doubts, *_rare_note(rows), *teacher_notes):
        watch.say(line)
    if is_first:
        keep_mask(run.path, rows, config.data)
        if unlearned:  # saved now, since a run without a validation split fits no decisions
            run.save_decisions(replace(Decisions.plain(run.labels), never=unlearned))
    use_engine(method.model.backbone, config, len(dataset), accelerator.device, watch.say)
    with watched_peers(), closing(Loaders(config, method.model.backbone, accelerator, watch)) as loaders:
        validate = (loaders.evaluation(validation), validation) if validation is not None else None
        examples = cache(lambda: loaders.evaluation(rows))
        loader = loaders.train(rows)
        if teacher is not None:
            processes = accelerator.num_processes
            outputs = teacher.answers(rows, accelerator.device, loaders.workers, watch.say, processes > 1)
            loader = TaughtLoader(loader, outputs)
        trainer_class = Probe if config.optim.name == "exact" else Trainer
        trainer = trainer_class(run, method, loader, rows, validate, accelerator, examples, stop, run_record)
        if resume:
            trainer.resume()
        watch.say(_start_message(dataset, trainer))
        with watch.over(trainer.steps):
            trainer.fit(watch)
        loaders.close()
        _finish(dataset, loaders, trainer, watch, opened.overlaps)
    trainer.journal.close()
    return run


def settings_to_train(opened: TrainingData, config: Config) -> Config:
    """The settings with which a training on these data would begin: sizes, method and word vectors are decided."""
    config = fitted(config, lambda line: None)
    return _with_method(config, shown_rows(opened.dataset.split("train"), config.data))[0]


def _with_method(config: Config, rows: Dataset) -> tuple[Config, torch.Tensor | None]:
    """Settings with the method and the word vectors of the training rows, and those vectors if there are any."""
    return word_vectors(config.model_copy(update={"method": method_of(config, rows)}), rows.labels)


def _learned_splits(dataset: Dataset) -> list[Dataset]:
    """The training rows, and the validation rows if there are any."""
    return [dataset.split(name) for name in ("train", "val") if dataset.splits().get(name)]


def _initial_method(run: Run, rows: Dataset, vectors: torch.Tensor | None) -> Method:
    """The method before its first step, with priors of the training rows and the weights of `init_from`."""
    config = run.config
    torch.manual_seed(config.seed)
    priors = count_priors(rows.values, rows.known, vectors, config.vectors.missing)
    method = run.build("none" if config.init_from else None, priors)
    if config.init_from:
        grow_from(config.init_from, config, method, priors)
    run.with_views(method.model)  # raises now, not after training, if the sizes of views do not fit
    method.unknown = unknown_loss(config, rows, method.criterion)
    return method


def _unlearned_warnings(config: Config, unlearned: Sequence[int], names: Sequence[str]) -> Iterator[str]:
    """Warnings about labels without word vectors or without positives."""
    if config.vectors.missing:
        yield f"warning: no word vector, so it is learned: {', '.join(config.vectors.missing[:10])}"
    if unlearned:
        listed = ", ".join(names[j] for j in unlearned[:10]) + (", ..." if len(unlearned) > 10 else "")
        yield f"warning: no positive in the training split, so it cannot be learned: {listed}; never selected"


def _rare_note(rows: Dataset) -> Iterator[str]:
    """A note on the labels with few positives to learn from; those without any have a warning."""
    positives = zip(rows.labels.names, rows.positive.sum(0).tolist(), strict=True)
    rare = rare_labels({name: count for name, count in positives if count})
    if rare:
        yield f"note: rare labels in train, fewer than {FEWEST} positives: {format_rare(rare)}"


def _finish(
    dataset: Dataset,
    loaders: Loaders,
    trainer: Trainer,
    watch: ProgressBar,
    overlaps: Mapping[str, dict[str, Any]],
) -> None:
    """Reload the saved weights, fit decisions on validation, evaluate each split, and write the results."""
    run, accelerator = trainer.run, trainer.accelerator
    model = run.model().to(accelerator.device)
    backbone = trainer.method.model.backbone
    if not (run.config.backbone.freeze and run.config.test_time == NONE):  # else stored maps are evaluated
        backbone = model.backbone
        images = sum(dataset.splits().get(split, 0) for split in ("val", "test"))
        use_engine(backbone, run.config, images, accelerator.device, watch.say, views=True)
    splits: dict[str, Any] = {}
    frequencies = Frequencies(trainer.dataset.positive.sum(0), run.config.frequency_bounds)
    taken_over = number_taken_over(run.config.init_from, run.labels)
    for split in ("val", "test"):
        if not dataset.splits().get(split):
            continue
        rows = dataset.split(split)
        loader = loaders.evaluation(rows, test_time=True)
        result = evaluate_model(
            run,
            rows,
            loader,
            model,
            accelerator.device,
            split,
            frequencies=frequencies,
            taken_over=taken_over,
            engine=engine_name(backbone),
        )
        refuse_failing_disk(result.scores.unreadable)
        result = replace(result, conditions={**result.conditions, **overlaps[split]})
        loaders.close()
        if split == "val":
            tuning = _decide(run, result, rows, accelerator, watch)
            result = result.again(run, tuning)
        splits[split] = result.to_json()
        trainer.journal.judged(trainer.progress, split, result.metrics)
        if accelerator.is_main_process:
            result.scores.save(run.path / "scores" / f"{split}.npz", rows)
        watch.say(_split_line(split, result))
        for sentence in filter(None, (without_ap(result.metrics), rare_left_out(result.metrics))):
            watch.say(f"{split}: {sentence}")
        if growth := result.metrics.get("growth"):
            parts = (
                f"{figures['labels']:.0f} {name} {decimals(figures['mAP'])}"
                for name, figures in growth.items()
            )
            watch.say(f"{split}: mAP of the labels, {', '.join(parts)}")
    if accelerator.is_main_process:
        chosen_on = "nothing; the last epoch" if trainer.validate is None else "val mAP"
        training = {**_training_record(trainer, chosen_on), COUNTS: frequencies.named(run.labels.names)}
        if taken_over:
            training[TAKEN_OVER] = taken_over
        results = {"format": 1, "splits": splits, "training": training}
        write_json(run.path / "results.json", results)
    accelerator.wait_for_everyone()


def _training_record(trainer: Trainer, chosen_on: str) -> dict[str, Any]:
    """The entry of results about the training."""
    progress, config = trainer.progress, trainer.config
    images_seen = progress.epoch * trainer.loader.steps_per_epoch * config.batch_size
    return {
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "chosen_on": chosen_on,
        "images": len(trainer.dataset),
        **record(config, trainer.dataset),
        **({"teacher": config.teacher.model_dump(mode="json")} if config.teacher.run else {}),
        "steps": progress.step,
        "skipped_steps": progress.skipped,
        "seconds": round(progress.seconds, 1),
        "images_per_second": round(images_seen / max(1e-9, progress.seconds), 1),
        "device": str(trainer.accelerator.device),
        "processes": trainer.accelerator.num_processes,
        "threads": torch.get_num_threads(),
        "trained_parameters": sum(p.numel() for p in trainer.method.parameters() if p.requires_grad),
    }


def _decide(run: Run, result: Result, rows: Dataset, accelerator: Accelerator, watch: ProgressBar) -> Tuning:
    """Fit calibration and thresholds on the validation split and store them."""
    s = result.scores
    never = run.decisions().never
    kept = kept_decisions(run.config.init_from, run.labels)
    tuning = tune(
        s.logits, s.hard, s.known, run.labels, source=f"val of {rows.source}", never=never, kept=kept
    )
    if accelerator.is_main_process:
        run.save_decisions(tuning.decisions)
    accelerator.wait_for_everyone()
    if tuning.warning:
        watch.say(tuning.warning)
    if kept is not None:
        watch.say(
            f"note: thresholds and calibration of {len(kept.columns)} labels are those of {run.config.init_from}; "
            f"to fit them again: labelwise tune {run.path}"
        )
    return tuning


def _start_message(dataset: Dataset, trainer: Trainer) -> str:
    """The line before the first step: method, backbone, data and steps."""
    config, processes = trainer.config, trainer.accelerator.num_processes
    splits = ", ".join(f"{name} {count:,}" for name, count in dataset.splits().items())
    frozen = ", frozen" if config.backbone.freeze else ""
    where = f" on {processes} processes" if processes > 1 else ""
    return (
        f"{config.method} on {config.backbone.name} ({config.backbone.weights}{frozen}), {config.image_size} px; "
        f"{len(dataset.labels)} labels; {splits}; {config.epochs} epochs of {trainer.steps_per_epoch} steps{where}"
    )


def _split_line(split: str, result: Result) -> str:
    """The line about the result of a split."""
    metrics = result.metrics
    parts = [f"{split}: mAP {decimals(metrics['mAP'])}", *main_figures(metrics, result.conditions)]
    parts += [f"pointing {decimals(metrics['pointing'], 3)}"] if "pointing" in metrics else []
    return "  ".join([*parts, f"({len(result.scores.rows):,} images)"])
