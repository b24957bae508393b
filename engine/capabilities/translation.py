"""Translating held-out texts: what matches as a whole, in part, and how likely the reference was."""

from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from engine.capabilities import capabilities
from engine.capabilities._items import ItemsSpec, answer_metrics
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark

if TYPE_CHECKING:
    from engine.capabilities.base import ModelUnderTest
    from engine.sources.base import Prepared

KINDS = ("dates", "numbers", "currencies", "units", "names")
"""What pairs of ``cldr-pairs`` are about; scored one by one where the data has them."""


class TranslationSpec(ItemsSpec, frozen=True, kw_only=True):
    """How many held-out texts are translated, and how."""

    items: Annotated[
        int,
        msgspec.Meta(
            title=mark("Items"),
            description=mark("Texts to translate of each split, the same every time; all where there are fewer."),
            ge=50,
        ),
    ] = 1_000
    beams: Annotated[
        int,
        msgspec.Meta(
            title=mark("Beams"),
            description=mark("Beginnings that are kept at each token; 1 takes the likeliest token (greedy)."),
            ge=1,
            le=64,
        ),
    ] = 1


@capabilities.register("translation")
class Translation(Capability):
    """BLEU (Papineni 2002) and chrF (Popovic 2015) as sacrebleu computes them, exact match, and the reference's
    likelihood.

    Texts are decoded without their references; accuracy per token and likelihood are given the true tokens before.
    """

    name = "translation"
    version = 1
    title = mark("Translation")
    description = mark("Translate texts that were held out, whole and in part right.")
    Spec = TranslationSpec
    metrics = (
        *answer_metrics(),
        Metric("bleu", mark("BLEU"), True, "threshold"),
        Metric("chrf", mark("chrF"), True, "threshold"),
        Metric("exact_match_dates", mark("Exact match of dates"), True, "threshold"),
        Metric("exact_match_numbers", mark("Exact match of numbers"), True, "threshold"),
        Metric("exact_match_currencies", mark("Exact match of amounts of money"), True, "threshold"),
        Metric("exact_match_units", mark("Exact match of quantities"), True, "threshold"),
        Metric("exact_match_names", mark("Exact match of names"), True, "threshold"),
        *answer_metrics("ood_", "ood"),
        Metric("ood_chrf", mark("chrF, out of distribution"), True, "threshold"),
        Metric("ood_exact_match_dates", mark("Exact match of dates, out of distribution"), True, "threshold"),
    )

    def evaluate(self, spec: TranslationSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the data are not pairs of texts."""
        from engine.capabilities._translations import corpus_scores, exact_match, reference_scores, translations
        from engine.sources._pairs import PairItems

        if not isinstance(data, PairItems):
            return []
        held_out = translations(model, data, "validation", spec.items, spec.beams)
        scores = [*reference_scores(held_out), *corpus_scores(held_out)]
        for number, kind in enumerate(data.kinds):
            mask = held_out.kinds == number
            if kind in KINDS and mask.any():
                scores.append(exact_match(held_out, f"exact_match_{kind}", mask))
        if data.n_items("ood"):
            beyond = translations(model, data, "ood", spec.items, spec.beams)
            scores += [*reference_scores(beyond, "ood_"), *corpus_scores(beyond, "ood_", ("chrf",))]
            mask = beyond.kinds == data.kinds.index("dates") if "dates" in data.kinds else np.zeros(len(beyond), bool)
            if mask.any():
                scores.append(exact_match(beyond, "ood_exact_match_dates", mask))
        return scores
