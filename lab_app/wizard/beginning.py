"""A study to begin with for some data: the nearest built-in one with the data put in."""

from engine.capabilities import capabilities
from engine.errors import InputError
from engine.families import families
from engine.families.base import DataShape
from engine.i18n import tr
from engine.sources import sources
from engine.study import Headline, StudySpec, TrainingSpec, builtin_studies, convert, load_study, to_toml_table
from lab_app.wizard.base import BLANK, Table

KEPT = ("model", "ladder", "training", "execution", "headline", "capabilities")

LADDER = 3
"""Sizes from which a study is a ladder."""
STEP = 4
"""Ratio of sizes that are added."""


def table_for(data: Table) -> Table:
    """The table of a study of ``data``, its source and fields, whose model can learn from it.

    Raises ``InputError`` where the data is not what its source reads.
    """
    source = sources[data["source"]]
    fields = {name: value for name, value in data.items() if name != "source"}
    shape = source.shape(convert(fields, source.Spec, "data"))
    found = _nearest(source.name, shape)
    table = {**BLANK, "model": {"family": _family(shape)}}
    if found is not None:
        table |= {part: value for part, value in to_toml_table(found).items() if part in KEPT}
    table |= {"title": tr("My study"), "data": dict(data)}
    if found is None or found.data.get("source") != source.name:
        table["ladder"] = {part: value for part, value in table["ladder"].items() if part != "vary"}
        table["training"] = {k: v for k, v in table["training"].items() if (k, v) != ("batch_size", 0)}
    measured = [use for use in table.get("capabilities", ()) if _fits(use["name"], source.name)]
    if source.name in capabilities and not any(use["name"] == source.name for use in measured):
        measured.append({"name": source.name})
    table["capabilities"] = measured
    headline = table.pop("headline", {})
    if headline.get("capability") in {use["name"] for use in measured}:
        table["headline"] = headline | {"metric": _measured(headline, shape)}
    if shape.min_context:
        table["training"] = {**table["training"], "context": shape.min_context}
    table["ladder"] = {**table["ladder"], "sizes": _sizes(table, shape)}
    return table


def _measured(headline: Table, shape: DataShape) -> str:
    """The headline's metric, or the first that its capability can measure on such data."""
    capability, wanted = capabilities[headline["capability"]], headline.get("metric", Headline().metric)
    found = [metric.name for metric in capability.metrics if capability.measures(metric.name, shape)]
    return wanted if wanted in found or not found else found[0]


def _sizes(table: Table, shape: DataShape) -> list[int]:
    """The sizes that the family can build for this data, larger ones added where too few can; all where none can."""
    family = families[table["model"]["family"]]
    spec = convert({k: v for k, v in table["model"].items() if k != "family"}, family.Spec, "model")
    context = shape.fixed_context or int(table["training"].get("context", TrainingSpec(steps=1).context))
    asked = sorted(table["ladder"]["sizes"])
    found: dict[str, int] = {}
    for size in (*asked, *(asked[-1] * STEP**n for n in range(1, LADDER + 1))):
        if size > asked[-1] and len(found) >= LADDER:
            break
        try:
            found.setdefault(str(sorted(family.resolve(spec, size, shape, context).items())), size)
        except InputError:  # too small, or too large, for data of this shape
            continue
    return list(found.values()) or asked


def _nearest(source: str, shape: DataShape) -> StudySpec | None:
    """Of the built-in studies of data of the same kind a ladder, of the same source, plain, that costs little."""
    alike: list[tuple[bool, bool, int, float, StudySpec]] = []
    for path in builtin_studies():
        try:
            study = load_study(str(path))
            if study.kind != "pretrain":
                continue
            name = str(study.data.get("source"))
            theirs = sources[name].shape(
                convert({k: v for k, v in study.data.items() if k != "source"}, sources[name].Spec)
            )
        except InputError:  # one study written for a newer version must not take the others away
            continue
        if _kind(theirs) == _kind(shape):
            alike.append(
                (
                    len(study.ladder.sizes) < LADDER,
                    name != source,
                    _special(study, shape),
                    study.budget.cpu_seconds,
                    study,
                )
            )
    return min(alike, key=lambda one: one[:4])[4] if alike else None


def _special(study: StudySpec, shape: DataShape) -> int:
    """In how many ways a study is about something special: settings of its data, what it varies, classes it ignores."""
    ignores = shape.n_classes > 0 and not families[str(study.model.get("family"))].learns_classes
    return len(study.data) + len(study.ladder.vary) + ignores


def _kind(shape: DataShape) -> tuple[object, ...]:
    named = shape.modality == "captions" or bool(shape.n_classes)  # captions serve with and without classes
    return shape.modality, named, bool(shape.n_outputs), shape.min_context > 0


def _family(shape: DataShape) -> str:
    default = str(BLANK["model"]["family"])
    fitting = [name for name in families if shape.modality in families[name].modalities]
    return default if default in fitting or not fitting else fitting[0]


def _fits(capability: str, source: str) -> bool:
    """Whether a capability is not one of another source's own."""
    return capability == source or capability not in sources
