"""Checking: what the training loop and the probes expect of a model, told one by one."""

import copy
import dataclasses
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from vision_attn.models import Model
from vision_attn.models.building import made
from vision_attn.models.size import flops
from vision_attn.probes import capture
from vision_attn.spec import InputError, digest, from_json, to_json
from vision_attn.training import Recipe
from vision_attn.training.checkpoint import load_weights, weights_to_bytes

BATCH = 4


@dataclasses.dataclass(frozen=True)
class Expectation:
    """One thing expected of a model: whether it holds, what was found, and whether only some probes need it."""

    name: str
    holds: bool
    found: str = ""
    is_optional: bool = False


def check_model(
    spec: Model, *, image_size: int = 32, in_chans: int = 3, num_classes: int = 10, verbose: bool = False
) -> list[Expectation]:
    """Everything that training and measuring expect of a model's spec, in the manner of scikit-learn's check_estimator.

    Returns every expectation with what was found; `verbose` says instead of raising. Raises `InputError` naming the
    first that does not hold, unless only some probes need it: those are then skipped or told the layers to look at.
    """
    if not isinstance(spec, Model):
        raise InputError(f"spec of check_model must be a Model. Got a {type(spec).__name__} instead.")
    shape = {"image_size": image_size, "in_chans": in_chans, "num_classes": num_classes}
    found = []
    for name, is_optional, check in _expectations(spec, shape):
        try:
            said = check()
            found.append(Expectation(name, True, said, is_optional))
        except Exception as error:  # whatever the model raises is what was found
            text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            found.append(Expectation(name, False, text, is_optional))
            if not is_optional and not verbose:
                raise InputError(f"{type(spec).__name__}: {name}. Found: {text}") from error
    return found


def _expectations(spec: Model, shape: dict[str, int]) -> Iterator[tuple[str, bool, Callable[[], str]]]:
    """Name, whether only some probes need it, and the check, which raises or says what was found."""
    images = torch.rand(BATCH, shape["in_chans"], shape["image_size"], shape["image_size"])
    labels = torch.arange(BATCH) % shape["num_classes"]

    def built(seed: int = 0) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return made(spec, **shape)

    yield "its JSON reads back as the same spec", False, lambda: _reads_back(spec)
    yield "build gives a module", False, lambda: _is_module(built())
    yield "the same seed gives the same weights", False, lambda: _repeats(built(), built())
    yield "images give finite logits, one a class", False, lambda: _logits(built().eval(), images, shape)
    yield "in eval mode an image's logits depend on that image alone", False, lambda: _alone(built().eval(), images)
    yield "every parameter that is trained gets a gradient", False, lambda: _gradients(built(), images, labels)
    yield "three updates of training leave it finite", False, lambda: _trains(built(), images, labels)
    yield "it can be copied, and its state loads into another", False, lambda: _loads(built(), built(seed=1))
    yield "its FLOPs can be counted", False, lambda: _counted(built(), shape)
    yield "its layers are found, for receptive fields and influence", True, lambda: ", ".join(capture.layers(built()))


def _reads_back(spec: Model) -> str:
    again = from_json(to_json(spec), Model)
    if again != spec:
        raise InputError(f"{again!r} instead of {spec!r}")
    return digest(spec)[:12]


def _is_module(module: nn.Module) -> str:
    if not isinstance(module, nn.Module):
        raise InputError(f"a {type(module).__name__}")
    return type(module).__name__


def _repeats(one: nn.Module, other: nn.Module) -> str:
    differ = [k for k, v in one.state_dict().items() if not torch.equal(v, other.state_dict()[k])]
    if differ:
        raise InputError(f"{differ[0]} differs: random numbers must come from torch's global generator")
    return f"{sum(p.numel() for p in one.parameters() if p.requires_grad):,} parameters"


def _logits(module: nn.Module, images: Tensor, shape: dict[str, int]) -> str:
    with torch.no_grad():
        out = module(images)
    expected = (len(images), shape["num_classes"])
    given = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
    if not isinstance(out, Tensor) or given[:2] != expected:
        raise InputError(f"{given} instead of {expected}")
    if not out.isfinite().all():
        raise InputError("logits that are not finite")
    return str(given)


def _alone(module: nn.Module, images: Tensor) -> str:
    with torch.no_grad():
        together, alone = module(images), torch.cat([module(image[None]) for image in images])
    largest = (together - alone).abs().max().item()
    if largest > 1e-3 * max(1.0, together.abs().max().item()):
        raise InputError(f"logits that differ by {largest:.2g} in a batch of others")
    return f"differences of at most {largest:.1g}"


def _gradients(module: nn.Module, images: Tensor, labels: Tensor) -> str:
    with torch.random.fork_rng(devices=[]):
        _loss(module.train(), images, labels).backward()
    without = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
    if without:
        raise InputError(f"no gradient of {', '.join(without[:3])}")
    return "all"


def _trains(module: nn.Module, images: Tensor, labels: Tensor) -> str:
    optimizer = Recipe(updates=3, learning_rate=1e-3).make_optimizer(module)
    losses = []
    with torch.random.fork_rng(devices=[]):
        for _ in range(3):
            optimizer.zero_grad()
            loss = _loss(module.train(), images, labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    if not all(p.isfinite().all() for p in module.parameters()):
        raise InputError("weights that are not finite")
    return f"loss {losses[0]:.3g} to {losses[-1]:.3g}"


def _loads(one: nn.Module, other: nn.Module) -> str:
    load_weights(other, weights_to_bytes(copy.deepcopy(one)))
    return _repeats(one, other)


def _counted(module: nn.Module, shape: dict[str, int]) -> str:
    return f"{flops(module, image_size=shape['image_size'], in_chans=shape['in_chans']):,} FLOPs"


def _loss(module: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    scores = module(images)
    return nn.functional.cross_entropy(scores.flatten(2).mean(2) if scores.ndim > 2 else scores, labels)
