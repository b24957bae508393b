"""A recurrent language model as transformers loads it."""

from typing import Any

from torch import Tensor
from torch.nn import functional
from transformers import GenerationMixin
from transformers.modeling_outputs import CausalLMOutput

from engine.families._hub_model import NetworkConfig, NetworkModel
from engine.families._recurrent import Recurrent


class RecurrentForCausalLM(NetworkModel, GenerationMixin):
    """Tokens to scores of the next. ``generate`` keeps no state: every step reads the text from its beginning."""

    def make(self, config: NetworkConfig) -> Recurrent:
        network = Recurrent(config.shape, 1.0)
        network.output_multiplier = config.constants["output_multiplier"]
        return network

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None, **_: Any
    ) -> CausalLMOutput:
        """Logits (batch, t, vocab_size); with labels also the mean loss of each token given those before it.

        Raises ``ValueError`` for padding before a text, which would be read as text.
        """
        if attention_mask is not None and not attention_mask[:, 0].all():
            raise ValueError("padding must come after a text: a recurrent model would read it")
        logits = self.network(input_ids)
        if labels is None:
            return CausalLMOutput(logits=logits)
        loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return CausalLMOutput(loss=loss, logits=logits)

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> dict[str, Tensor | None]:
        """The whole text."""
        return {"input_ids": input_ids, "attention_mask": attention_mask}
