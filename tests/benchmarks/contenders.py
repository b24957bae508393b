"""The loops that bench_training_speed.py sets side by side: the lab's, nanoGPT's, the Trainer's and litgpt's.

The nanoGPT loop is written here in our own words after its published description; the Trainer and litgpt run only
where they are installed.
"""

import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

SEED = 1337
RATE = 1e-3


@dataclass(frozen=True)
class Setting:
    """One model shape and batch, and how many steps a round and the warm-up take."""

    n_layers: int
    d_model: int
    n_heads: int
    context: int
    batch: int
    steps: int
    warm_up: int


Loop = Callable[[int], list[float]]
"""Train that many steps; the loss of each."""


def text_bytes() -> Any:
    """Bytes of the standard library's top-level modules in a seeded order, uint8."""
    import numpy as np

    files = sorted(Path(os.__file__).parent.glob("*.py"))
    np.random.default_rng(0).shuffle(files)  # type: ignore[arg-type]
    return np.frombuffer(b"".join(file.read_bytes() for file in files), dtype=np.uint8)


class Windows:
    """Seeded random windows of the text: the same batch at the same step for every contender."""

    def __init__(self, setting: Setting) -> None:
        self.data, self.setting, self.step = text_bytes(), setting, 0

    def next(self) -> tuple[Any, Any]:
        """``inputs`` and ``targets``, int64 (batch, context)."""
        import numpy as np
        import torch

        t = self.setting.context
        starts = np.random.default_rng((SEED, self.step)).integers(0, len(self.data) - t - 1, self.setting.batch)
        self.step += 1
        windows = torch.from_numpy(np.stack([self.data[s : s + t + 1] for s in starts]).astype(np.int64))
        return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()


def optimizer_groups(model: Any) -> list[dict[str, Any]]:
    """Weight decay on matrices only, as all contenders do."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    return [
        {"params": decayed, "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]


def plain_loop(model: Any, loss_of: Callable[[Any, Any], Any], setting: Setting, *, fused: bool) -> Loop:
    """Forward, backward, clip, step; losses are read out once per call."""
    import torch

    optimizer = torch.optim.AdamW(optimizer_groups(model), lr=RATE, betas=(0.9, 0.95), fused=fused or None)
    parameters, windows = list(model.parameters()), Windows(setting)

    def run(steps: int) -> list[float]:
        losses = []
        for _ in range(steps):
            loss = loss_of(*windows.next())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            losses.append(loss.detach())
        return [float(loss) for loss in losses]

    return run


def lab_loop(name: str, setting: Setting) -> Loop:
    """The family ``gpt`` as a run on CPU sets it up."""
    from engine.training.kernels import choose_attention, configure_allocator

    configure_allocator()
    import torch

    from engine.families import families
    from engine.families._decoder import Decoder
    from engine.training.compilation import compiled_or_eager

    family = families["gpt"]
    step = 8 if setting.d_model < 128 else 32
    shape = {
        "vocab_size": 256,
        "context": setting.context,
        "d_model": setting.d_model,
        "n_layers": setting.n_layers,
        "n_heads": setting.n_heads,
        "head_dim": setting.d_model // setting.n_heads,
        "d_ff": int(setting.d_model * 8 / 3 / step + 0.5) * step,
        "rope_theta": 10_000.0,
        "norm_eps": 1e-5,
        "depth_scaling": True,
    }
    model = family.build(shape, SEED)
    assert isinstance(model, Decoder)
    dtype = torch.float32 if name == "lab-float32" else torch.bfloat16
    attention = choose_attention(
        torch.device("cpu"),
        dtype,
        batch=setting.batch,
        n_heads=setting.n_heads,
        context=setting.context,
        head_dim=setting.d_model // setting.n_heads,
    )
    model.configure(compute_dtype=dtype, attention=attention)

    def loss_of_batch(batch: Any) -> Any:
        return family.loss(model, batch).loss

    loss = loss_of_batch
    if name == "lab":
        inputs, targets = Windows(setting).next()
        log = SimpleNamespace(log=lambda text, _level: print(text, file=sys.stderr))
        loss, _ = compiled_or_eager(loss_of_batch, model, {"inputs": inputs, "targets": targets}, log)  # type: ignore[arg-type]
    return plain_loop(model, lambda x, y: loss({"inputs": x, "targets": y}), setting, fused=True)


def nanogpt_loop(name: str, setting: Setting) -> Loop:
    """GPT-2 without biases or dropout, fused attention, float32, AdamW as torch defaults it on CPU."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            d = setting.d_model
            self.before_attention, self.before_mlp = nn.LayerNorm(d, bias=False), nn.LayerNorm(d, bias=False)
            self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
            self.up, self.down = nn.Linear(d, 4 * d, bias=False), nn.Linear(4 * d, d, bias=False)

        def forward(self, x: Any) -> Any:
            b, t, d = x.shape
            parts = self.qkv(self.before_attention(x)).split(d, dim=2)
            q, k, v = (part.view(b, t, setting.n_heads, -1).transpose(1, 2) for part in parts)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(mixed.transpose(1, 2).contiguous().view(b, t, d))
            return x + self.down(F.gelu(self.up(self.before_mlp(x))))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(256, setting.d_model)
            self.positions = nn.Embedding(setting.context, setting.d_model)
            self.layers = nn.ModuleList(Layer() for _ in range(setting.n_layers))
            self.norm = nn.LayerNorm(setting.d_model, bias=False)
            self.head = nn.Linear(setting.d_model, 256, bias=False)
            self.head.weight = self.tokens.weight
            for key, p in self.named_parameters():
                if p.ndim == 2:
                    residual = key.endswith(("out.weight", "down.weight"))
                    nn.init.normal_(p, std=0.02 / (math.sqrt(2 * setting.n_layers) if residual else 1))

        def forward(self, inputs: Any, targets: Any) -> Any:
            x = self.tokens(inputs) + self.positions(torch.arange(inputs.shape[1]))
            for layer in self.layers:
                x = layer(x)
            logits = self.head(self.norm(x))
            return F.cross_entropy(logits.view(-1, 256), targets.view(-1))

    torch.manual_seed(SEED)
    model = Model()
    loss_of = torch.compile(model) if name.endswith("compiled") else model
    return plain_loop(model, loss_of, setting, fused=False)


