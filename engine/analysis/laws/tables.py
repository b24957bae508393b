"""A law fitted to anyone's table: read, choose the rows, fit, and say it all in one document."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.analysis.arrays import Bools
from engine.analysis.columns import Column, read_columns
from engine.analysis.laws.base import MAX_POINTS, FitOptions, Form, Points, forms, optional, points_of
from engine.analysis.laws.compare import comparable, compare_forms
from engine.analysis.laws.forms.task_through_loss import TaskFit
from engine.analysis.laws.parametric import ParametricForm
from engine.analysis.laws.result import Estimate, LawFit
from engine.errors import InputError
from engine.i18n import tr

_RULE = re.compile(r"\s*(\w+)\s*(?:/\s*(\w+)\s*)?(<=|>=|<|>|=)\s*([-+.\deE]+)\s*")
_COMPARE = {"<": np.less, ">": np.greater, "<=": np.less_equal, ">=": np.greater_equal, "=": np.equal}


def fit_table(
    path: Path,
    form_name: str,
    options: FitOptions,
    *,
    names: Mapping[str, str] | None = None,
    exclude_highest: int = 0,
    exclude: Sequence[str] = (),
    compute: Sequence[float] = (),
    at: Sequence[Mapping[str, float]] = (),
    compare: bool = False,
) -> tuple[Estimate, dict[str, Any]]:
    """Fit a form to a table and return the fit with its document.

    ``names`` maps columns to the table's headers. ``exclude_highest`` leaves out that many of the highest losses,
    ``exclude`` the rows that meet a rule such as ``loss>3.5`` or ``tokens/n_params<1``; both are listed, and the fit
    with them in stands beside. ``compute`` asks for the optimal split of budgets, ``at`` for predictions. Raises
    ``InputError`` for whatever the table cannot give.
    """
    form = forms[form_name]
    table = read_columns(path, _wanted(form, compare), names, MAX_POINTS)
    points, unusable = points_of(form, table)
    everything = points
    points, chosen = leave_out(points, form.target, exclude_highest, exclude)
    fit = form.fit(points, options)
    excluded = sorted([*unusable, *chosen], key=lambda entry: int(entry["row"]))
    warnings = list(fit.warnings)
    if unusable:
        warnings.append(tr("{n} rows could not be used; see excluded.", n=table.n_rows - len(everything)))
    extra = {**fit.extra, "columns": table.headers}
    if chosen and isinstance(form, ParametricForm):
        extra["with_excluded"] = _with_excluded(form, everything)
    if compute:
        extra["optimum"] = _optimum(form, fit, compute)
    if at:
        extra["predictions"] = [_prediction(fit, point) for point in at]
    if compare:
        extra["comparison"] = compare_forms(points)
    fit = replace(fit, excluded=tuple(excluded), warnings=tuple(warnings), extra=extra)
    return fit, fit.to_document()


def leave_out(points: Points, target: str, highest: int, rules: Sequence[str]) -> tuple[Points, list[dict[str, Any]]]:
    """Points without those the user leaves out, and ``[{"row", "why"}]`` for each of these."""
    keep = np.ones(len(points), dtype=np.bool_)
    excluded: list[dict[str, Any]] = []
    for rule in rules:
        meets = _meets(points, rule)
        excluded += [{"row": int(row), "why": rule.strip()} for row in points.rows[meets & keep]]
        keep &= ~meets
    if highest > 0:
        left = np.flatnonzero(keep)
        worst = left[np.argsort(-points[target][left], kind="stable")[:highest]]
        why = tr("one of the {n} highest values of {column}", n=highest, column=points.headers.get(target, target))
        excluded += [{"row": int(points.rows[i]), "why": why} for i in worst]
        keep[worst] = False
    if not keep.any():
        raise InputError(tr("Nothing is left after what was excluded."))
    return points.where(keep), excluded


def _meets(points: Points, rule: str) -> Bools:
    found = _RULE.fullmatch(rule)
    try:
        if found is None:
            raise ValueError(rule)
        limit = float(found[4])
    except ValueError:
        raise InputError(
            tr("The rule {rule!r} is not understood.", rule=rule), tr("Write it as loss>3.5 or tokens/n_params<1.")
        ) from None
    for name in filter(None, (found[1], found[2])):
        if name not in points:
            raise InputError(
                tr("The rule {rule!r} names a column that was not read.", rule=rule),
                tr("There are: {known}.", known=", ".join(points.values)),
            )
    values = points[found[1]] / points[found[2]] if found[2] else points[found[1]]
    meets: Bools = _COMPARE[found[3]](values, limit)
    return meets


def _wanted(form: Form, compare: bool) -> list[Column]:
    wanted = list(form.wanted)
    if compare:
        for name in comparable():
            known = {column.name for column in wanted}
            wanted += [optional(column) for column in forms[name].columns if column.name not in known]
    return wanted


def _with_excluded(form: ParametricForm, points: Points) -> dict[str, Any]:
    fit = form.solved(points, FitOptions(n_bootstrap=2, resample="pairs"))
    return {"params": fit.params, "objective": fit.objective, "n_points": fit.n_points}


def _optimum(form: Form, fit: Estimate, compute: Sequence[float]) -> dict[str, Any] | None:
    if type(form).optimum is Form.optimum:
        raise InputError(
            tr("{form} has no optimal split of compute.", form=form.name), tr("Fit chinchilla or isoflop.")
        )
    return form.optimum(fit, compute)


def _prediction(fit: Estimate, at: Mapping[str, float]) -> dict[str, Any]:
    law = fit.loss if isinstance(fit, TaskFit) else fit
    if not isinstance(law, LawFit) or not isinstance(fit, LawFit | TaskFit):
        raise InputError(tr("{form} predicts no losses.", form=fit.form), tr("Fit chinchilla or a power law."))
    variables = law.variables
    if set(at) != set(variables) or min(at.values()) <= 0:
        raise InputError(
            tr("A prediction of {form} needs positive {columns}.", form=fit.form, columns=", ".join(variables)),
            tr("Write it as {example}.", example=",".join(f"{name}=1e9" for name in variables)),
        )
    x = np.array([[at[name] for name in variables]])
    value, low, high = fit.predict_many(x)
    _, run_low, run_high = fit.predict_many(x, new_runs=1)
    return {
        "at": {name: at[name] for name in variables},
        "value": float(value[0]),
        "interval": [float(low[0]), float(high[0])],
        "interval_of_one_run": [float(run_low[0]), float(run_high[0])],
    }
