"""A decoder over vectors as transformers loads it."""

from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutput

from engine.families._decoder import Multipliers, rotary_tables
from engine.families._hub_model import NetworkConfig, NetworkModel
from engine.families._vector_decoder import VectorDecoder


class VectorSequenceModel(NetworkModel):
    """Vectors float32 (batch, t, n) to numbers at every position, causally."""

    main_input_name = "inputs"

    def make(self, config: NetworkConfig) -> VectorDecoder:
        return VectorDecoder(config.shape, Multipliers(**config.constants))

    def _init_weights(self, module: nn.Module) -> None:
        """Tables of positions, which are in no file."""
        if isinstance(module, VectorDecoder):
            shape = module.shape
            tables = rotary_tables(module.context, int(shape["head_dim"]), float(shape["rope_theta"]))
            module.rope_cos.copy_(tables[0])
            module.rope_sin.copy_(tables[1])

    def forward(self, inputs: Tensor, **_: Any) -> CausalLMOutput:
        """Numbers (batch, t, k) as ``logits``."""
        return CausalLMOutput(logits=self.network(inputs))
