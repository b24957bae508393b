"""The laws of a stored study: which form its runs can carry, and fitting and keeping it."""

import json
import logging
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import InputError
from engine.forecasting import observations
from engine.store import mutations

if TYPE_CHECKING:
    from engine.analysis.forecasts import Observation
    from engine.analysis.laws.base import Points
    from engine.store import Reader, Store

log = logging.getLogger(__name__)

SMALLEST_LADDER = 4
"""Sizes below which a law of three parameters is not fitted."""
ESTIMATORS = ("envelope", "isoflop", "chinchilla")
"""The three approaches of Hoffmann 2022; the last is the law of the study."""
N_BOOTSTRAP = 1000


def fit_study(store: "Store", study_id: str) -> dict[str, Any] | None:
    """Fit what the finished runs carry and keep it: L(N), or all three estimators where tokens vary as well.

    Returns the law, or None where there are too few sizes or the runs vary something that no law is of.
    """
    reader = store.reader()
    try:
        runs = observations(reader, study_id)
    except InputError:
        return None
    if len({run.n_params for run in runs}) < SMALLEST_LADDER:
        return None
    document = None
    for document in _documents(reader, study_id, runs):
        _keep(store, study_id, document)
    return document


def _keep(store: "Store", study_id: str, document: dict[str, Any]) -> None:
    store.writer.call(lambda conn: mutations.save_law(conn, study_id, document["form"], document)).result()


def _documents(reader: "Reader", study_id: str, runs: "list[Observation]") -> list[dict[str, Any]]:
    from engine.analysis.forecasts.locked import fit_law, tokens_vary

    study = reader.study_spec(study_id)
    training = study.training
    scaled: bool | None = training.lr_rule != "fixed"
    converged: bool | None = training.schedule != "constant"
    if study.kind == "import":  # how it was trained is not told
        scaled = converged = None
    if tokens_vary(runs):
        return _estimators(points_of_runs(reader, study_id))
    law = fit_law(runs, 0.9, lr_scaled=scaled, converged=converged)
    return [law.to_document() | {"convention": "non-embedding"}]


def points_of_runs(reader: "Reader", study_id: str) -> "Points":
    """The runs of a study as the forms want them: sizes without embeddings, tokens, compute by C = 6 N D, loss."""
    from engine.analysis.laws.base import FLOPS_PER_PARAMETER_AND_TOKEN, Points

    runs = observations(reader, study_id)
    n_params, tokens = (
        np.array([getattr(run, name) for run in runs], dtype=np.float64) for name in ("n_params", "tokens")
    )
    return Points(
        values={
            "n_params": n_params,
            "tokens": tokens,
            "compute_flops": FLOPS_PER_PARAMETER_AND_TOKEN * n_params * tokens,
            "loss": np.array([run.loss for run in runs], dtype=np.float64),
        },
        rows=np.arange(1, len(runs) + 1),
        texts={"seed": np.array([str(run.seed) for run in runs])},
        headers={"n_params": "n_params_non_embedding", "tokens": "tokens", "loss": "loss"},
    )


def _estimators(points: "Points") -> list[dict[str, Any]]:
    from engine.analysis.laws.base import FitOptions, forms

    found = []
    for name in ESTIMATORS:
        try:
            fit = forms[name].fit(points, FitOptions(n_bootstrap=N_BOOTSTRAP))
        except InputError as error:
            log.info("%s was not fitted: %s", name, error)
            continue
        found.append(fit.to_document() | {"convention": "non-embedding"})
    return found


def sweeps(reader: "Reader", study_id: str) -> list[dict[str, Any]]:
    """Where a varied number is best at each size, for each combination of what else is varied."""
    from engine.analysis.sweeps import FEWEST_VALUES, Trial, sweep_document

    vary = reader.study_spec(study_id).ladder.vary
    rows = [row for row in reader.runs(study_id) if row.state == "finished" and row.val_loss is not None]
    found = []
    for field, values in vary.items():
        if len(values) < FEWEST_VALUES or not all(type(value) in (int, float) for value in values):
            continue
        groups: dict[str, list[Trial]] = defaultdict(list)
        for row in rows:
            rest = {key: value for key, value in row.variant.items() if key != field}
            trial = Trial(row.n_params_non_embedding, float(row.variant[field]), row.val_loss or np.nan)
            groups[json.dumps(rest, sort_keys=True)].append(trial)
        documents = (sweep_document(field, trials, json.loads(rest)) for rest, trials in groups.items())
        found += [document for document in documents if document is not None]
    return found
