"""What plain transformers loads a network with that it has no class for: one configuration, and a model around it.

This file, the family's own beside it and the network's are copied into an exported folder, where they run without the
lab. They import nothing but torch and transformers.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel


class NetworkConfig(PretrainedConfig):
    """The shape of a network, as the lab resolved it, and the constants of its forward pass by name."""

    model_type = "emergence_lab"

    def __init__(
        self, shape: Mapping[str, Any] | None = None, constants: Mapping[str, float] | None = None, **rest: Any
    ) -> None:
        self.shape, self.constants = dict(shape or {}), dict(constants or {})
        super().__init__(**rest)


class NetworkModel(PreTrainedModel):
    """A network of the lab as ``network``."""

    config_class = NetworkConfig

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.network = self.make(config)
        self.post_init()

    def make(self, config: NetworkConfig) -> nn.Module:
        """The network, without its weights."""
        raise NotImplementedError

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: every weight is in the file."""
