"""A finished study made of known numbers, for the figures to show."""

from pathlib import Path

import numpy as np

from engine.events import Evaluation, Facts, MetricBlock, Progress, RunState, StateChanged
from engine.store import Store, mutations
from engine.study import LadderSpec, ResolvedTraining, RunSpec, StudySpec, study_id

SIZES = (2_000, 4_600, 11_000, 26_000, 62_000, 150_000)
SEEDS = (0, 1)
OF_OTHER_STUDIES = {
    *("loss-surface", "isoflop", "optimum-vs-compute", "best-setting", "calibration"),
    *("compression", "distillation", "confusion-matrix", "reliability"),
}
"""Figures of studies of another kind than this ladder: each has a test file of its own."""
E, A, ALPHA = 1.6, 25.0, 0.35


def law_loss(size: float) -> float:
    """The loss that the made-up ladder lies around."""
    return float(E + A / size**ALPHA)


def make_study(store: Store, law: bool = True, title: str = "Scaling on text") -> str:
    """Store a study whose runs are finished; returns its id. The law is fitted to what was stored."""
    study = StudySpec(name="demo", title=title, model={}, data={}, ladder=LadderSpec(sizes=SIZES, seeds=SEEDS))
    values = dict.fromkeys(ResolvedTraining.__struct_fields__, 1)
    values |= {"optimizer": "adamw", "lr_rule": "mup", "schedule": "wsd", "keep_best": False}
    specs = [
        RunSpec(
            study="demo",
            kind="pretrain",
            family="gpt",
            family_version=1,
            shape={"d_model": 8},
            size=size,
            size_index=index,
            seed=seed,
            n_params=size + 9_000 + 4 * index,
            n_params_non_embedding=size,
            compute_flops=6.0 * size * 400_000,
            memory_bytes=1,
            source="python-text",
            source_version=1,
            data={},
            training=ResolvedTraining(**{**values, "n_steps": 800, "tokens": 400_000}),
        )
        for index, size in enumerate(SIZES)
        for seed in SEEDS
    ]
    ids = store.writer.call(lambda c: mutations.add_study(c, study, specs)).result(10)
    rng = np.random.default_rng(0)
    losses = []
    for run_id, spec in zip(ids, specs, strict=True):
        loss = law_loss(spec.size) * float(np.exp(rng.normal(0, 0.006)))
        losses.append(loss)
        _emit_run(store, run_id, spec, loss, rng)
    store.writer.flush(10)
    key = study_id(study)
    if law:
        from engine.analysis.laws import fit_ladder

        fit = fit_ladder([s.size for s in specs], losses, [s.seed for s in specs], n_bootstrap=200)
        document = fit.to_document() | {"convention": "non-embedding"}
        store.writer.call(lambda c: mutations.save_law(c, key, "power-law-n", document)).result(10)
    return key


def _emit_run(store: Store, run_id: int, spec: RunSpec, loss: float, rng: np.random.Generator) -> None:
    steps = np.arange(1, 801, dtype=np.int64)
    curve = loss + (5.5 - loss) * np.exp(-(steps**0.5) / 4) + rng.normal(0, 0.05, 800)
    accuracy = 1 / (1 + (30_000 / spec.size) ** 1.5)
    emit = store.writer.emit
    emit(StateChanged(run_id, RunState.RUNNING, 1.0))
    emit(Facts(run_id, {"device": "cpu", "data_fingerprint": "ab" * 32}))
    emit(MetricBlock(run_id, "train/loss", steps, curve))
    emit(Progress(run_id, 800, 800, 400_000, 20.0, 20_000.0))
    emit(Evaluation(run_id, "language-modelling", "loss", loss, 0.01, 4096, 5.55))
    emit(Evaluation(run_id, "language-modelling", "bits_per_byte", loss / 0.6931, 0.01, 4096, 8.0))
    emit(Evaluation(run_id, "copying", "exact_match", accuracy + float(rng.normal(0, 0.02)), 0.03, 200, 0.04))
    emit(StateChanged(run_id, RunState.FINISHED, 21.0))


def open_example(folder: Path) -> tuple[Store, str]:
    """A store in ``folder`` with the example in it."""
    store = Store.open(folder)
    return store, make_study(store)
