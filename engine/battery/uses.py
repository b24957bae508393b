"""Which capabilities are to be measured, with which options, and under what name the scores are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from engine.capabilities import capabilities
from engine.capabilities.base import Capability
from engine.errors import InputError
from engine.i18n import tr
from engine.study import Scalar, convert


@dataclass(frozen=True, slots=True)
class Use:
    """One capability with its options, all of them."""

    capability: Capability
    options: dict[str, Scalar]
    title: str
    """The name of the scores: with other options than the run's own it is another one, and its own stay."""

    @property
    def spec(self) -> Any:
        """The options as the capability takes them."""
        return convert(self.options, self.capability.Spec, self.capability.name)


def parse_options(given: Sequence[str]) -> dict[str, str]:
    """``FIELD=VALUE`` or ``CAPABILITY.FIELD=VALUE`` by field; raises ``InputError`` for anything else."""
    found = {}
    for text in given:
        field, separator, value = text.partition("=")
        if not separator or not field.strip():
            raise InputError(tr("--set {text!r} is not of the form field=value.", text=text))
        found[field.strip()] = value.strip()
    return found


def resolve(names: Sequence[str], given: Mapping[str, str], own: Mapping[str, Mapping[str, Scalar]]) -> list[Use]:
    """The capabilities with what was given over what the run's study says; raises ``InputError`` naming a field.

    ``own`` is what a run measures itself; no name means all of that.
    """
    left = set(given)
    uses = []
    for name in dict.fromkeys(names or own):
        capability = capabilities[name]
        before = _whole(capability, own.get(name, {}))
        fields = {field.encode_name for field in msgspec.structs.fields(capability.Spec)}
        over: dict[str, Any] = {}
        for path, text in given.items():
            of, _, field = path.rpartition(".")
            if field in fields and of in ("", name):
                over[field] = _value(text)
                left.discard(path)
        options = _whole(capability, before | over)
        changed = {field: value for field, value in options.items() if before[field] != value}
        told = ", ".join(f"{field}={value}" for field, value in changed.items())
        uses.append(Use(capability, options, f"{name} ({told})" if told else name))
    if left:
        known = ", ".join(f"{use.capability.name}.{field}" for use in uses for field in use.options)
        raise InputError(tr("--set {text!r} is no option (there are: {known}).", text=min(left), known=known or "-"))
    return uses


def _whole(capability: Capability, options: Mapping[str, Any]) -> dict[str, Scalar]:
    spec = convert(dict(options), capability.Spec, capability.name)
    told: dict[str, Scalar] = msgspec.to_builtins(spec)
    return told


def _value(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text  # a bare word is a string
