"""From a study to its runs: a pure function, so that the app previews exactly what will run."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import msgspec

from engine.capabilities import capabilities
from engine.compressing import compressed_runs
from engine.distilling import distilled_runs
from engine.errors import InputError, StudyError
from engine.families import families
from engine.families.base import MODALITIES, Counts, DataShape, Family
from engine.i18n import tr
from engine.simulating.spec import expand_simulated
from engine.sources import sources
from engine.sources.base import Source
from engine.study import (
    CapabilityUse,
    ResolvedTraining,
    RunSpec,
    Scalar,
    StudySpec,
    TableSpec,
    TrainingSpec,
    convert,
    parse_study,
    refuse_imported,
)

BYTES_PER_PARAM = 16
"""Float32 weight, gradient and the two moments of AdamW."""
VARIABLE_TABLES = ("model", "data", "training")
"""Parts of a study that ``ladder.vary`` may reach into."""


def expand(study: StudySpec) -> tuple[RunSpec, ...]:
    """Every run of a study, fully resolved: sizes ascending, then variants, then seeds, then what is made of them.

    Raises:
        StudyError: a family, source or capability field is wrong; the message begins with the field.
    """
    if study.compression is not msgspec.UNSET:
        return compressed_runs(study, expand)
    if study.distillation is not msgspec.UNSET:
        return distilled_runs(study, expand, _with)
    refuse_imported(study)
    _check_ladder(study)
    if study.kind == "simulate":
        return expand_simulated(study)
    variants = [(chosen, _vary(study, chosen)) for chosen in _combinations(study.ladder.vary)]
    ladders = [_sizes(varied) for _, varied in variants]
    runs: list[RunSpec] = []
    previous: dict[int, dict[str, Scalar]] = {}
    for index in range(max(map(len, ladders))):
        for number, ((chosen, varied), sizes) in enumerate(zip(variants, ladders, strict=True)):
            if index >= len(sizes):
                continue
            size = sizes[index]
            cell = _resolve_cell(varied, size, index, chosen)
            if previous.get(number) == cell.shape:
                raise StudyError(
                    tr(
                        "ladder.sizes[{index}]: {size:,} gives the same model as {other:,}.",
                        index=study.ladder.sizes.index(size),
                        size=size,
                        other=sizes[index - 1],
                    ),
                    tr("Take sizes further apart."),
                )
            previous[number] = cell.shape
            runs += [msgspec.structs.replace(cell, seed=seed) for seed in study.ladder.seeds]
    return tuple(runs)


def _with(study: StudySpec, fields: dict[str, Scalar]) -> StudySpec:
    """The study with fields of its model, data or training changed; raises ``StudyError`` for any other."""
    for field in fields:
        _check_variable(field)
    return _vary(study, fields)


def _sizes(study: StudySpec) -> list[int]:
    """The sizes of a study, smallest first: those of models that are there already, else what the ladder says."""
    family = model_family(study)
    own = family.own_sizes(_table(study.model, "family", family.Spec, "model"))
    return list(own) or sorted(study.ladder.sizes)


def model_family(study: StudySpec) -> Family:
    """The family a study trains; raises ``StudyError`` naming ``model.family``."""
    try:
        return families[_named(study.model, "model", "family")]
    except StudyError:
        raise
    except InputError as error:
        raise StudyError(f"model.family: {error.message}", error.remedy) from None


def data_source(study: StudySpec) -> Source:
    """The source a study reads; raises ``StudyError`` naming ``data.source``."""
    try:
        return sources[_named(study.data, "data", "source")]
    except StudyError:
        raise
    except InputError as error:
        raise StudyError(f"data.source: {error.message}", error.remedy) from None


def data_spec(study: StudySpec) -> TableSpec:
    """The source's own Spec, from the study's ``data`` table."""
    source = data_source(study)
    return _table(study.data, "source", source.Spec, "data")


def _named(table: dict[str, Scalar], part: str, key: str) -> str:
    name = table.get(key)
    if not isinstance(name, str):
        raise StudyError(tr("{field}: missing, expected the name of a {what}.", field=f"{part}.{key}", what=tr(key)))
    return name


def _table(table: dict[str, Scalar], key: str, kind: type[TableSpec], prefix: str) -> TableSpec:
    spec: TableSpec = convert({k: v for k, v in table.items() if k != key}, kind, prefix)
    return spec


def _check_ladder(study: StudySpec) -> None:
    for name, values in (("sizes", study.ladder.sizes), ("seeds", study.ladder.seeds)):
        seen: set[int] = set()
        for index, value in enumerate(values):
            if value in seen:
                raise StudyError(
                    tr("ladder.{name}[{index}]: {value} is there twice.", name=name, index=index, value=value)
                )
            seen.add(value)
    for index, use in enumerate(study.capabilities):
        _check_capability(use, f"capabilities[{index}]")


def _check_capability(use: CapabilityUse, field: str) -> None:
    try:
        capability = capabilities[use.name]
    except InputError as error:
        raise StudyError(f"{field}.name: {error.message}", error.remedy) from None
    convert(use.options, capability.Spec, f"{field}.options")


def _check_variable(field: str) -> None:
    if field.partition(".")[0] not in VARIABLE_TABLES or "." not in field:
        raise StudyError(
            tr("ladder.vary: {field!r} cannot be varied.", field=field),
            tr("Name a field of model, data or training, such as training.learning_rate."),
        )


def _combinations(vary: dict[str, tuple[Scalar, ...]]) -> Iterator[dict[str, Scalar]]:
    for field, values in vary.items():
        _check_variable(field)
        if not values:
            raise StudyError(tr("ladder.vary.{field}: give at least one value.", field=field))
    for values in itertools.product(*vary.values()):
        yield dict(zip(vary, values, strict=True))


def _vary(study: StudySpec, chosen: dict[str, Scalar]) -> StudySpec:
    if not chosen:
        return study
    table: dict[str, Any] = msgspec.to_builtins(study)
    return parse_study(table, [f"{k}={_toml(v)}" for k, v in chosen.items()])


def _toml(value: Scalar) -> str:
    return msgspec.json.encode(value).decode()  # JSON scalars are TOML scalars


def _resolve_cell(study: StudySpec, size: int, index: int, variant: dict[str, Scalar]) -> RunSpec:
    family, source = model_family(study), data_source(study)
    model = _table(study.model, "family", family.Spec, "model")
    data = family.fit_data(model, size, data_spec(study))
    shape_of_data = source.shape(data)
    _check_modality(family, source, shape_of_data)
    if study.kind != family.kind:
        raise StudyError(
            tr("kind: the family {family} is for studies of the kind {kind}.", family=family.name, kind=family.kind)
        )
    training = study.training
    if shape_of_data.fixed_context:
        training = msgspec.structs.replace(training, context=shape_of_data.fixed_context)
    _check_context(source, shape_of_data, training.context)
    shape = dict(family.resolve(model, size, shape_of_data, training.context))
    counts = family.counts(shape, training.context)
    resolved = resolve_training(training, counts, shape_of_data.n_train_items, shape_of_data.about_train_items)
    return RunSpec(
        study=study.name,
        kind=study.kind,
        family=family.name,
        family_version=family.version,
        shape=shape,
        size=size,
        size_index=index,
        seed=study.ladder.seeds[0],
        variant=variant,
        n_params=counts.n_params,
        n_params_non_embedding=counts.n_params_non_embedding,
        compute_flops=counts.flops_per_token * resolved.tokens,
        memory_bytes=memory_bytes(counts, resolved),
        source=source.name,
        source_version=source.version,
        data={k: v for k, v in msgspec.to_builtins(data).items() if v is not None},
        training=resolved,
        capabilities=study.capabilities,
        execution=study.execution,
    )


def _check_modality(family: Family, source: Source, data: DataShape) -> None:
    if data.modality not in family.modalities:
        raise StudyError(
            tr(
                "model.family: {family} cannot learn from {source}, which yields {modality}.",
                family=family.name,
                source=source.name,
                modality=tr(MODALITIES[data.modality]),
            )
        )


def _check_context(source: Source, data: DataShape, context: int) -> None:
    if context < data.min_context:
        raise StudyError(
            tr(
                "training.context: one item of {source} takes {needed} tokens, and {context} are given.",
                source=source.name,
                needed=data.min_context,
                context=context,
            )
        )


def memory_bytes(counts: Counts, training: ResolvedTraining) -> int:
    """Bytes of weights, gradients, optimizer state and of what the backward pass of one micro-batch keeps."""
    activations = counts.activation_bytes_per_token * training.micro_batch_size * training.context
    return int(counts.n_params * BYTES_PER_PARAM + activations)


def resolve_training(
    training: TrainingSpec, counts: Counts, n_train_items: int = 0, about_train_items: int = 0
) -> ResolvedTraining:
    """Fill in batch, steps, warm-up, decay and how often to evaluate for a model of this size."""
    per_epoch = n_train_items or about_train_items
    batch = training.batch_size or n_train_items
    if not batch:
        raise StudyError(tr("training.batch_size: 0 means every training item, and this source does not list them."))
    micro = training.micro_batch_size or batch
    if batch % micro:
        raise StudyError(tr("training.micro_batch_size: {micro} does not divide batch_size.", micro=micro))
    per_step = batch * training.context
    if training.steps is not None:
        n_steps = training.steps
    elif training.epochs is not msgspec.UNSET:
        if not per_epoch:
            raise StudyError(tr("training.epochs: this source does not list its training items; give steps instead."))
        n_steps = math.ceil(training.epochs * math.ceil(per_epoch / batch))
    elif training.tokens is not None:
        n_steps = math.ceil(training.tokens / per_step)
    else:
        assert training.tokens_per_param is not None
        n_steps = math.ceil(training.tokens_per_param * counts.n_params_non_embedding / per_step)
    warmup = math.ceil(training.warmup_fraction * n_steps)
    decay = {"wsd": math.ceil(training.decay_fraction * n_steps), "cosine": n_steps - warmup, "constant": 0}
    if training.warmup_fraction + training.decay_fraction <= 1.0:
        decay["wsd"] = min(decay["wsd"], n_steps - warmup)  # both are rounded up
    if warmup + decay[training.schedule] > n_steps:
        raise StudyError(tr("training.decay_fraction: warm-up and decay take more than the whole run."))
    kept = {f: getattr(training, f) for f in ResolvedTraining.__struct_fields__ if hasattr(training, f)}
    kept |= {
        "batch_size": batch,
        "micro_batch_size": micro,
        "tokens": n_steps * per_step,
        "eval_every": max(1, round(training.eval_every_fraction * n_steps)),
    }
    return ResolvedTraining(**kept, n_steps=n_steps, warmup_steps=warmup, decay_steps=decay[training.schedule])
