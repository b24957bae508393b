"""Scores that are known already, by what they depend on: weights, capability, its version, options, and the data."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from engine.capabilities.base import Capability, Score
from engine.store import mutations
from engine.study import Scalar

if TYPE_CHECKING:
    from engine.store import Store


def inputs(capability: Capability, options: Mapping[str, Scalar], weights: str, fingerprint: str) -> dict[str, Any]:
    """What scores depend on; a new version of a capability measures anew."""
    return {
        "weights": weights,
        "capability": capability.name,
        "version": capability.version,
        "options": dict(options),
        "fingerprint": fingerprint,
    }


def key_of(values: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(msgspec.json.encode(values, order="sorted")).hexdigest()


def known(store: "Store", values: Mapping[str, Any]) -> list[Score] | None:
    """Scores that were measured before; None where they were not."""
    found = store.reader().measured(key_of(values))
    return None if found is None else msgspec.json.decode(found, type=list[Score])


def measure(store: "Store", values: Mapping[str, Any], work: Callable[[], Sequence[Score]]) -> tuple[list[Score], bool]:
    """The scores, and whether they were known; else ``work`` measures them and they are kept."""
    found = known(store, values)
    if found is not None:
        return found, True
    scores = list(work())
    store.writer.call(lambda conn: mutations.keep_scores(conn, key_of(values), values, scores)).result()
    return scores, False
