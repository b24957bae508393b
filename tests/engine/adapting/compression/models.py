"""Untrained models of the built-in studies, small, with biases and norms that are not what initialisation gives."""

import torch
from torch import Tensor, nn

from engine.expand import expand
from engine.families import families
from engine.families.base import Family, build_for
from engine.study import RunSpec, load_study

STUDIES = {
    "cnn": ("digits-cnn", ()),
    "residual cnn": ("digits-cnn", ("model.residual=true",)),
    "vit": ("digits-vit", ()),
    "vit-masked": ("masked-digits", ()),
    "gpt": ("quickstart", ()),
    "gpt-vectors": ("in-context-regression", ()),
    "bert": ("masked-text", ()),
    "mlp": ("parity", ()),
    "clip": ("image-text", ()),
    "rnn": ("recurrent-text", ()),
    "seq2seq": ("translation", ()),
    "wavenet": ("spoken-vowels", ()),
    "gan": ("digits-gan", ()),
}


def spec_of(kind: str) -> RunSpec:
    """The second smallest run of the study with a model of that kind."""
    study, over = STUDIES[kind]
    sizes: dict[int, RunSpec] = {}
    for run in expand(load_study(study, over)):
        sizes.setdefault(run.size, run)
    return list(sizes.values())[1]


def model_of(spec: RunSpec) -> nn.Module:
    """Built from its seed and shaken a little."""
    model = build_for(families[spec.family], spec).eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() < 2 or not parameter.any():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def loss_of(spec: RunSpec, model: nn.Module) -> Tensor:
    """On the same random example every time."""
    family: Family = families[spec.family]
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        return family.loss(model, family.example(spec.shape, 4, spec.training.context)).loss
