"""What a student is to learn from its teacher: softened choices (Hinton 2015) and hidden states (Romero 2015)."""

import torch.nn.functional as F
from torch import Tensor


def taught_loss(student: Tensor, teacher: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of logits (n, k) at temperature T, in nats, the mean over targets that count.

    T^2 keeps the gradient's size as T grows (Hinton 2015, section 2.1). Targets of -100 are left out.
    """
    log_student = F.log_softmax(student / temperature, dim=-1)
    log_teacher = F.log_softmax(teacher / temperature, dim=-1)
    away = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(-1)
    counts = (targets >= 0).to(away.dtype)
    return temperature**2 * (away * counts).sum() / counts.sum().clamp(min=1)


def hidden_loss(student: Tensor, teacher: Tensor, into: Tensor) -> Tensor:
    """Squared distance of ``into`` (wide, n) applied to states (..., n) from states (..., wide), over their own size.

    1 is what a map to nothing scores, whatever the scale of the teacher's states.
    """
    return (F.linear(student, into) - teacher).square().mean() / teacher.square().mean().clamp(min=1e-12)