def trainer_loop(name: str, setting: Setting) -> Loop:
    """transformers' own Trainer over GPT-2, told to do nothing but train; one ``train`` call per round."""
    import tempfile

    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    torch.manual_seed(SEED)
    config = GPT2Config(
        vocab_size=256,
        n_positions=setting.context,
        n_embd=setting.d_model,
        n_layer=setting.n_layers,
        n_head=setting.n_heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    model, windows = GPT2LMHeadModel(config), Windows(setting)
    optimizer = torch.optim.AdamW(optimizer_groups(model), lr=RATE, betas=(0.9, 0.95), fused=True)
    fast = name.endswith("fast")

    class Dataset(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            while True:
                inputs, targets = windows.next()
                # The model shifts its labels itself: give it the same context and the same number of targets.
                for row, following in zip(inputs, targets, strict=True):
                    yield {"input_ids": row, "shift_labels": following}

    losses: list[float] = []

    class Quiet(Trainer):
        def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> Any:
            targets = inputs.pop("shift_labels")
            loss = torch.nn.functional.cross_entropy(model(**inputs).logits.flatten(0, 1).float(), targets.flatten())
            losses.append(loss.detach())
            return loss

    state: dict[str, Any] = {}

    def run(steps: int) -> list[float]:
        losses.clear()
        if "trainer" not in state:
            arguments = TrainingArguments(
                output_dir=tempfile.mkdtemp(),
                max_steps=10**6,
                per_device_train_batch_size=setting.batch,
                bf16=fast,
                torch_compile=fast,
                max_grad_norm=1.0,
                logging_strategy="no",
                save_strategy="no",
                report_to=[],
                use_cpu=True,
                disable_tqdm=True,
                remove_unused_columns=False,
            )
            constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
            state["trainer"] = Quiet(
                model=model, args=arguments, train_dataset=Dataset(), optimizers=(optimizer, constant)
            )
        state["trainer"].args.max_steps = steps
        state["trainer"].train()
        return [float(loss) for loss in losses[-steps:]]

    return run


def litgpt_loop(_name: str, setting: Setting) -> Loop:
    """litgpt's GPT of the same kind as ours, under its bf16-mixed precision (torch's autocast), compiled.

    Its pretraining fuses AdamW on CUDA only, whatever a recipe asks (litgpt/pretrain.py), hence not here.
    """
    import torch
    from litgpt import GPT, Config

    torch.manual_seed(SEED)
    model = GPT(
        Config(
            name="bench",
            block_size=setting.context,
            vocab_size=256,
            padded_vocab_size=256,
            n_layer=setting.n_layers,
            n_head=setting.n_heads,
            n_embd=setting.d_model,
            intermediate_size=int(setting.d_model * 8 / 3 / 32 + 0.5) * 32,
            rotary_percentage=1.0,
            parallel_residual=False,
            bias=False,
            norm_class_name="RMSNorm",
            mlp_class_name="LLaMAMLP",
        )
    )
    model.apply(model._init_weights)
    compiled = torch.compile(model)

    def loss_of(inputs: Any, targets: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = compiled(inputs)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())

    return plain_loop(model, loss_of, setting, fused=False)


MAKERS: dict[str, Callable[[str, Setting], Loop]] = {
    "lab": lab_loop,
    "nanogpt": nanogpt_loop,
    "trainer": trainer_loop,
    "litgpt": litgpt_loop,
}
"""Who trains, by the first word of a contender's name."""
