"""Bias effect: what the biases of queries, keys and values can do to the output of attention, in exact arithmetic.

B batch, N tokens, C channels.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.data.base import Data, Dataset
from vision_attn.layers import Attention
from vision_attn.models.base import Model
from vision_attn.models.blocks import Block
from vision_attn.models.copies import copied
from vision_attn.probes.attentions import attention_layers, biases_of, exact_copy, generator_of, without_attention
from vision_attn.probes.base import Probe, Row
from vision_attn.probes.capture import at_once, calls_of, numbers
from vision_attn.probes.lattice import chosen
from vision_attn.spec import spec
from vision_attn.training.evaluate import evaluating, read_out

ABSORBED = "v, absorbed"


@spec
class BiasEffect(Probe):
    """Every attention layer in float64, on its true input for test images; coordinates `layer` and `projection`.

    A bias of k adds q . b to all scores of a query alike, which the softmax cancels. A bias b of v is added to what
    every token gets, as weights sum to 1, and so is a bias W_proj b of the last projection. A bias of q adds b . k to
    the scores, which differs from key to key. With norms on q and k, or similarities that are no product, the first no
    longer holds.

    `bias_effect`           the largest change of an output by a standard normal bias of "q", "k" or "v"; "v, absorbed":
                            what is left of it when the last projection has the bias W_proj b instead
    `bias_gradient`         root mean square over channels of the gradient of the mean cross-entropy with respect to the
                            bias, added where the network has none
    `norm_bias_relative`    |W beta| / |W x| root mean squares, beta the bias of the LayerNorm before, x the tokens: the
                            bias that a projection without one still has, beside its output; where there is such a norm
    """

    images: int = 16

    def check(self) -> None:
        self.require("images", self.images >= 1, "at least 1")

    def skip(self, model: Model, data: Dataset) -> str | None:
        return without_attention(model)

    @torch.inference_mode(False)
    @torch.enable_grad()
    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        attention_layers(model, what="BiasEffect")
        generator = generator_of(model)
        split = chosen(data, split="test", images=self.images)
        images, labels = data.normalise(split.images).cpu().double(), split.labels.cpu()
        network = copied(model).cpu().double()
        layers = {name: part for name, part in network.named_modules() if isinstance(part, Attention)}
        for layer in layers.values():
            layer.qkv = _biased(layer)
        with evaluating(network), torch.no_grad():
            calls = calls_of(dict(layers), lambda: network(images))
        gradients = _gradients(network, layers, images, labels)
        for number, (name, call) in enumerate(calls.items(), start=1):
            for projection, value in _effects(layers[name], call.tokens, generator):
                yield {"metric": "bias_effect", "layer": number, "projection": projection, "value": value}
            for projection, value in gradients[name].items():
                yield {"metric": "bias_gradient", "layer": number, "projection": projection, "value": value}
            block = network.get_submodule(name.rpartition(".")[0])
            if isinstance(block, Block):
                for projection, value in _of_norm(layers[name], block.norm1.bias.detach(), call.tokens):
                    yield {"metric": "norm_bias_relative", "layer": number, "projection": projection, "value": value}


def _biased(layer: Attention) -> nn.Linear:
    """The projection with a bias for each of q, k and v, 0 where it has none."""
    with torch.random.fork_rng(devices=[]):
        own = nn.Linear(layer.dim, sum(layer.widths.values()), dtype=torch.float64)
    with torch.no_grad():
        own.weight.copy_(layer.qkv.weight)
        own.bias.zero_()
        before = biases_of(layer)
    layer.qkv = own
    with torch.no_grad():
        for name, bias in biases_of(layer).items():
            if name in before:
                bias.copy_(before[name])
    return own


def _effects(layer: Attention, tokens: Tensor, generator: torch.Generator) -> Iterator[tuple[str, float]]:
    layer = exact_copy(layer)
    layer.qkv.bias.zero_()
    without, biases = layer(tokens), biases_of(layer)
    for name, bias in biases.items():
        bias.copy_(torch.randn(bias.shape, generator=generator, dtype=bias.dtype))
        found = layer(tokens)
        yield name, (found - without).abs().max().item()
        if name == "v":
            elsewhere = without + layer.after * F.linear(bias, layer.proj.weight)
            yield ABSORBED, (found - elsewhere).abs().max().item()
        bias.zero_()


def _gradients(
    network: nn.Module, layers: dict[str, Attention], images: Tensor, labels: Tensor
) -> dict[str, dict[str, float]]:
    parameters, few, count = [layer.qkv.bias for layer in layers.values()], at_once(numbers(network, images)), 0
    found = [torch.zeros_like(parameter) for parameter in parameters]
    with evaluating(network), torch.enable_grad():
        for part, its_labels in zip(images.split(few), labels.split(few), strict=True):
            scores, wanted = read_out(network(part), its_labels)
            count += len(wanted)
            slopes = torch.autograd.grad(F.cross_entropy(scores, wanted, reduction="sum"), parameters)
            found = [total + slope for total, slope in zip(found, slopes, strict=True)]
    out = {}
    for (name, layer), gradient in zip(layers.items(), found, strict=True):
        parts = (gradient / count).split(list(layer.widths.values()))
        out[name] = {projection: _rms(part) for projection, part in zip(layer.widths, parts, strict=True)}
    return out


def _of_norm(layer: Attention, beta: Tensor, tokens: Tensor) -> Iterator[tuple[str, float]]:
    weights = layer.qkv.weight.detach().split(list(layer.widths.values()))
    for projection, weight in zip(layer.widths, weights, strict=True):
        yield projection, _rms(F.linear(beta, weight)) / _rms(F.linear(tokens, weight))


def _rms(values: Tensor) -> float:
    return values.detach().square().mean().sqrt().item()
