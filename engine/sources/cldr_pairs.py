"""Translation without a network: how two languages write dates, numbers and names, out of CLDR."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from engine.errors import StudyError
from engine.families.base import DataShape
from engine.i18n import mark, tr
from engine.sources import sources
from engine.sources._cldr import KINDS, Cldr, Language, Pair
from engine.sources._pairs import PairItems, PairsSpec, Vocabulary, hash_of, pairs_shape, rows
from engine.sources._procedural import SPLITS, Items, Split
from engine.sources.base import OnProgress, Preview, QualityReport, Source

DRAW_SALT = 0xC1D2


class CldrPairsSpec(PairsSpec, frozen=True, kw_only=True):
    """Which languages, and what the pairs are about."""

    source_language: Annotated[
        Language, msgspec.Meta(title=mark("From"), description=mark("Language of the texts that are read."))
    ] = "en"
    target_language: Annotated[
        Language, msgspec.Meta(title=mark("To"), description=mark("Language of the texts that are to be written."))
    ] = "zh"
    dates: Annotated[
        bool, msgspec.Meta(title=mark("Dates"), description=mark("Days in four styles, two with the weekday."))
    ] = True
    numbers: Annotated[
        bool,
        msgspec.Meta(title=mark("Numbers"), description=mark("Plain, in words such as 1.23 million, and per cent.")),
    ] = True
    currencies: Annotated[
        bool,
        msgspec.Meta(title=mark("Amounts of money"), description=mark("In 40 currencies, by name and by sign.")),
    ] = True
    units: Annotated[
        bool, msgspec.Meta(title=mark("Quantities"), description=mark("Numbers with units of measurement."))
    ] = True
    names: Annotated[
        bool,
        msgspec.Meta(
            title=mark("Names"), description=mark("Countries, regions, languages and currencies: entries of CLDR.")
        ),
    ] = True
    items: Annotated[
        int,
        msgspec.Meta(
            title=mark("Pairs of a kind"),
            description=mark("Pairs that are drawn of each kind; of names there are as many as CLDR has."),
            ge=100,
            le=100_000,
        ),
    ] = 4_000
    first_year: Annotated[
        int,
        msgspec.Meta(
            title=mark("First year"), description=mark("First year of training; 50 before are asked apart."), ge=1
        ),
    ] = 1950
    last_year: Annotated[
        int,
        msgspec.Meta(
            title=mark("Last year"), description=mark("Last year of training; 50 after are asked apart."), le=9_900
        ),
    ] = 2049
    digits: Annotated[
        int,
        msgspec.Meta(
            title=mark("Digits"),
            description=mark("Most digits before the point; longer numbers are asked apart."),
            ge=1,
            le=12,
        ),
    ] = 5
    draw: Annotated[
        int,
        msgspec.Meta(title=mark("Draw"), description=mark("Another number gives other pairs of the same kinds."), ge=0),
    ] = 0


@sources.register("cldr-pairs")
class CldrPairs(Source):
    """Dates, numbers, amounts, quantities and names in two languages.

    The words, orders and signs are real: those of CLDR, which ``babel`` brings along. Of names every entry is one pair.
    The days and numbers are drawn by a program and formatted by CLDR's rules.
    """

    name = "cldr-pairs"
    version = 1
    title = mark("CLDR: dates, numbers and names in two languages")
    Spec = CldrPairsSpec
    procedural = True

    def shape(self, spec: CldrPairsSpec) -> DataShape:
        """Pairs over the characters that both languages can write them with."""
        return pairs_shape(spec, vocabulary(spec).size)

    def prepare(self, spec: CldrPairsSpec, cache: Path, on_progress: OnProgress) -> PairItems:
        """Format and split; about a second for the default number of pairs, once per process."""
        return _prepared(spec)

    def preview(self, spec: CldrPairsSpec, n: int = 5) -> list[Preview]:
        """The first ``n`` pairs of each split of a small draw."""
        return _prepared(msgspec.structs.replace(spec, items=min(spec.items, 400))).preview(n)


def _cldr(spec: CldrPairsSpec) -> Cldr:
    if spec.source_language == spec.target_language:
        raise StudyError(
            tr("data.target_language: {language} is the language of the source.", language=spec.target_language)
        )
    if spec.first_year > spec.last_year:
        raise StudyError(tr("data.last_year: {last} is before {first}.", last=spec.last_year, first=spec.first_year))
    if not wanted(spec):
        raise StudyError(tr("data: choose at least one kind of pairs, such as data.dates."))
    return Cldr(spec.source_language, spec.target_language, spec.first_year, spec.last_year, spec.digits)


def wanted(spec: CldrPairsSpec) -> tuple[str, ...]:
    """The kinds that a spec asks for."""
    return tuple(kind for kind in KINDS if getattr(spec, kind))


@lru_cache(maxsize=32)
def vocabulary(spec: CldrPairsSpec) -> Vocabulary:
    """Known without making the pairs: a probe of each kind holds every character there can be."""
    if spec.tokens == "bytes":
        return Vocabulary(None)
    characters: set[str] = set()
    for pair in _cldr(spec).probe(wanted(spec)):
        characters.update(pair.source, pair.target)
    return Vocabulary(sorted(characters))


@lru_cache(maxsize=4)
def _prepared(spec: CldrPairsSpec) -> PairItems:
    found, duplicates = _split(spec)
    texts = vocabulary(spec)
    made: dict[Split, Items] = {}
    too_long = 0
    for split, pairs in found.items():
        made[split], left_out = rows(spec, texts, ((pair.kind, pair.source, pair.target) for pair in pairs))
        too_long += left_out
    report = _report(found, made, duplicates, too_long)
    return PairItems(CldrPairs.name, CldrPairs.version, spec, texts, kinds=KINDS, splits=made, report=report)


def _split(spec: CldrPairsSpec) -> tuple[dict[Split, list[Pair]], int]:
    """Different pairs by split, and how many were drawn again."""
    found: dict[Split, dict[str, Pair]] = {split: {} for split in SPLITS}
    n_drawn = 0
    for split, pair in _drawn(spec):
        found[split].setdefault(pair.source, pair)
        n_drawn += 1
    kept: dict[Split, list[Pair]] = {}
    known: set[str] = set()
    for split in SPLITS:  # a text that came under two keys stays where it is trained on
        kept[split] = [pair for source, pair in found[split].items() if source not in known]
        known.update(found[split])
    return kept, n_drawn - sum(len(pairs) for pairs in kept.values())


def _drawn(spec: CldrPairsSpec) -> Iterator[tuple[Split, Pair]]:
    """Every pair that is drawn with the split that its key sends it to; an empty key is never held out."""
    cldr = _cldr(spec)
    for kind in wanted(spec):
        for ood in (False, True):
            rng = np.random.default_rng((DRAW_SALT, spec.draw, KINDS.index(kind), ood))
            if kind != "names":
                pairs = cldr.drawn[kind](rng, spec.items // 4 if ood else spec.items, ood)
            else:
                pairs = iter(()) if ood else cldr.names()
            for pair in pairs:
                held_out = pair.key != "" and hash_of(pair.key) < spec.validation_fraction
                yield "ood" if ood else "validation" if held_out else "train", pair


def _report(
    found: Mapping[Split, list[Pair]],
    made: Mapping[Split, Items],
    duplicates: int,
    too_long: int,
) -> QualityReport:
    sizes = {split: sum(len((p.source + p.target).encode()) for p in pairs) for split, pairs in found.items()}
    lengths = [len(p.source) for pairs in found.values() for p in pairs]
    known = {p.source for p in found["train"]}
    counts = np.bincount(np.concatenate([made["train"][:, 0], made["validation"][:, 0]]), minlength=len(KINDS))
    return QualityReport(
        n_documents=sum(len(part) for part in made.values()),
        n_train=len(made["train"]),
        n_validation=len(made["validation"]),
        bytes_train=sizes["train"],
        bytes_validation=sizes["validation"],
        exact_duplicates=duplicates,
        near_duplicates=0,
        leaked=sum(p.source in known for p in found["validation"]),
        skipped=((tr("pairs"), tr("longer than data.source_length or data.target_length")),) if too_long else (),
        n_skipped=too_long,
        length_quantiles=tuple(float(q) for q in np.quantile(lengths, (0.05, 0.25, 0.5, 0.75, 0.95))),
        length_unit=mark("characters"),
        label_counts=tuple((kind, int(n)) for kind, n in zip(KINDS, counts, strict=True) if n),
        notes=(
            tr("Words, orders and signs are those of CLDR; days and numbers are drawn and formatted by a program."),
            tr("Held out by day, by number and by entry; other years and longer numbers are out of distribution."),
        ),
    )
