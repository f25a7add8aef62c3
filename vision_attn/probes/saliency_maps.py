"""Saliency maps: which places of an image a model's answer is said to rest on, by eight methods and two baselines.

B images, C channels, H height, W width, P side of a patch.
Every method takes a model, normalised images (B, C, H, W), in which 0 is the mean colour, and a class for each, (B,).
It gives (B, rows, columns), higher where the class rests on a place more, and leaves the model as it is.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.probes.attention_relevance import (
    gradient_attention,
    last_attention,
    reads_class_token,
    relevance,
    rollout,
)
from vision_attn.probes.capture import as_grid, at_once, calls_of, frozen, numbers
from vision_attn.probes.maps import attention_maps
from vision_attn.spec import InputError
from vision_attn.training.evaluate import evaluating

Method = Callable[[nn.Module, Tensor, Tensor], Tensor]

AT_ONCE = 25
"""Images that go through a model at once, with all that is kept for gradients; fewer of those that take too much."""
STEPS = 16
"""Points of the path from the mean colour to the image that gradients are integrated along."""


def grad_cam(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391): relu(sum over channels of mean gradient x activation).

    The activations are those that the head pools, what `forward_features` gives. A head that reads a class token passes
    no gradient to the others there: then they are the tokens that the last attention is given. Raises `InputError` for
    a model with neither.
    """
    with evaluating(model), frozen(model), torch.enable_grad():
        if reads_class_token(model, images):
            return _cam_of_tokens(model, images, classes)
        network: Any = model
        if not hasattr(network, "forward_features") or not hasattr(network, "forward_head"):
            given = type(model).__name__
            raise InputError(f"model of grad_cam must have forward_features and forward_head. Got {given} instead.")
        features = network.forward_features(images.detach().requires_grad_())
        score = network.forward_head(features).gather(1, classes[:, None]).sum()
        (slope,) = torch.autograd.grad(score, features)
        return _cam(*(as_grid(model, "", part.detach(), images) for part in (features, slope)))


