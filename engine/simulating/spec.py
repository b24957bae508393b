"""What a simulated study is made of: the true law under ``model``, the ladder that is drawn from it under ``data``."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from engine.errors import StudyError
from engine.i18n import mark, tr
from engine.study import (
    Fraction,
    Positive,
    PositiveFloat,
    ResolvedTraining,
    RunSpec,
    StudySpec,
    TableSpec,
    convert,
)

KIND = "simulate"
FAMILY, SOURCE = "chinchilla", "simulated"
CAPABILITY = "interval-coverage"
BYTES = 64 * 2**20
"""What fitting a few hundred points takes; measured."""
METRICS: Mapping[str, str] = {
    "alpha": mark("Truth of alpha inside its interval"),
    "beta": mark("Truth of beta inside its interval"),
    "E": mark("Truth of E inside its interval"),
    "optimum": mark("True exponent of the optimal size inside its interval"),
    "forecast": mark("True loss at ten times the largest size inside its interval"),
    "alpha_width": mark("Width of the interval of alpha"),
    "forecast_error": mark("Error of the forecast at ten times the largest size"),
}


class LawTable(TableSpec, frozen=True, kw_only=True):
    """The law that is true: L = E + A / N^alpha + B / D^beta. Its numbers are near Besiroglu 2024."""

    E: PositiveFloat = 1.8
    A: PositiveFloat = 480.0
    alpha: PositiveFloat = 0.35
    B: PositiveFloat = 2100.0
    beta: PositiveFloat = 0.37


class LadderTable(TableSpec, frozen=True, kw_only=True):
    """The ladder that is drawn. ``ladder.sizes`` are its largest models; ``training.steps`` how many are drawn."""

    smallest: Positive = 50_000_000
    n_sizes: Annotated[int, msgspec.Meta(ge=3, le=1000)] = 8
    fewest_tokens_per_param: PositiveFloat = 5.0
    most_tokens_per_param: PositiveFloat = 80.0
    n_budgets: Annotated[int, msgspec.Meta(ge=2, le=1000)] = 5
    noise: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.005
    """Standard deviation of ln L."""
    level: Fraction = 0.9
    resamples: Annotated[int, msgspec.Meta(ge=20, le=100_000)] = 200


def expand_simulated(study: StudySpec) -> tuple[RunSpec, ...]:
    """The runs of a simulated study: sizes ascending, then seeds.

    Raises:
        StudyError: a field is wrong or not there in such a study; the message begins with the field.
    """
    for key, table, wanted in (("family", study.model, FAMILY), ("source", study.data, SOURCE)):
        if table.get(key) != wanted:
            part = "model" if key == "family" else "data"
            raise StudyError(
                tr("{field}: a simulated study has {wanted!r} here.", field=f"{part}.{key}", wanted=wanted)
            )
    law = convert({k: v for k, v in study.model.items() if k != "family"}, LawTable, "model")
    ladder = convert({k: v for k, v in study.data.items() if k != "source"}, LadderTable, "data")
    if study.ladder.vary:
        raise StudyError(tr("ladder.vary: a simulated study varies sizes and seeds only."))
    if study.training.steps is None:
        raise StudyError(tr("training.steps: a simulated study says here how many ladders are drawn."))
    small = [size for size in study.ladder.sizes if size <= ladder.smallest]
    if small:
        raise StudyError(
            tr(
                "ladder.sizes: {size:,} is not above data.smallest, {smallest:,}.",
                size=small[0],
                smallest=ladder.smallest,
            )
        )
    training = _training(study, study.training.steps)
    return tuple(
        RunSpec(
            study=study.name,
            kind=KIND,
            family=FAMILY,
            family_version=1,
            shape=msgspec.to_builtins(law),
            size=size,
            size_index=index,
            seed=seed,
            n_params=size,
            n_params_non_embedding=size,
            compute_flops=0.0,
            memory_bytes=BYTES,
            source=SOURCE,
            source_version=1,
            data=msgspec.to_builtins(ladder),
            training=training,
            execution=study.execution,
        )
        for index, size in enumerate(sorted(study.ladder.sizes))
        for seed in study.ladder.seeds
    )


def _training(study: StudySpec, n_sets: int) -> ResolvedTraining:
    """Nothing is trained: steps are the ladders drawn, and there are no tokens."""
    kept = {f: getattr(study.training, f) for f in ResolvedTraining.__struct_fields__ if hasattr(study.training, f)}
    kept |= {"tokens": 0, "micro_batch_size": 1, "eval_every": n_sets}
    return ResolvedTraining(**kept, n_steps=n_sets, warmup_steps=0, decay_steps=0)
