"""A network over vectors as transformers loads it."""

from typing import Any

from torch import Tensor
from transformers.modeling_outputs import SequenceClassifierOutput

from engine.families._hub_model import NetworkConfig, NetworkModel
from engine.families._mlp import Network


class VectorNetwork(NetworkModel):
    """Vectors float32 (batch, n) to scores of classes, or numbers."""

    main_input_name = "inputs"

    def make(self, config: NetworkConfig) -> Network:
        return Network(config.shape, config.constants["output_multiplier"])

    def forward(self, inputs: Tensor, **_: Any) -> SequenceClassifierOutput:
        """What the network gives, (batch, k), as ``logits``."""
        return SequenceClassifierOutput(logits=self.network(inputs))
