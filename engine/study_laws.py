"""The laws of a stored study: which form its runs can carry, and fitting and keeping it."""

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import InputError
from engine.families import families
from engine.forecasting import TOKEN_FIELDS, observations
from engine.i18n import language, tr
from engine.store import mutations

if TYPE_CHECKING:
    from engine.analysis.forecasts import Observation
    from engine.analysis.laws.base import Points
    from engine.store import Reader, Store

SMALLEST_LADDER = 4
"""Sizes below which a law of three parameters is not fitted."""
ESTIMATORS = ("envelope", "isoflop", "chinchilla")
"""The three approaches of Hoffmann 2022; the last is the law of the study."""
N_BOOTSTRAP = 1000
FEWEST_AT_BUDGET = 3
"""Sizes that a parabola is drawn through."""
BETWEEN_BUDGETS = 1.6
"""Closer together budgets would only share their runs."""
BEYOND, CURVE = 10.0, 25
"""The optimum is drawn a decade past the largest budget, at so many places."""


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
    trained = {run.family for run in reader.ladder(study_id) if run.family in families}
    if not all(families[family].loss_ranks_models for family in trained):
        return None
    document = None
    for document in _documents(reader, study_id, runs):
        _keep(store, study_id, document)
    return document


def law_in_words(reader: "Reader", study_id: str) -> dict[str, Any] | None:
    """The law as it is kept; where it was fitted under another language, its words are made again by the same fit."""
    document = reader.law(study_id)
    if document is None or document.get("language", language()) == language():
        return document
    return _said_again(reader, study_id, document["form"], language(), json.dumps(document["params"])) or document


_again: dict[tuple[str, ...], dict[str, Any]] = {}


def _said_again(reader: "Reader", study_id: str, *key: str) -> dict[str, Any] | None:
    if (study_id, *key) not in _again:
        try:
            documents = _documents(reader, study_id, observations(reader, study_id))
        except InputError:
            return None
        for document in documents:
            _again[study_id, document["form"], *key[1:]] = document
    return _again.get((study_id, *key))


def _keep(store: "Store", study_id: str, document: dict[str, Any]) -> None:
    said = document | {"language": language()}
    store.writer.call(lambda conn: mutations.save_law(conn, study_id, said["form"], said)).result()


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
    """The documents of the three approaches, those that these runs carry, with what each says is best at any C."""
    from engine.analysis.forecasts.stability import stability
    from engine.analysis.laws.base import FitOptions, forms

    compute = points["compute_flops"]
    grid = np.geomspace(compute.min(), BEYOND * compute.max(), CURVE)
    found, missing = [], []
    for name in ESTIMATORS:
        form = forms[name]
        try:
            fit = form.fit(at_equal_compute(points) if name == "isoflop" else points, FitOptions(N_BOOTSTRAP))
        except InputError as error:
            missing.append(f"{name}: {error.message}")
            continue
        document = fit.to_document() | {"convention": "non-embedding"}
        best = form.optimum(fit, grid)
        document["optimum_curve"] = best["at"] if best else []
        if name == "isoflop":
            document["warnings"].append(
                tr("Losses at equal compute were interpolated along each size's own runs, which share their noise.")
            )
        found.append(document)
    if found:
        found[-1]["warnings"] += missing
    if found and found[-1]["form"] == ESTIMATORS[-1] and (steadiness := stability(points)) is not None:
        found[-1]["stability"] = steadiness
        found[-1]["warnings"].append(steadiness["words"])
    return found


def at_equal_compute(points: "Points") -> "Points":
    """Losses of every size at common budgets of compute, from a grid of sizes and tokens.

    Each size's own runs, all trained to the end of their schedule, are joined by straight lines in ln L against ln C;
    seeds are averaged. Budgets lie a factor ``BETWEEN_BUDGETS`` apart where ``FEWEST_AT_BUDGET`` sizes reach.
    """
    from engine.analysis.laws.base import FLOPS_PER_PARAMETER_AND_TOKEN, Points

    log_c, log_l = np.log(points["compute_flops"]), np.log(points["loss"])
    curves = {}
    for size in np.unique(points["n_params"]).tolist():
        mine = points["n_params"] == size
        at, group = np.unique(log_c[mine], return_inverse=True)
        curves[size] = (at, np.bincount(group, log_l[mine]) / np.bincount(group))
    fine = np.linspace(log_c.min(), log_c.max(), 1000)
    reached = sum(((fine >= at[0]) & (fine <= at[-1])).astype(np.int64) for at, _ in curves.values())
    common = fine[np.asarray(reached) >= FEWEST_AT_BUDGET]
    if not len(common):
        raise InputError(tr("No budget of compute is reached by {n} sizes.", n=FEWEST_AT_BUDGET))
    n_budgets = max(2, round((common[-1] - common[0]) / np.log(BETWEEN_BUDGETS)) + 1)
    rows = [
        (size, c, float(np.interp(c, at, mean)))
        for c in np.linspace(common[0], common[-1], n_budgets).tolist()
        for size, (at, mean) in curves.items()
        if at[0] <= c <= at[-1]
    ]
    n_params, budget, loss = np.array(rows, dtype=np.float64).T
    compute = np.exp(budget)
    return Points(
        values={
            "n_params": n_params,
            "tokens": compute / (FLOPS_PER_PARAMETER_AND_TOKEN * n_params),
            "compute_flops": compute,
            "loss": np.exp(loss),
        },
        rows=np.arange(1, len(n_params) + 1),
        headers=points.headers,
    )


def sweeps(reader: "Reader", study_id: str) -> list[dict[str, Any]]:
    """Where a varied number is best at each size, for each combination of what else is varied."""
    from engine.analysis.sweeps import FEWEST_VALUES, Trial, sweep_document

    vary = reader.study_spec(study_id).ladder.vary
    rows = [row for row in reader.ladder(study_id) if row.state == "finished" and row.val_loss is not None]
    found = []
    for field, values in vary.items():
        if (
            field in TOKEN_FIELDS
            or len(values) < FEWEST_VALUES
            or not all(type(value) in (int, float) for value in values)
        ):
            continue
        groups: dict[str, list[Trial]] = defaultdict(list)
        for row in rows:
            rest = {key: value for key, value in row.variant.items() if key != field}
            trial = Trial(row.n_params_non_embedding, float(row.variant[field]), row.val_loss or np.nan)
            groups[json.dumps(rest, sort_keys=True)].append(trial)
        documents = (sweep_document(field, trials, json.loads(rest)) for rest, trials in groups.items())
        found += [document for document in documents if document is not None]
    return found
