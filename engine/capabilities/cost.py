"""What a finished model costs: bytes on the disk and in memory, seconds to run, and how many weights are not zero."""

from typing import TYPE_CHECKING, Annotated

import msgspec

from engine.capabilities import capabilities
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark
from engine.study import TableSpec

if TYPE_CHECKING:
    from engine.capabilities.base import ModelUnderTest
    from engine.families.base import DataShape
    from engine.sources.base import Prepared

NAME = "cost"
LARGE_BATCH = 32
"""Samples (or sequences) at once where it is not one."""
OWN = ("bytes", "memory", "latency", "latency_batch", "nonzero", "sparsity")
"""Metrics that any model has; the others compare a compressed one with the model that it was made from."""


class CostSpec(TableSpec, frozen=True, kw_only=True):
    """How long to look."""

    seconds: Annotated[
        float,
        msgspec.Meta(
            title=mark("Seconds"),
            description=mark("How long each model is timed at each batch size, after a warm-up."),
            gt=0,
            le=60,
        ),
    ] = 0.4


@capabilities.register(NAME)
class Cost(Capability):
    """No ability: the price of one. Times are medians of repeated forward passes on random input, on this machine."""

    name = NAME
    version = 1
    title = mark("Cost")
    description = mark("Bytes on the disk and in memory, time of a forward pass, and weights that are not zero.")
    Spec = CostSpec
    is_ability = False
    metrics = (
        Metric("bytes", mark("Size of the file"), False, "continuous", mark("bytes")),
        Metric("memory", mark("Memory of the weights"), False, "continuous", mark("bytes")),
        Metric("latency", mark("Time of one sample"), False, "continuous", mark("milliseconds")),
        Metric("latency_batch", mark("Time of 32 samples"), False, "continuous", mark("milliseconds")),
        Metric("nonzero", mark("Weights that are not zero"), False, "continuous"),
        Metric("sparsity", mark("Share of weights that are zero"), True, "continuous"),
        Metric("dense_bytes", mark("Size of the file with its zeros"), False, "continuous", mark("bytes")),
        Metric("parent_bytes", mark("Size of the file before"), False, "continuous", mark("bytes")),
        Metric("parent_memory", mark("Memory of the weights before"), False, "continuous", mark("bytes")),
        Metric("parent_latency", mark("Time of one sample before"), False, "continuous", mark("milliseconds")),
        Metric("parent_latency_batch", mark("Time of 32 samples before"), False, "continuous", mark("milliseconds")),
        Metric("parent_nonzero", mark("Weights that were not zero before"), False, "continuous"),
        Metric("smaller", mark("Times smaller on the disk"), True, "continuous"),
        Metric("faster", mark("Times as fast for one sample"), True, "continuous"),
        Metric("faster_batch", mark("Times as fast for 32 samples"), True, "continuous"),
    )

    def measures(self, metric: str, data: "DataShape") -> bool:
        """What compares needs something to compare with."""
        return metric in OWN

    def evaluate(self, spec: CostSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Of the model alone, as a file of plain float32."""
        from engine.capabilities._cost import file_bytes, footprint, forward_passes, timings

        assert model.family is not None
        size = footprint(model.module)
        found = [
            Score("bytes", file_bytes(model.module)),
            Score("memory", size.memory),
            Score("nonzero", size.nonzero),
            Score("sparsity", size.sparsity),
        ]
        for metric, batch in (("latency", 1), ("latency_batch", LARGE_BATCH)):
            calls = forward_passes(model.family, [model.module], model.shape, model.context, batch, model.device)
            (timing,) = timings(calls, spec.seconds, model.device)
            found.append(Score(metric, timing.median, timing.stderr, timing.n))
        return found
