"""A model of raw audio as transformers loads it."""

from typing import Any

from torch import Tensor
from transformers.modeling_outputs import CausalLMOutput

from engine.families._hub_model import NetworkConfig, NetworkModel
from engine.families._wavenet import Wave


class WaveNet(NetworkModel):
    """Levels of mu-law, int64 (batch, t), to scores of each next level."""

    def make(self, config: NetworkConfig) -> Wave:
        return Wave(config.shape, config.constants["output_multiplier"])

    def forward(self, input_ids: Tensor, condition: Tensor | None = None, **_: Any) -> CausalLMOutput:
        """Logits (batch, t, levels); ``condition`` int64 (batch,) where the model was trained with one."""
        return CausalLMOutput(logits=self.network(input_ids, condition))
