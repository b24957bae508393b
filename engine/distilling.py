"""From a study with ``distillation`` to its runs: its own, teachers of another recipe, then the taught. No torch."""

from collections.abc import Callable, Sequence

import msgspec

from engine.errors import StudyError
from engine.families import families
from engine.i18n import tr
from engine.study import (
    LARGEST,
    Distillation,
    DistillationSpec,
    RunSpec,
    Scalar,
    StudySpec,
    load_study,
    spec_hash,
)

KIND, TEACHER = "distil", "teacher"
FIELD = "distillation.teacher"
"""What a taught run varies, as its ``variant`` names it."""
HASH_LENGTH = 64
FORWARD_SHARE = 1 / 3
"""A forward pass over forward and backward together."""
BYTES_PER_WEIGHT = 4

Expand = Callable[[StudySpec], tuple[RunSpec, ...]]
With = Callable[[StudySpec, dict[str, Scalar]], StudySpec]


def distilled_runs(study: StudySpec, expand: Expand, changed: With) -> tuple[RunSpec, ...]:
    """The ladder, teachers where they are not of it, and each smaller size again with its teacher as parent.

    Raises:
        StudyError: the distillation asks for something that cannot be; the message begins with the field.
    """
    distillation = study.distillation
    assert distillation is not msgspec.UNSET
    _check(study, distillation)
    alone = expand(msgspec.structs.replace(study, distillation=msgspec.UNSET))
    largest = max(run.size_index for run in alone)
    if not largest:
        raise StudyError(
            tr("distillation: a ladder of one size has no smaller model to teach."), tr("Give it two sizes or more.")
        )
    students = [run for run in alone if run.size_index < largest]
    _refuse_others(students[0])
    if is_hash(distillation.teacher):
        return (*alone, *(_taught(run, distillation, distillation.teacher) for run in students))
    teachers, added = _teachers(study, distillation, alone, expand, changed)
    taught = []
    for run in students:
        teacher = _teacher_of(run, teachers)
        _compare(run, teacher)
        taught.append(_taught(run, distillation, spec_hash(teacher), teacher))
    return (*alone, *added, *taught)


def is_hash(text: str) -> bool:
    """Whether it can be the ``spec_hash`` of a run."""
    return len(text) == HASH_LENGTH and set(text) <= set("0123456789abcdef")


def _check(study: StudySpec, distillation: DistillationSpec) -> None:
    if study.kind != "pretrain":
        raise StudyError(tr("distillation: only models that are trained from the start are taught."))
    if study.forecast is not msgspec.UNSET:
        raise StudyError(
            tr("distillation: a study with a forecast trains its largest sizes later and teaches nothing."),
            tr("Leave out one of the two."),
        )
    if distillation.teacher_with and distillation.teacher != LARGEST:
        raise StudyError(tr("distillation.teacher_with: it changes the teacher that is the largest, and no other."))


def _refuse_others(run: RunSpec) -> None:
    if not families[run.family].n_choices(run.shape):
        raise StudyError(
            tr(
                "distillation: {family} chooses among no classes or tokens here, so there is nothing to match.",
                family=run.family,
            ),
            tr("Take a classifier or a language model."),
        )


def _teachers(
    study: StudySpec, distillation: DistillationSpec, alone: Sequence[RunSpec], expand: Expand, changed: With
) -> tuple[list[RunSpec], list[RunSpec]]:
    """Who may teach, and those of them that this study trains for it."""
    if distillation.teacher != LARGEST:
        runs = expand(load_study(distillation.teacher))
        return [run for run in runs if run.kind == "pretrain" and run.size_index == _last(runs)], []
    if not distillation.teacher_with:
        return [run for run in alone if run.size_index == _last(alone)], []
    fields = distillation.teacher_with
    plain = msgspec.structs.replace(study, distillation=msgspec.UNSET)
    ladder = msgspec.structs.replace(study.ladder, sizes=(max(study.ladder.sizes),))
    made = [
        msgspec.structs.replace(run, kind=TEACHER, size_index=_last(alone), variant={**run.variant, **fields})
        for run in expand(changed(msgspec.structs.replace(plain, ladder=ladder), fields))
    ]
    return made, made


def _last(runs: Sequence[RunSpec]) -> int:
    return max(run.size_index for run in runs)


def _teacher_of(run: RunSpec, teachers: Sequence[RunSpec]) -> RunSpec:
    """The one of the same seed and variant, where there is one, else the nearest to it."""

    def away(teacher: RunSpec) -> tuple[int, bool]:
        differs = sum(teacher.variant.get(field) != value for field, value in run.variant.items())
        return differs, teacher.seed != run.seed

    return min(teachers, key=away)


def _compare(run: RunSpec, teacher: RunSpec) -> None:
    """Raise ``StudyError`` where the two choose among different things, or the teacher reads less at once."""
    ours, theirs = (families[r.family].n_choices(r.shape) for r in (run, teacher))
    if run.source != teacher.source or ours != theirs:
        raise StudyError(
            tr(
                "distillation.teacher: it chooses among {theirs} of {other}, its students among {ours} of {source}.",
                theirs=theirs,
                other=teacher.source,
                ours=ours,
                source=run.source,
            ),
            tr("Take a teacher of the same data."),
        )
    if teacher.training.context < run.training.context:
        raise StudyError(
            tr(
                "distillation.teacher: it reads {theirs} tokens at once, its students {ours}.",
                theirs=teacher.training.context,
                ours=run.training.context,
            )
        )


def _taught(run: RunSpec, distillation: DistillationSpec, parent: str, teacher: RunSpec | None = None) -> RunSpec:
    """A run again, taught; what its teacher computes counts as its own where it is known."""
    flops, memory = run.compute_flops, run.memory_bytes
    if teacher is not None:
        per_token = teacher.compute_flops / teacher.training.tokens
        flops += FORWARD_SHARE * per_token * run.training.tokens
        memory += BYTES_PER_WEIGHT * teacher.n_params
    name = distillation.teacher[:8] if is_hash(distillation.teacher) else distillation.teacher
    return msgspec.structs.replace(
        run,
        kind=KIND,
        variant={**run.variant, FIELD: name},
        compute_flops=flops,
        memory_bytes=memory,
        parent=parent,
        distillation=Distillation(
            temperature=distillation.temperature,
            weight=distillation.weight,
            hidden_weight=distillation.hidden_weight,
        ),
    )
