"""Self-learning as a number: what a linear probe reads off frozen pretrained features, beside untrained ones."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np

from engine.capabilities import capabilities
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark
from engine.study import TableSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from engine.capabilities._documents import Items
    from engine.capabilities.base import ModelUnderTest
    from engine.sources.base import Prepared

    Floats = NDArray[np.float64]

LONGEST = 128
"""Tokens of a snippet at most, also where the context is longer."""
ITEMS_PER_BATCH = 256
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse strengths of the L2 penalty to choose from; the loss is a sum over items, features have deviation 1."""
HELD_BACK = 0.25
"""Share of the training items on which the strength is chosen; the probe is then fitted to all of them."""
MAX_ITERATIONS = 300
SALT = 0x9B0BE


class LinearProbeSpec(TableSpec, frozen=True, kw_only=True):
    """How many labelled items the probe learns from and is scored on."""

    train_items: Annotated[
        int,
        msgspec.Meta(
            title=mark("Training items"),
            description=mark("Labelled items that the probe is fitted to; the model stays as it is."),
            ge=32,
        ),
    ] = 1_024
    test_items: Annotated[
        int,
        msgspec.Meta(
            title=mark("Test items"),
            description=mark("Other labelled items that it is scored on, the same every time."),
            ge=32,
        ),
    ] = 2_048
    labels: Annotated[
        Literal["documents", "classes"],
        msgspec.Meta(
            title=mark("Labels of text"),
            description=mark(
                "documents: which held-out document a snippet is from, which any text has; classes: the labels of the "
                "source, such as packages. Images have classes."
            ),
        ),
    ] = "documents"
    classes: Annotated[
        int,
        msgspec.Meta(
            title=mark("Classes"),
            description=mark("Documents or classes of text to tell apart at most, those with most held-out text."),
            ge=2,
            le=100,
        ),
    ] = 16


@dataclass(frozen=True, slots=True)
class Probed:
    """What one probe makes of the test items, (n,) each."""

    hits: "Floats"
    log_likelihood: "Floats"
    """Of the true class, in nats."""


