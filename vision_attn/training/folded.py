"""Folded models: the models of K runs as one module, the parameters of all in one tensor each, written by hand.

K members, B images a member, C channels. Activations of all members lie one below the other, (K B, ...), those of a
member together. What has no parameters is computed as it is for K B images; linear maps, norms and convolutions take
the parameters of each member for its images. What has no such form is computed member by member.

`torch.vmap` over a model does the same in theory; it has no rule for the gradient of the fused attention, none for the
buffers of a batch norm, and slows dropout down.
"""

import contextlib
import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from vision_attn.layers import Attention, LearnedPosition, SinCosPosition
from vision_attn.layers.cells import CellConv
from vision_attn.models.trunk import VisionTransformer
from vision_attn.training.evaluate import evaluating

Tensors = Mapping[str, Tensor]
DRAWING = ("p", "rate", "prob", "drop_prob")
BY_IMAGES = (VisionTransformer, LearnedPosition, SinCosPosition)
"""Modules whose own tensors (1, ...) are joined to those of every image, so that they may be (K B, ...) as well."""


class FoldedModel(nn.Module):
    """K models of one architecture as one: images (K B, C, H, W), those of a member together, to logits (K B, ...).

    `params` and `buffers` are the members' tensors by name, stacked (`torch.func.stack_module_state`); they are used
    where they are, so that an optimiser may change them. With `apart` the whole model is computed member by member.
    `generators` are what dropout of each member draws from, on its device.
    """

    def __init__(self, model: nn.Module, params: Tensors, buffers: Tensors, *, members: int, apart: bool) -> None:
        super().__init__()
        device = next(iter(params.values())).device
        self.members = members
        self.generators = [torch.Generator(device) for _ in range(members)]
        self.by_images: list[tuple[nn.Module, str, Tensor]] = []
        self.tensors = {**params, **buffers}
        self.names = {
            id(tensor): name
            for name, tensor in (*model.named_parameters(), *model.named_buffers())
            if name in self.tensors
        }
        self.inner = self._apart(model) if apart else self._folded(model)

    def forward(self, images: Tensor) -> Tensor:
        each = len(images) // self.members
        for module, name, stacked in self.by_images:
            module.__dict__[name] = stacked.expand(-1, each, *stacked.shape[2:]).flatten(0, 1)
        return self.inner(images)

    def agrees(self, models: Sequence[nn.Module], images: Tensor) -> bool:
        """Whether it gives for the images (K B, C, H, W) what each of the models gives for its own, in eval mode.

        It does not where a module without parameters mixes images, or takes a number of images for something else.
        """
        with contextlib.ExitStack() as modes, torch.no_grad():
            for model in (self, *models):
                modes.enter_context(evaluating(model))
            apart = torch.cat([model(own) for model, own in zip(models, images.chunk(self.members), strict=True)])
            try:
                together = self(images)
            except (AttributeError, RuntimeError, TypeError, ValueError):
                return False
        return together.shape == apart.shape and torch.allclose(together, apart, rtol=1e-3, atol=1e-3, equal_nan=True)

    def _own(self, module: nn.Module) -> dict[str, Tensor]:
        """The stacked tensors of a module's own, without those of its children."""
        direct = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        return {name: self.tensors[self.names[id(tensor)]] for name, tensor in direct}

    def _folded(self, module: nn.Module) -> nn.Module:
        own = self._own(module)
        if (made := FOLDED.get(type(module))) is not None and not _hooked(module):
            folded = made(module, own, self.members)
            if folded is not None:
                return folded
        if (own and type(module) not in BY_IMAGES) or _hooked(module) or draws(module):
            return self._apart(module)
        if isinstance(module, Attention) and not _folds(module):
            return self._apart(module)
        shell = copy.copy(module)
        absent = ({name: None for name, tensor in each.items() if tensor is None} for each in _tables(module))
        shell.__dict__.update(zip(("_parameters", "_buffers"), absent, strict=True), _modules=dict(module._modules))
        for name, tensor in own.items():
            self.by_images.append((shell, name, tensor))
        for name, child in module._modules.items():  # also one that stands there several times
            shell._modules[name] = None if child is None else self._folded(child)
        return shell

    def _apart(self, module: nn.Module) -> nn.Module:
        own = {  # of a part that stands there several times once, as `functional_call` puts back what it finds
            f"{place}.{name}".removeprefix("."): self.tensors[self.names[id(tensor)]]
            for place, part in module.named_modules()
            for table in _tables(part)
            for name, tensor in table.items()
            if tensor is not None
        }
        drawing = any(draws(each) for each in module.modules())
        return MemberByMember(module, own, self.members, self.generators if drawing else None)


