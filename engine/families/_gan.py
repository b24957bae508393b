"""The two networks behind ``gan``, the game between them, and the average of the generator's weights."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

LEAK = 0.2
"""Slope of the discriminator's leaky ReLU below zero (Radford 2016)."""
EVALUATION_SEED = 0x6A4
"""Of the noise that validation losses are told with: the same every time."""
WARM_UP = 10.0
"""After t updates the average keeps at most (1 + t) / (WARM_UP + t), so that it soon forgets the untrained weights."""


class Generator(nn.Module):
    """Noise (b, latent) to images (b, c, h, w) in -1..1: a linear layer, then transposed convolutions that double."""

    def __init__(self, shape: Mapping[str, Any], output_multiplier: float) -> None:
        super().__init__()
        widths = stage_widths(shape)
        self.smallest = (widths[0], *smallest_sides(shape))
        self.output_multiplier = output_multiplier
        self.project = nn.Linear(int(shape["latent"]), math.prod(self.smallest))
        self.stages = nn.ModuleList(
            nn.ConvTranspose2d(i, o, 4, stride=2, padding=1) for i, o in itertools.pairwise(widths)
        )
        self.paint = nn.Conv2d(widths[-1], int(shape["channels"]), 3, padding=1)

    def forward(self, noise: Tensor) -> Tensor:
        x = F.relu(self.project(noise)).view(-1, *self.smallest)
        for layer in self.stages:
            x = F.relu(layer(x))
        return torch.tanh(self.paint(x * self.output_multiplier))


class Discriminator(nn.Module):
    """Images (b, c, h, w) to scores (b,), high for what it takes to be real: the generator's mirror image."""

    def __init__(self, shape: Mapping[str, Any], output_multiplier: float) -> None:
        super().__init__()
        widths = stage_widths(shape)[::-1]
        self.output_multiplier = output_multiplier
        self.read = nn.Conv2d(int(shape["channels"]), widths[0], 3, padding=1)
        self.stages = nn.ModuleList(nn.Conv2d(i, o, 4, stride=2, padding=1) for i, o in itertools.pairwise(widths))
        self.score = nn.Linear(widths[-1] * math.prod(smallest_sides(shape)), 1)

    def features(self, images: Tensor) -> Tensor:
        """(b, n) what the score is read from."""
        x = F.leaky_relu(self.read(images), LEAK)
        for layer in self.stages:
            x = F.leaky_relu(layer(x), LEAK)
        return x.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.score(self.features(images) * self.output_multiplier)
        return scores.squeeze(1)


class Players(nn.Module):
    """Both networks. In evaluation mode images come from the average of the generator's weights over training.

    The average is held in buffers: it is saved and resumed with the weights, and it is no parameter.
    """

    def __init__(self, shape: Mapping[str, Any], output_multiplier: float) -> None:
        super().__init__()
        self.latent = int(shape["latent"])
        self.penalty, self.memory = float(shape["penalty"]), float(shape["memory"])
        self.generator = Generator(shape, output_multiplier)
        self.discriminator = Discriminator(shape, output_multiplier)
        for name, weight in self.generator.named_parameters():
            self.register_buffer(_average_of(name), weight.detach().clone())
        self.register_buffer("updates", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        """The discriminator's scores (b,) of images."""
        scores: Tensor = self.discriminator(images)
        return scores

    @torch.no_grad()
    def average(self) -> None:
        """Move the average towards the weights as they are now."""
        updates = self.get_buffer("updates")
        updates += 1
        moved = 1 - ((1 + updates) / (WARM_UP + updates)).clamp(max=self.memory)
        for name, weight in self.generator.named_parameters():
            self.get_buffer(_average_of(name)).lerp_(weight, moved)

    def images(self, noise: Tensor) -> Tensor:
        """What the generator makes of noise (b, latent); in evaluation mode the average of it."""
        if self.training:
            made: Tensor = self.generator(noise)
            return made
        made = functional_call(self.generator, self._averages(), (noise,))
        return made

    def shown(self) -> dict[str, Tensor]:
        """Weights by name of both networks as they are outside training: the generator's are the averages."""
        judge = {f"discriminator.{name}": weight for name, weight in self.discriminator.named_parameters()}
        return {f"generator.{name}": weight for name, weight in self._averages().items()} | judge

    def _averages(self) -> dict[str, Tensor]:
        return {name: self.get_buffer(_average_of(name)) for name, _ in self.generator.named_parameters()}

    def draw(self, n: int, seed: int) -> Tensor:
        """(n, c, h, w) images in -1..1, a function of weights and seed; the noise is drawn on the CPU."""
        noise = torch.randn(n, self.latent, generator=torch.Generator().manual_seed(seed))
        return self.images(noise.to(self.get_buffer("updates").device))

    def play(self, real: Tensor) -> dict[str, Tensor]:
        """Mean losses of both players over images (b, c, h, w), and in training the discriminator's ``penalty``.

        The generator is judged by a discriminator whose weights are held, the discriminator by images that are cut
        off from the generator: in the gradient of the sum, every weight has that of its own player's loss.
        """
        if self.training:
            made = self.images(torch.randn(len(real), self.latent, device=real.device))
            real = real.detach().requires_grad_()
        else:
            made = self.draw(len(real), EVALUATION_SEED)
        held = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        judged = functional_call(self.discriminator, held, (made,)).float()
        # A view of the images, since torch's FLOP counter follows no leaf through a gradient inside the forward pass.
        of_real, of_made = self(real.view_as(real)).float(), self(made.detach()).float()
        parts = {
            "generator": F.softplus(-judged).mean(),
            "discriminator": F.softplus(-of_real).mean() + F.softplus(of_made).mean(),
        }
        if self.training:
            (slope,) = torch.autograd.grad(of_real.sum(), real, create_graph=True)
            parts["penalty"] = self.penalty / 2 * slope.float().square().sum((1, 2, 3)).mean()
        return parts


def stage_widths(shape: Mapping[str, Any]) -> list[int]:
    """Channels from the smallest maps to full images: halved wherever the sides double."""
    n = int(shape["stages"])
    return [int(shape["width"]) * 2 ** (n - i) for i in range(n + 1)]


def smallest_sides(shape: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of the smallest maps."""
    scale = 2 ** int(shape["stages"])
    return int(shape["height"]) // scale, int(shape["width_px"]) // scale


@torch.no_grad()
def initialise(model: Players, seed: int, base_width: int) -> Players:
    """Normal weights, a function of ``seed`` alone, and biases of 0.

    Layers before a ReLU have std sqrt(2 / fan_in) (He 2015), a transposed convolution being read by four of its sixteen
    places at a time; the last of each network sqrt(1 / fan_in) of the base width, at every width.
    """
    random = torch.Generator().manual_seed(seed)
    width = model.discriminator.read.out_channels
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            continue
        fan_in = 4 * layer.in_channels if isinstance(layer, nn.ConvTranspose2d) else layer.weight[0].numel()
        last = name in {"generator.paint", "discriminator.score"}
        variance = width / (base_width * fan_in) if last else 2 / fan_in
        layer.weight.normal_(std=math.sqrt(variance), generator=random)
        assert layer.bias is not None
        layer.bias.zero_()
    for name, weight in model.generator.named_parameters():
        model.get_buffer(_average_of(name)).copy_(weight)
    return model


def _average_of(name: str) -> str:
    """The buffer that holds the average of a weight of the generator."""
    return "average_" + name.replace(".", "_")