@capabilities.register("linear-probe")
class LinearProbe(Capability):
    """Logistic regression on frozen features against the same on the untrained network's (Alain & Bengio 2016).

    The untrained twin is the very network that the run began with. Its features are random but far from useless, so
    that the difference, ``gain``, is what pretraining taught. It is a sign of self-learning where pretraining saw no
    label, as with the next token of a text.
    """

    name = "linear-probe"
    version = 1
    title = mark("Linear probe")
    description = mark(
        "What the model learned without labels: classes read off its frozen features, by a straight line."
    )
    Spec = LinearProbeSpec
    metrics = (
        Metric("accuracy", mark("Accuracy"), True, "threshold"),
        Metric("untrained_accuracy", mark("Accuracy, untrained network"), True, "threshold"),
        Metric("gain", mark("Accuracy gained by pretraining"), True, "threshold"),
        Metric("log_likelihood", mark("Log-likelihood per item"), True, "continuous", mark("nats per item")),
        Metric(
            "untrained_log_likelihood",
            mark("Log-likelihood per item, untrained network"),
            True,
            "continuous",
            mark("nats per item"),
        ),
        Metric(
            "log_likelihood_gain",
            mark("Log-likelihood gained by pretraining"),
            True,
            "continuous",
            mark("nats per item"),
        ),
    )

    def evaluate(self, spec: LinearProbeSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the data have no labels or the family no features. Chance is the commonest class, and the
        classes' frequencies; that of a gain is 0. Standard errors are over groups of items, gains in pairs by item."""
        found = labelled_items(data, spec, min(model.context, LONGEST))
        if found is None or model.family is None:
            return []
        train, test = found
        twin = model.family.build(model.shape, model.seed, training=model.hints).to(model.device).eval()
        ours, theirs = (probe(model, module, train, test) for module in (model.module, twin))
        if ours is None or theirs is None:
            return []
        return score(ours, theirs, test)


def labelled_items(data: "Prepared", spec: LinearProbeSpec, length: int) -> "tuple[Items, Items] | None":
    """Training and test items of text or of labelled images; None of other data."""
    from engine.capabilities._documents import Items, of_classes, of_documents
    from engine.sources._images import ImageData
    from engine.sources._labelled import Labelled
    from engine.sources._prepared import PreparedText

    asked = (length, spec.classes, spec.train_items, spec.test_items)
    if isinstance(data, PreparedText) and spec.labels == "documents":
        return of_documents(data.validation, *asked)
    if isinstance(data, Labelled):
        return of_classes(data, *asked)
    if isinstance(data, ImageData):
        parts = (data.held_out("train", spec.train_items), data.held_out("validation", spec.test_items))
        train, test = (Items(part["inputs"], part["targets"], np.arange(len(part["targets"]))) for part in parts)
        return train, test
    return None


def probe(model: "ModelUnderTest", module: "nn.Module", train: "Items", test: "Items") -> Probed | None:
    """Fit a probe to the training items' features and score the test items; None where there are no features."""
    features = features_of(model, module, train.inputs), features_of(model, module, test.inputs)
    if features[0] is None or features[1] is None:
        return None
    mean, deviation = features[0].mean(axis=0), features[0].std(axis=0)
    seen, asked = ((x - mean) / np.where(deviation > 0, deviation, 1.0) for x in features)
    strength = choose_strength(seen, train)
    likelihood, classes = _fit(seen, train.labels, strength, asked)
    place = np.searchsorted(classes, test.labels)
    return Probed((likelihood.argmax(axis=1) == place).astype(np.float64), likelihood[np.arange(len(place)), place])


def features_of(model: "ModelUnderTest", module: "nn.Module", inputs: "NDArray[np.generic]") -> "Floats | None":
    """(n, features) of a module of the model's family; None where it has none."""
    import torch

    assert model.family is not None
    parts = []
    with torch.no_grad():
        for first in range(0, len(inputs), ITEMS_PER_BATCH):
            batch = torch.from_numpy(inputs[first : first + ITEMS_PER_BATCH]).to(model.device)
            found = model.family.features(module, batch)
            if found is None:
                return None
            parts.append(found.double().cpu().numpy())
    return np.concatenate(parts)


def choose_strength(features: "Floats", train: "Items") -> float:
    """The one of ``STRENGTHS`` that does best on groups held back from the training items; no test item is read."""
    groups, group = np.unique(train.groups, return_inverse=True)
    order = np.random.default_rng(SALT).permutation(len(groups))
    held_back = np.isin(group, order[: max(1, round(HELD_BACK * len(groups)))])
    # A class of which nothing would be left to learn from is not held back.
    held_back &= np.isin(train.labels, train.labels[~held_back])
    asked = held_back.nonzero()[0]

    def mean_likelihood(strength: float) -> float:
        likelihood, classes = _fit(features[~held_back], train.labels[~held_back], strength, features[asked])
        return float(likelihood[np.arange(len(asked)), np.searchsorted(classes, train.labels[asked])].mean())

    return max(STRENGTHS, key=mean_likelihood)


def score(ours: Probed, theirs: Probed, test: "Items") -> list[Score]:
    """Every metric of the trained and the untrained network's probe on the same items."""
    from engine.capabilities._tokens import most_frequent_share, ratio_and_stderr, unigram_entropy

    _, group = np.unique(test.groups, return_inverse=True)
    per_group, n = np.bincount(group), len(group)
    share, entropy = most_frequent_share(test.labels), unigram_entropy(test.labels)
    rows = (
        ("accuracy", ours.hits, share),
        ("untrained_accuracy", theirs.hits, share),
        ("gain", ours.hits - theirs.hits, 0.0),
        ("log_likelihood", ours.log_likelihood, -entropy),
        ("untrained_log_likelihood", theirs.log_likelihood, -entropy),
        ("log_likelihood_gain", ours.log_likelihood - theirs.log_likelihood, 0.0),
    )
    return [
        Score(name, *ratio_and_stderr(np.bincount(group, values).astype(float), per_group), n, chance)
        for name, values, chance in rows
    ]


def _fit(
    features: "Floats", labels: "NDArray[np.int64]", strength: float, asked: "Floats"
) -> tuple["Floats", "NDArray[np.int64]"]:
    """Log-probabilities (n, classes) of the items asked, and the classes, ascending."""
    from scipy.special import log_softmax
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # The loosest strengths separate the items and have no optimum to converge to; the choice passes them over.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS).fit(features, labels)
    logits = fitted.decision_function(asked)
    if logits.ndim == 1:  # of two classes it is the second one's, against 0
        logits = np.stack([np.zeros_like(logits), logits], axis=1)
    return np.asarray(log_softmax(logits, axis=1), np.float64), np.asarray(fitted.classes_, np.int64)
