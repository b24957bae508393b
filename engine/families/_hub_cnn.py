"""A convolutional classifier as transformers loads it, where it is no ResNet of its own."""

from typing import Any

from torch import Tensor
from torch.nn import functional
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention

from engine.families._cnn import Network
from engine.families._hub_model import NetworkConfig, NetworkModel


class ConvolutionsForImageClassification(NetworkModel):
    """Images (batch, channels, h, w) in the scale of the folder's ``preprocessor_config.json`` to scores of classes."""

    main_input_name = "pixel_values"

    def make(self, config: NetworkConfig) -> Network:
        return Network(config.shape, config.constants["output_multiplier"])

    def forward(
        self, pixel_values: Tensor, labels: Tensor | None = None, **_: Any
    ) -> ImageClassifierOutputWithNoAttention:
        """Logits (batch, classes); with labels also their mean cross-entropy."""
        logits = self.network(pixel_values)
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits)
