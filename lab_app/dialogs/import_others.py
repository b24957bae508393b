"""What the import dialog knows beside results: a study bundle, a PEFT adapter, and results of a run of this home."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.i18n import tr
from lab_app import words

if TYPE_CHECKING:
    from engine.lab import Lab
    from lab_app.jobs import Preparing


@dataclass(frozen=True, slots=True)
class Taken:
    """How it ended: the study to show, where there is one, and a sentence."""

    study: str = ""
    added: bool = True
    said: str = ""


@dataclass(frozen=True, slots=True)
class Other:
    """What was recognised: its words, and what takes it in. An adapter asks for its base and for a folder first."""

    summary: str
    take: "Callable[[Preparing, str, str], Taken]"
    """Called in a thread with what shows progress, the base and the folder that were named."""
    is_adapter: bool = False
    base: str = ""


def recognise(lab: "Lab", paths: Sequence[Path], progress: "Preparing") -> Other | None:
    """None where the files are results of someone else. Raises ``InputError`` for a bad bundle or adapter."""
    from engine.bundling.opening import is_bundle
    from engine.importing.adapters import is_adapter

    first = paths[0]
    if len(paths) == 1 and first.is_file() and is_bundle(first):
        return _bundle(lab, first, progress)
    if len(paths) == 1 and is_adapter(first):
        return _adapter(first)
    return _results(lab, paths)


def _bundle(lab: "Lab", path: Path, progress: "Preparing") -> Other:
    from engine.bundling.opening import open_bundle

    bundle = open_bundle(path, progress)

    def take(told: "Preparing", base: str, out: str) -> Taken:
        from engine.bundling.restoring import restore

        kept = restore(lab.store, bundle, told)
        return Taken(kept.study_id, kept.added)

    sizes = len({spec.n_params_non_embedding for spec in bundle.specs})
    models = sum(part.kind == "weights" for part in bundle.artifacts)
    parts = [
        tr("Study bundle"),
        bundle.study.title,
        tr("{n} runs of {sizes} sizes", n=len(bundle.runs), sizes=sizes),
        tr("{n} with weights", n=models) if models else tr("without weights"),
        words.size(bundle.n_bytes),
    ]
    return Other(" · ".join(parts), take)


def _adapter(folder: Path) -> Other:
    from engine.importing.adapters import merge_adapter, named_base

    def take(told: "Preparing", base: str, out: str) -> Taken:
        made = merge_adapter(folder, Path(out).expanduser(), Path(base).expanduser() if base else None)
        text = tr("{path}: {base} with the adapter merged into {n} tensors.", path=str(made.folder),
                  base=made.base.name, n=made.n_changed)  # fmt: skip
        return Taken(said=text)

    summary = tr("PEFT adapter {name}: merged into its base, it becomes one model folder.", name=folder.name)
    return Other(summary, take, is_adapter=True, base=named_base(folder))


def _results(lab: "Lab", paths: Sequence[Path]) -> Other | None:
    from engine.errors import InputError
    from engine.importing.attaching import attach, find

    try:
        found = find(lab.reader(), paths)
    except InputError:
        return None  # what is wrong with the files is said where they are read
    if not found:
        return None

    def take(told: "Preparing", base: str, out: str) -> Taken:
        attach(lab.store, found)
        return Taken(found[0].study_id)

    labels = ", ".join(lab.reader().run(one.run_id).label for one in found)
    n = sum(len(one.scores) for one in found)
    text = tr("Results of lm-evaluation-harness on {run}: {n} scores are kept with it.", run=labels, n=n)
    return Other(text, take)