def gradient_input(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Gradient of the class's logit x input, summed over channels (Shrikumar et al. 2016, arXiv:1605.01713)."""
    return (_gradient(model, images, classes) * images).sum(dim=1)


def integrated_gradients(model: nn.Module, images: Tensor, classes: Tensor, *, steps: int = STEPS) -> Tensor:
    """Integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365) from the mean colour, by the midpoint rule.

    The mean gradient of the class's logit at `steps` points of the straight path, x input, summed over channels. Over
    all pixels it adds up to the logit of the image less that of the mean colour, as far as the steps are fine enough.
    """
    total = torch.zeros_like(images)
    for step in range(steps):
        total += _gradient(model, images * ((step + 0.5) / steps), classes)
    return (total / steps * images).sum(dim=1)


def occlusion(model: nn.Module, images: Tensor, classes: Tensor, *, patch_size: int = 4) -> Tensor:
    """By how much the class's logit falls where a patch gets the mean colour (Zeiler and Fergus 2014, arXiv:1311.2901).

    (B, H / P, W / P), square patches of `patch_size` pixels that do not overlap.
    """
    before = _logits(model, images, classes)
    falls = [before - _logits(model, covered, classes) for covered in without_each(images, patch_size)]
    return torch.stack(falls, dim=1).unflatten(1, lattice(images, patch_size))


def random_map(model: nn.Module, images: Tensor, classes: Tensor, *, patch_size: int = 4, seed: int = 0) -> Tensor:
    """Numbers drawn evenly from [0, 1), which know nothing of image or model: the least a map must be better than."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(len(images), *lattice(images, patch_size), generator=generator).to(images.device)


def centred_gaussian(model: nn.Module, images: Tensor, classes: Tensor, *, patch_size: int = 4) -> Tensor:
    """A hill in the middle, its deviation a quarter of each side: where photographers put their objects."""
    down, across = (
        (torch.arange(side, device=images.device) + 0.5) / side - 0.5 for side in lattice(images, patch_size)
    )
    hill = torch.exp(-(down[:, None].square() + across.square()) / (2 * 0.25**2))
    return hill.expand(len(images), -1, -1)


RANDOM, CENTRE = "random", "centred Gaussian"
METHODS: dict[str, Method] = {
    "attention": last_attention,
    "rollout": rollout,
    "gradient x attention": gradient_attention,
    "relevance propagation": relevance,
    "Grad-CAM": grad_cam,
    "integrated gradients": integrated_gradients,
    "gradient x input": gradient_input,
}
BY_PATCHES: dict[str, Callable[..., Tensor]] = {
    "occlusion": occlusion,
    RANDOM: random_map,
    CENTRE: centred_gaussian,
}
NAMES = (*METHODS, *BY_PATCHES)


def saliency(model: nn.Module, images: Tensor, classes: Tensor, *, method: str, patch_size: int = 4) -> Tensor:
    """The map of a method, one of `NAMES`, on the lattice of square patches: (B, H / P, W / P), float32.

    Finer maps are averaged over each patch, coarser ones interpolated. Raises `InputError` where `patch_size` does not
    divide the image or the method does not fit the model.
    """
    height, width = images.shape[2:]
    if height % patch_size or width % patch_size:
        allowed = f"a divisor of the image size {width if height == width else f'{height} x {width}'}"
        raise InputError(f"patch_size of saliency must be {allowed}. Got {patch_size} instead.")
    if method not in NAMES:
        raise InputError(f"method of saliency must be one of {', '.join(map(repr, NAMES))}. Got {method!r} instead.")
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
        images, classes = (t.clone() if t.is_inference() else t for t in (images, classes))
        if method in BY_PATCHES:
            return BY_PATCHES[method](model, images, classes, patch_size=patch_size).float()
        few = min(AT_ONCE, at_once(numbers(model, images)))
        parts = zip(images.split(few), classes.split(few), strict=True)
        found = torch.cat([METHODS[method](model, *part).detach() for part in parts])
        return on_lattice(found.float(), lattice(images, patch_size))


def fitting(model: nn.Module, images: Tensor, names: Sequence[str] = NAMES) -> list[str]:
    """Those of the methods that can be asked of a model, tried on the first of the images (B, C, S, S)."""
    unfit = set()
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
        first, any_class = images[:1].clone(), torch.zeros(1, dtype=torch.int64, device=images.device)
        for name in METHODS.keys() & set(names):
            try:
                METHODS[name](model, first, any_class)
            except InputError:
                unfit.add(name)
    return [name for name in names if name not in unfit]


def lattice(images: Tensor, patch_size: int) -> tuple[int, int]:
    """The rows and columns of square patches on images."""
    return images.shape[2] // patch_size, images.shape[3] // patch_size


def on_lattice(maps: Tensor, sides: tuple[int, int]) -> Tensor:
    """Maps (B, rows, columns) of other sides: means where they are finer, else bilinear between the middles.

    In float64 between, so that equal values stay equal and get no ranks by rounding.
    """
    exact = maps[:, None].double()
    if maps.shape[1] >= sides[0] and maps.shape[2] >= sides[1]:
        found = F.adaptive_avg_pool2d(exact, sides)
    else:
        found = F.interpolate(exact, sides, mode="bilinear", align_corners=False)
    return found[:, 0].to(maps.dtype)


def without_each(images: Tensor, patch_size: int) -> Iterator[Tensor]:
    """The images without each of their patches in turn, in raster order: the mean colour stands in its place."""
    for top in range(0, images.shape[-2], patch_size):
        for left in range(0, images.shape[-1], patch_size):
            covered = images.clone()
            covered[..., top : top + patch_size, left : left + patch_size] = 0
            yield covered


def _gradient(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    images = images.detach().requires_grad_()
    with evaluating(model), frozen(model), torch.enable_grad():
        score = model(images).gather(1, classes[:, None]).sum()
        (slope,) = torch.autograd.grad(score, images)
    return slope


def _logits(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    with evaluating(model), torch.no_grad():
        return torch.cat([model(part) for part in images.split(4 * AT_ONCE)]).gather(1, classes[:, None])[:, 0]


def _cam_of_tokens(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Grad-CAM of the tokens of the grid that the last attention is given."""
    name, last = list(attention_maps(model, images[:1]).items())[-1]
    scores: list[Tensor] = []
    calls = calls_of({name: model.get_submodule(name)}, lambda: scores.append(model(images.detach().requires_grad_())))
    tokens = calls[name].tokens
    if last.grid is None or len(tokens) != len(images):
        raise InputError(f"tokens of {name} must lie on a grid, those of an image together, for Grad-CAM. They do not.")
    (slope,) = torch.autograd.grad(scores[0].gather(1, classes[:, None]).sum(), tokens)
    parts = (part.detach()[:, last.prefix :].transpose(1, 2).unflatten(2, last.grid) for part in (tokens, slope))
    return _cam(*parts)


def _cam(features: Tensor, slope: Tensor) -> Tensor:
    """The map of activations and gradients (B, C, rows, columns)."""
    return (slope.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1).relu()