class MemberByMember(nn.Module):
    """A module computed for the images of one member after those of another."""

    def __init__(
        self, module: nn.Module, own: Tensors, members: int, generators: Sequence[torch.Generator] | None
    ) -> None:
        super().__init__()
        self.module, self.own, self.members, self.generators = [module], own, members, generators

    def forward(self, x: Tensor, *more: object, **options: object) -> Tensor | tuple[object, ...]:
        self.module[0].train(self.training)
        parts = {name: tensor.unbind(0) for name, tensor in self.own.items()}
        outs = []
        for member, images in enumerate(x.chunk(self.members)):
            tensors = {name: each[member] for name, each in parts.items()}
            with contextlib.nullcontext() if self.generators is None else _drawing(self.generators[member]):
                outs.append(functional_call(self.module[0], tensors, (images, *more), options, tie_weights=False))
        return torch.cat(outs) if isinstance(outs[0], Tensor) else _joined(outs)


def _joined(outs: list[tuple[object, ...]]) -> tuple[object, ...]:
    """Tuples of tensors, as of a recurrent layer: the first of each is of the images; no other is looked at."""
    return (torch.cat([out[0] for out in outs]), None)  # type: ignore[misc]


@contextlib.contextmanager
def _drawing(generator: torch.Generator) -> Iterator[None]:
    """Inside, the global generator of the generator's device goes on where this one stands."""
    of: Any = torch.cuda if generator.device.type == "cuda" else torch
    before = of.get_rng_state()
    of.set_rng_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(of.get_rng_state())
        of.set_rng_state(before)


class FoldedLinear(nn.Module):
    """y = x W_k^T + b_k for the rows of member k: one batched product."""

    def __init__(self, own: Tensors, members: int) -> None:
        super().__init__()
        self.weight, self.bias, self.members = own["weight"], own.get("bias"), members

    def forward(self, x: Tensor) -> Tensor:
        rows, weight = x.reshape(self.members, -1, x.shape[-1]), self.weight.transpose(1, 2)
        out = rows @ weight if self.bias is None else torch.baddbmm(self.bias[:, None], rows, weight)
        return out.view(*x.shape[:-1], -1)


class FoldedLayerNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) over the last dimensions, times w_k, plus b_k."""

    def __init__(self, own: Tensors, members: int, *, shape: tuple[int, ...], eps: float) -> None:
        super().__init__()
        self.weight, self.bias, self.shape, self.eps, self.members = (
            own.get("weight"),
            own.get("bias"),
            shape,
            eps,
            members,
        )

    def forward(self, x: Tensor) -> Tensor:
        raised = x.is_cuda and torch.is_autocast_enabled("cuda")  # as autocast does there
        given = torch.float32 if raised else x.dtype
        out = F.layer_norm(x.to(torch.promote_types(x.dtype, torch.float32)), self.shape, eps=self.eps)
        if self.weight is not None:
            out = out.view(self.members, -1, *x.shape[1:])
            weight = self._rows(self.weight, x)
            out = out * weight if self.bias is None else torch.addcmul(self._rows(self.bias, x), out, weight)
        return out.view(x.shape).to(given)

    def _rows(self, tensor: Tensor, x: Tensor) -> Tensor:
        return tensor.view(self.members, *[1] * (x.ndim - len(self.shape)), *self.shape)


class FoldedConv2d(nn.Module):
    """Convolutions with the kernels of each member: one of K times the channels, in K times the groups.

    Where the kernels tile the image, as in a patch embedding, one batched product of the patches.
    """

    def __init__(self, conv: nn.Conv2d, own: Tensors, members: int) -> None:
        super().__init__()
        self.weight, self.bias, self.members = own["weight"], own.get("bias"), members
        self.options: dict[str, Any] = {"stride": conv.stride, "padding": conv.padding, "dilation": conv.dilation}
        self.groups, self.size = conv.groups * members, conv.kernel_size
        plain = conv.groups == 1 and conv.dilation == (1, 1) and conv.padding == (0, 0)
        self.tiles = plain and conv.kernel_size == conv.stride

    def forward(self, x: Tensor) -> Tensor:
        if self.tiles and x.shape[2] % self.size[0] == 0 and x.shape[3] % self.size[1] == 0:
            return self._of_patches(x)
        wide = x.unflatten(0, (self.members, -1)).transpose(0, 1).flatten(1, 2)
        bias = None if self.bias is None else self.bias.flatten()
        out = F.conv2d(wide, self.weight.flatten(0, 1), bias, groups=self.groups, **self.options)
        return out.unflatten(1, (self.members, -1)).transpose(0, 1).flatten(0, 1)

    def _of_patches(self, x: Tensor) -> Tensor:
        (height, width), channels = self.size, x.shape[1]
        rows, columns = x.shape[2] // height, x.shape[3] // width
        patches = x.view(len(x), channels, rows, height, columns, width).permute(0, 2, 4, 1, 3, 5)
        flat = patches.reshape(self.members, -1, channels * height * width)
        weight = self.weight.flatten(2).transpose(1, 2)
        out = flat @ weight if self.bias is None else torch.baddbmm(self.bias[:, None], flat, weight)
        return out.view(len(x), rows, columns, -1).permute(0, 3, 1, 2)


class FoldedBatchNorm2d(nn.Module):
    """A batch norm of K times the channels, so that each member has the statistics of its own images."""

    def __init__(self, norm: nn.BatchNorm2d, own: Tensors, members: int) -> None:
        super().__init__()
        assert norm.momentum is not None
        self.own, self.members, self.momentum, self.eps = own, members, norm.momentum, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        own = {name: tensor.flatten() for name, tensor in self.own.items()}
        if self.training:
            own["num_batches_tracked"].add_(1)
        wide = x.unflatten(0, (self.members, -1)).transpose(0, 1).flatten(1, 2)
        out = F.batch_norm(
            wide,
            own["running_mean"],
            own["running_var"],
            own["weight"],
            own["bias"],
            training=self.training,
            momentum=self.momentum,
            eps=self.eps,
        )
        return out.unflatten(1, (self.members, -1)).transpose(0, 1).flatten(0, 1)


def _linear(module: nn.Linear, own: Tensors, members: int) -> nn.Module | None:
    return FoldedLinear(own, members)


def _layer_norm(module: nn.LayerNorm, own: Tensors, members: int) -> nn.Module | None:
    return FoldedLayerNorm(own, members, shape=tuple(module.normalized_shape), eps=module.eps)


def _conv2d(module: nn.Conv2d, own: Tensors, members: int) -> nn.Module | None:
    known = module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return FoldedConv2d(module, own, members) if known else None


def _batch_norm(module: nn.BatchNorm2d, own: Tensors, members: int) -> nn.Module | None:
    known = module.affine and module.track_running_stats and module.momentum is not None
    return FoldedBatchNorm2d(module, own, members) if known else None


FOLDED: dict[type[nn.Module], Callable[..., nn.Module | None]] = {
    nn.Linear: _linear,
    nn.LayerNorm: _layer_norm,
    nn.Conv2d: _conv2d,
    CellConv: _conv2d,
    nn.BatchNorm2d: _batch_norm,
}
"""What is written by hand, by the type of the module; another type, also one derived, may mean something else."""


def draws(module: nn.Module) -> bool:
    """Whether the module draws random numbers in training, as dropout and drop path do."""
    dropping = "Drop" in type(module).__name__ and any(getattr(module, name, 0) for name in DRAWING)
    return dropping or (isinstance(module, nn.RNNBase | nn.MultiheadAttention) and bool(module.dropout))


def _folds(layer: Attention) -> bool:
    """Whether an attention may be folded: not where weights are dropped out, or scores have parameters of their own."""
    position = layer.position
    placed = position is None or type(position) in BY_IMAGES or not any(True for _ in _tensors(position))
    return placed and not any(True for _ in _tensors(layer.similarity)) and not any(map(draws, layer.children()))


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return itertools.chain(module.parameters(), module.buffers())


def _tables(module: nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    return module._parameters, module._buffers


def _hooked(module: nn.Module) -> bool:
    """Whether there is more to a call of the module than its forward, such as hooks or parametrisations."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks) or "forward" in vars(module) or hasattr(module, "parametrizations")
