"""One run that learns beside its teacher: equal to its twin trained alone in all but what it is told to match."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from engine.adapting.distillation.losses import hidden_loss, taught_loss
from engine.errors import TrainingError
from engine.families import families
from engine.families.base import Asked, ParamGroup, build_for
from engine.i18n import tr
from engine.sources.base import TokenisedText
from engine.study import Distillation, RunSpec
from engine.training import checkpoint as ck
from engine.training.evaluate import evaluating
from engine.training.loop import Trainee
from engine.training.optim import Optimizer
from engine.training.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from engine.families.base import Family
    from engine.sources.base import Prepared

INTO = "into_teacher"
"""The map from the student's states to the teacher's: a tensor of the student while it learns, and of no file but its
checkpoints."""
MAP_SEED = 0xD157


class DistilSession(Session):
    """The session of a student. What is drawn by chance, its first weights and batches are those of its twin."""

    _teacher: nn.Module | None = None

    @property
    def settings(self) -> Distillation:
        """Temperature and weights."""
        assert self.spec.distillation is not None
        assert isinstance(self.spec.distillation, Distillation)
        return self.spec.distillation

    def trainee(self, prepared: "Prepared", *, compiled: bool = True) -> Trainee:
        """As any run's, once its teacher is at hand."""
        spec, folder = self._parent()
        _check(self.family, self.spec, spec, folder, prepared)
        teacher = build_for(families[spec.family], spec)
        ck.load_weights(teacher, folder / ck.WEIGHTS)
        self._taught_by = families[spec.family]
        self._teacher = teacher.requires_grad_(False).eval().to(self.placement.device)
        return super().trainee(prepared, compiled=compiled)

    def _parent(self) -> "tuple[RunSpec, Path]":
        parent = self.task.parent
        if parent is None:
            raise TrainingError(tr("The run that this one builds on is not here."))
        return parent.spec, parent.folder

    def _configure(self, model: nn.Module) -> bool:
        """As any run's; the teacher computes as its student does."""
        autocast = super()._configure(model)
        configure = getattr(self._teacher, "configure", None)
        if configure is not None:
            low = self.placement.precision == "bfloat16"
            configure(compute_dtype=torch.bfloat16 if low else torch.float32, attention=self.placement.attention)
        return autocast

    def optimizer(self, model: nn.Module, groups: Sequence[ParamGroup]) -> Optimizer:
        """The student's, and of the map into the teacher's states where those are matched."""
        if not self.settings.hidden_weight:
            return super().optimizer(model, groups)
        ours, theirs = self._state_sizes(model)
        generator = torch.Generator().manual_seed(MAP_SEED + self.spec.seed)
        into = torch.randn(theirs, ours, generator=generator) / math.sqrt(ours)
        model.register_parameter(INTO, nn.Parameter(into.to(self.placement.device)))
        added = ParamGroup([model.get_parameter(INTO)], decay=False)
        return super().optimizer(model, [*groups, added])

    def _state_sizes(self, model: nn.Module) -> tuple[int, int]:
        """How wide the states of the student and of the teacher are."""
        assert self._teacher is not None
        with evaluating(model):
            example = self.family.example(self.spec.shape, 1, self.spec.training.context)
            asked = self.family.ask(model, {name: x.to(self.placement.device) for name, x in example.items()})
            found = [_states(family, of, asked) for family, of in self._pair(model)]
        if any(states is None for states in found):
            raise TrainingError(
                tr("distillation.hidden_weight: {family} has no hidden states to match.", family=self.family.name),
                tr("Set it to 0."),
            )
        ours, theirs = (states.shape[-1] for states in found if states is not None)
        return ours, theirs

    def _pair(self, model: nn.Module) -> "tuple[tuple[Family, nn.Module], tuple[Family, nn.Module]]":
        assert self._teacher is not None
        return (self.family, model), (self._taught_by, self._teacher)

    def training_loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """(1 - w) of the loss alone, w of what the teacher says, and the hidden states with a weight of their own.

        The value is that of the student's own loss, which a curve can show beside its twin's; the gradient is that of
        the whole.
        """
        settings = self.settings
        (family, _), (teachers, teacher) = self._pair(model)
        asked = family.ask(model, batch)
        answers = family.answer(model, asked)
        own = family.choice_loss(model, asked, answers)
        with torch.no_grad():
            told = teachers.answer(teacher, asked)
        taught = taught_loss(answers, told, asked.targets, settings.temperature)
        loss = (1 - settings.weight) * own + settings.weight * taught
        if settings.hidden_weight:
            with torch.no_grad():
                theirs = _states(teachers, teacher, asked)
            ours = _states(family, model, asked)
            assert ours is not None
            assert theirs is not None
            loss = loss + settings.hidden_weight * hidden_loss(ours, theirs, model.get_parameter(INTO))
        return own.detach() + (loss - loss.detach())

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """The student's own, without the map."""
        return {name: tensor for name, tensor in super().weights(model).items() if name != INTO}

    def finish(self, run: Trainee, prepared: "Prepared") -> None:
        """As any run's, by the student alone."""
        self._save(run, prepared)
        self._teacher = None
        if hasattr(run.model, INTO):
            delattr(run.model, INTO)
        self.write_and_measure(run, prepared)


def _states(family: "Family", model: nn.Module, asked: Asked) -> Tensor | None:
    """What is matched: states of every position, else of every sample; a pass of its own through the model."""
    shown = asked.given[0]
    assert shown is not None
    states = family.states(model, shown)
    return family.features(model, shown) if states is None else states


def _check(family: "Family", spec: RunSpec, teacher: RunSpec, folder: "Path", prepared: "Prepared") -> None:
    """Raise ``TrainingError`` where the two choose among different things."""
    same = spec.source == teacher.source and teacher.training.context >= spec.training.context
    if teacher.family not in families or not same:
        same = False
    elif family.n_choices(spec.shape) != families[teacher.family].n_choices(teacher.shape):
        same = False
    elif isinstance(prepared, TokenisedText):
        files = prepared.tokenizer_files()
        same = all((folder / name).is_file() and (folder / name).read_text("utf-8") == t for name, t in files.items())
    if not same:
        raise TrainingError(
            tr("The teacher, {label}, was trained on other data or with another vocabulary.", label=teacher.label),
            tr("Take a teacher that chooses among the same classes or tokens."),
        )
