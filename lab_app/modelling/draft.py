"""A fine-tuning as it is being put together, and the study that it makes. No Qt in here."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from engine.errors import KnownError
from engine.i18n import mark, tr
from engine.sources import sources
from engine.study import StudySpec, convert, load_study, parse_study, to_toml_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.families._base_tasks import Task
    from engine.sources.base import QualityReport
    from engine.study import RunSpec

TEMPLATE = "finetune-bert"
"""The built-in study whose recipes are the presets."""
FIELD, SMALL = "preset", ""
"""Its profiles: the field's own recipe (Devlin 2019), and the one that suits a small model."""
METHODS = {
    "full": (mark("All weights"), mark("Every weight is trained, as BERT's authors do. The best scores, mostly.")),
    "frozen": (
        mark("Head only"),
        mark("The base stays as it is and only a new head is trained: a linear probe of its features. Quick."),
    ),
    "lora": (
        mark("LoRA"),
        mark("Small matrices beside the base's weights are trained: little memory, nearly as good."),
    ),
    "scratch": (mark("From scratch"), mark("The same network with fresh weights: what the data alone can teach it.")),
}
EXAMPLES = {
    "labelled-table": mark("documentation strings"),
    "instruction-table": mark("documentation strings"),
    "tagged-table": mark("lines of Python code"),
    "question-table": mark("questions about Python code"),
}
"""What sources of tables give where no file is named."""
LONGEST = "max_length"
"""The field of sources of text that cuts it."""
BASE, DATA, RECIPE = range(3)
"""The steps."""


@dataclass(slots=True)
class Draft:
    """What was chosen so far; ``recipe`` holds fields of ``training`` that are shown in the form."""

    task: str = "text-classification"
    base: str = ""
    base_title: str = ""
    data: dict[str, Any] | None = None
    """The study's ``data``, its source and fields; None where none were chosen."""
    title: str = ""
    method: str = "full"
    compare: tuple[str, ...] = ("frozen", "scratch")
    seeds: int = 3
    max_length: int = 128
    balanced: bool = False
    recipe: dict[str, Any] = field(default_factory=dict)

    @property
    def methods(self) -> tuple[str, ...]:
        """The method, then what it is compared with."""
        return (self.method, *(other for other in self.compare if other != self.method))

    @property
    def complete(self) -> bool:
        """Whether there are a base and data, so that the whole can be checked."""
        return bool(self.base) and self.data is not None


@dataclass(frozen=True, slots=True)
class Checked:
    """A draft that can be trained: the study with its folders, its runs, and what preparing the data found."""

    study: StudySpec
    runs: "tuple[RunSpec, ...]"
    report: "QualityReport"
    seen: "list[Mapping[str, Any]]"
    """The first items of the first batch as the model reads them."""


def tasks() -> "list[Task]":
    """Everything that there is to tune a base for."""
    from engine.families.fine_tuned import tuning_tasks

    return tuning_tasks()


def task_named(name: str) -> "Task":
    """One of them."""
    return next(task for task in tasks() if task.name == name)


def preset(profile: str, task: "Task") -> dict[str, Any]:
    """Fields of ``training`` as one of the built-in recipes has them, for a task."""
    found: dict[str, Any] = to_toml_table(load_study(TEMPLATE, profile=profile))["training"]
    return found | (dict(task.small_recipe) if profile == SMALL else {})


def study_of(draft: Draft) -> StudySpec:
    """The study of a draft; raises ``StudyError`` naming the field."""
    table = to_toml_table(load_study(TEMPLATE, profile=FIELD))
    for part in ("zh_CN", "budget", "profiles"):
        table.pop(part, None)
    task, data = task_named(draft.task), dict(draft.data or {"source": task_named(draft.task).source})
    if has_field(str(data["source"]), LONGEST):
        data[LONGEST] = draft.max_length
    model = {k: v for k, v in table["model"].items() if k != "method"} | {"base": draft.base, "task": task.name}
    if draft.balanced and task.weighs_classes:
        model["class_weights"] = "balanced"
    ladder = {"sizes": table["ladder"]["sizes"], "seeds": list(range(draft.seeds))}
    if len(draft.methods) > 1:
        ladder["vary"] = {"model.method": list(draft.methods)}
    else:
        model["method"] = draft.method
    title = draft.title.strip() or suggested_title(draft)
    table |= {
        "name": f"finetune-{_slug(title_of_data(draft))}",
        "title": title,
        "question": tr("What does {base} learn from {data}?", base=draft.base_title, data=title_of_data(draft)),
        "data": data,
        "model": model,
        "ladder": ladder,
        "headline": dict(zip(("capability", "metric"), task.headline, strict=True)),
        "capabilities": [{"name": task.headline[0]}],
        "training": {**table["training"], **draft.recipe},
    }
    return parse_study(table)


def suggested_title(draft: Draft) -> str:
    """What the study is called where nobody says."""
    return tr("{base} on {data}", base=draft.base_title or tr("A model"), data=title_of_data(draft))


def title_of_data(draft: Draft) -> str:
    """The name of the table or folder without its ending, else what is on this machine."""
    data = draft.data or {}
    return Path(data["path"]).stem if data.get("path") else example_title(task_named(draft.task))


def example_title(task: "Task") -> str:
    """What there is on this machine to try a task with."""
    name = str(task.builtin.get("source", ""))
    if name and name != task.source:
        return tr(sources[name].title)
    return tr(EXAMPLES.get(name, mark("data of this machine")))


def has_field(source: str, name: str) -> bool:
    """Whether the Spec of a source has a field."""
    return any(field.name == name for field in msgspec.structs.fields(sources[source].Spec))


def step_of(error: KnownError) -> int:
    """The step at which a person can mend what is wrong."""
    where = error.message.partition(":")[0]
    part = where.partition(".")[0]
    if where in ("model.base", "data.tokenizer") or part == "ladder":
        return BASE
    return RECIPE if part in ("model", "training") else DATA


def checked(draft: Draft, home: Path, on_progress: Any) -> Checked:
    """Resolve, read and prepare everything that the draft needs. Slow: for a thread. Raises ``KnownError``."""
    from engine.bases import settle
    from engine.expand import expand

    study = settle(study_of(draft), home)
    runs = expand(study)
    largest = runs[-1]
    source = sources[largest.source]
    prepared = source.prepare(convert(largest.data, source.Spec, "data"), home / "cache", on_progress)
    seen = task_named(draft.task).seen(prepared, largest.shape, largest.training.batch_size, largest.seed)
    return Checked(study, runs, prepared.report, seen)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:32] or "table"
