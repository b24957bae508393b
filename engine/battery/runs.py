"""The battery on runs of the home: their own held-out data, scores kept beside those of the study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.battery import cache
from engine.battery.uses import Use, resolve
from engine.capabilities.base import Score, uses_of
from engine.errors import InputError
from engine.events import Evaluation, RunState
from engine.families import families
from engine.files import sha256
from engine.finished import Finished, finished_run
from engine.i18n import mark, tr
from engine.sources import sources
from engine.sources.base import OnProgress
from engine.study import DERIVED, convert

if TYPE_CHECKING:
    from engine.store import Store


@dataclass(frozen=True, slots=True)
class Measurement:
    """One capability of one run; ``known`` says that it had been measured before."""

    run_id: int
    capability: str
    scores: tuple[Score, ...]
    known: bool


def runs_of(store: "Store", study_id: str) -> list[int]:
    """The runs of a study that can be measured; raises ``InputError`` where there is none."""
    reader = store.reader()
    done = [row.id for row in reader.runs(study_id) if row.state == RunState.FINISHED and row.kind not in DERIVED]
    found = [run for run in done if any(file.kind == "weights" for file in reader.artifacts(run))]
    if not found:
        raise InputError(
            tr("no run of {study} has a finished model here.", study=study_id), tr("Let one finish first.")
        )
    return found


def evaluate_runs(
    store: "Store",
    run_ids: Sequence[int],
    names: Sequence[str] = (),
    options: Mapping[str, str] | None = None,
    on_progress: OnProgress = lambda step, fraction: None,
) -> list[Measurement]:
    """Measure capabilities on finished runs and keep the scores as evaluations of theirs.

    Raises:
        InputError: a run has no weights, its data have changed since, or there is no such capability or option.
        TrainingError: weights cannot be read.
    """
    subjects = [_Subject(store, run_id, names, options or {}) for run_id in run_ids]  # what is wrong, before any work
    found: list[Measurement] = []
    n = sum(len(subject.uses) for subject in subjects)
    for subject in subjects:
        for use in subject.uses:
            on_progress(mark("measuring"), len(found) / max(1, n))
            found.append(subject.measure(use, on_progress))
    on_progress(mark("measuring"), 1.0)
    return found


class _Subject:
    """One run under test. Data and model are loaded with the first capability that is not known yet."""

    def __init__(self, store: "Store", run_id: int, names: Sequence[str], options: Mapping[str, str]) -> None:
        self._store = store
        self._run: Finished = finished_run(store.reader(), store.home, run_id)
        self._facts = store.reader().run(run_id).facts
        self._loaded: tuple[Any, Any, Any] | None = None
        spec = self._run.spec
        self.uses = resolve(names, options, uses_of(spec, families[spec.family].predicts_next))

    def measure(self, use: Use, on_progress: OnProgress) -> Measurement:
        run = self._run
        weights = run.weights.sha256 or sha256(run.path)
        values = cache.inputs(use.capability, use.options, weights, str(self._facts.get("data_fingerprint")))
        if use.capability.is_ability:
            scores, known = cache.measure(self._store, values, lambda: self._scores(use, on_progress))
        else:  # what a model costs is another number on every machine
            scores, known = self._scores(use, on_progress), False
        for score in scores:
            self._store.writer.emit(
                Evaluation(run.run_id, use.title, score.metric, score.value, score.stderr, score.n, score.chance)
            )
        self._store.writer.flush()
        return Measurement(run.run_id, use.title, tuple(scores), known)

    def _scores(self, use: Use, on_progress: OnProgress) -> list[Score]:
        from engine.training.device import numerics
        from engine.training.evaluate import evaluating

        if self._loaded is None:
            self._loaded = self._load(on_progress)
        placement, subject, data = self._loaded
        with numerics(placement), evaluating(subject.module):
            return use.capability.evaluate(use.spec, subject, data)

    def _load(self, on_progress: OnProgress) -> tuple[Any, Any, Any]:
        import torch

        from engine.training.device import place
        from engine.training.evaluate import under_test

        spec = self._run.spec
        source = sources[spec.source]
        data = source.prepare(convert(dict(spec.data), source.Spec, "data"), self._store.cache, on_progress)
        if data.fingerprint != self._facts.get("data_fingerprint"):
            raise InputError(
                tr("the data of run {run} have changed since it was trained.", run=self._run.run_id),
                tr("Scores on other data could not be compared; restore the data, or train anew."),
            )
        family = families[spec.family]
        placement = place(spec, family.width(spec.shape), family.lengths_vary(spec.shape))
        model = self._run.load().to(placement.device)
        configure = getattr(model, "configure", None)
        if configure is not None and self._facts.get("device_type") == placement.device.type:
            # As it computed when it was trained and first measured: its own scores must come out again.
            low = self._facts.get("precision") == "bfloat16"
            dtype = torch.bfloat16 if low else torch.float32
            configure(compute_dtype=dtype, attention=str(self._facts.get("attention") or ""))
        return placement, under_test(model, spec, placement.device), data
