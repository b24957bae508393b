"""From a study with ``compression`` to its runs: one for each run it is made of and each method. Imports no torch."""

import math
from collections.abc import Callable

import msgspec

from engine.distilling import TEACHER
from engine.errors import StudyError
from engine.families import families
from engine.i18n import tr
from engine.study import CompressionMethod, CompressionSpec, ResolvedTraining, RunSpec, Scalar, StudySpec, spec_hash

KIND = "compress"
UNSTRUCTURED, STRUCTURED = "prune-unstructured", "prune-structured"
PRUNING = frozenset({UNSTRUCTURED, STRUCTURED})
"""Methods that cut weights and train on what is left."""


def parent_study(study: StudySpec) -> StudySpec:
    """The study whose runs are compressed: under its own name, without the compression."""
    assert study.compression is not msgspec.UNSET
    return msgspec.structs.replace(study, name=study.compression.of or study.name, compression=msgspec.UNSET)


def compressed_runs(study: StudySpec, expand: Callable[[StudySpec], tuple[RunSpec, ...]]) -> tuple[RunSpec, ...]:
    """The runs of the study itself, where they are its own, and after them what is made of them.

    Raises:
        StudyError: the compression asks for something that cannot be; the message begins with the field.
    """
    compression = study.compression
    assert compression is not msgspec.UNSET
    _check(study, compression)
    parents = expand(parent_study(study))
    chosen = [
        run
        for run in parents
        if run.kind != TEACHER
        and (not compression.sizes or run.size in compression.sizes)
        and (not compression.seeds or run.seed in compression.seeds)
        and compression.variant.items() <= run.variant.items()
    ]
    if not chosen:
        raise StudyError(tr("compression: no run of the study has these sizes and seeds."))
    for index, method in enumerate(compression.methods):
        for family in {run.family for run in chosen} if method.method == STRUCTURED else ():
            if not families[family].has_units:
                raise StudyError(
                    tr(
                        "compression.methods[{index}]: models of the family {family} have no heads, hidden units or "
                        "channels that can be cut out.",
                        index=index,
                        family=family,
                    ),
                    tr("Prune single weights: prune-unstructured."),
                )
    children = [_child(study, parent, method) for method in compression.methods for parent in chosen]
    return (*(() if compression.of else parents), *children)


def _check(study: StudySpec, compression: CompressionSpec) -> None:
    if study.kind == "simulate":
        raise StudyError(tr("compression: a simulated study has no models to compress."))
    if study.forecast is not msgspec.UNSET:
        raise StudyError(
            tr("compression: a study with a forecast trains its largest sizes later and compresses nothing."),
            tr("Compress its runs when they are finished, as a study of their own."),
        )
    if compression.of == study.name:
        raise StudyError(
            tr("compression.of: {name!r} is this study itself.", name=study.name), tr("Leave it empty, or rename it.")
        )
    seen: set[str] = set()
    for index, method in enumerate(compression.methods):
        field = f"compression.methods[{index}]"
        if method.method in PRUNING and not 0 < method.amount < 1:
            raise StudyError(
                tr("{field}.amount: {amount:g} is not between 0 and 1.", field=field, amount=method.amount),
                tr("0.5 cuts half."),
            )
        key = repr(_variant(method))
        if key in seen:
            raise StudyError(tr("{field}: {method} is there twice.", field=field, method=method.method))
        seen.add(key)


def _variant(method: CompressionMethod) -> dict[str, Scalar]:
    """What tells the runs of one method from those of another: how much is cut, and what is not as usual."""
    found: dict[str, Scalar] = {"compression.method": method.method}
    if method.method in PRUNING:
        usual = CompressionMethod(method=method.method)
        for field in ("amount", "schedule", "fine_tune", "learning_rate"):
            value = getattr(method, field)
            if field == "amount" or value != getattr(usual, field):
                found[f"compression.{field}"] = value
    return found


def _child(study: StudySpec, parent: RunSpec, method: CompressionMethod) -> RunSpec:
    training = _training(parent.training, method)
    per_token = parent.compute_flops / parent.training.tokens
    return msgspec.structs.replace(
        parent,
        study=study.name,
        kind=KIND,
        variant={**parent.variant, **_variant(method)},
        compute_flops=per_token * training.tokens,
        training=training,
        parent=spec_hash(parent),
        compression=method,
    )


def _training(parent: ResolvedTraining, method: CompressionMethod) -> ResolvedTraining:
    """The parent's recipe at a lower rate, its parts scaled to the steps of the fine-tuning; none where none is."""
    share = method.fine_tune if method.method in PRUNING else 0.0
    n_steps = math.ceil(share * parent.n_steps)
    warmup = min(n_steps, math.ceil(share * parent.warmup_steps))
    return msgspec.structs.replace(
        parent,
        n_steps=n_steps,
        tokens=n_steps * parent.batch_size * parent.context,
        learning_rate=parent.learning_rate * method.learning_rate,
        warmup_steps=warmup,
        decay_steps=min(n_steps - warmup, math.ceil(share * parent.decay_steps)),
        eval_every=max(1, round(share * parent.eval_every)),
        # The best of a run that is cut while it trains would be the one before the last cut.
        keep_best=False,
        early_stopping_patience=0,
    )
