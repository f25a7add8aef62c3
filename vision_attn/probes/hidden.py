"""Hidden paths: pixels on which units depend through what has no gradient, as an argmax, a comparison or detach."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vision_attn.probes.canvas import spots
from vision_attn.probes.gradients import Gradients
from vision_attn.spec import InputError

LEVELS = (-64.0, -4.0, 4.0, 64.0)
"""What is put, times U(1/2, 3/2), in the place of the pixels that no gradient leads to; all were U(1/2, 3/2) before."""


def require_gradients(model: nn.Module, *, names: Sequence[str], image_size: int, in_chans: int, seed: int) -> None:
    """Raise `InputError` where a unit in the middle of a layer changes with pixels outside of its field by gradients.

    The network is the one whose paths "architectural" shows, with norms of every number by itself.
    """
    gradients = Gradients(model, in_chans=in_chans, mode="architectural", seed=seed)
    x = gradients.images(1, (image_size, image_size))
    fields = {}
    for name, output in gradients.maps(x, names).items():
        unit, *_ = spots(output.shape[2:])
        fields[name] = unit, gradients.seen_by(x, output, unit)
    for name, (unit, field) in fields.items():
        if not field.all() and _hangs_on_more(gradients, name, x.detach(), unit, field):
            allowed = "depend on pixels by ways that gradients take, for a receptive field"
            hidden = "a choice, a comparison or detach, to which no gradient leads"
            given = f"{name or 'the output'}, which also depends on pixels through {hidden},"
            raise InputError(f"layers of {type(model).__name__} must {allowed}. Got {given} instead.")


@torch.no_grad()
def _hangs_on_more(gradients: Gradients, name: str, x: Tensor, unit: tuple[int, int], field: Tensor) -> bool:
    """Whether a unit changes with what lies outside of its field. What a model draws at random is always the same."""

    def seen(images: Tensor) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return gradients.maps(images, [name], mode="unscaled")[name][0, :, unit[0], unit[1]]

    before = seen(x)
    others = (torch.where(field, x, level * gradients.images(1, (x.shape[2], x.shape[3]))) for level in LEVELS)
    return any(bool(((seen(other) - before).abs() > 1e-6 * before.abs() + 1e-12).any()) for other in others)
