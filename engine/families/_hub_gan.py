"""A pair of generator and discriminator as transformers loads it."""

from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import ImageSuperResolutionOutput

from engine.families._gan import Discriminator, Generator
from engine.families._hub_model import NetworkConfig, NetworkModel


class Pair(nn.Module):
    """Both networks; the generator has the average of its weights over training, which the lab draws with."""

    def __init__(self, generator: Generator, discriminator: Discriminator) -> None:
        super().__init__()
        self.generator, self.discriminator = generator, discriminator


class ImageGenerator(NetworkModel):
    """Noise (batch, latent), standard normal, to images; ``network.discriminator`` scores images."""

    main_input_name = "noise"

    def make(self, config: NetworkConfig) -> Pair:
        multiplier = config.constants["output_multiplier"]
        return Pair(Generator(config.shape, multiplier), Discriminator(config.shape, multiplier))

    def forward(self, noise: Tensor, **_: Any) -> ImageSuperResolutionOutput:
        """Images (batch, channels, h, w) in -1..1 as ``reconstruction``."""
        networks = self.network
        assert isinstance(networks, Pair)
        return ImageSuperResolutionOutput(reconstruction=networks.generator(noise))
