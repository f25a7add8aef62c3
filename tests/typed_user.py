"""What a user of the public API writes, under mypy --strict."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

import vision_attn
from vision_attn import (
    Accuracy,
    Attention,
    Cifar10,
    DepthwiseConv,
    Experiment,
    Gap,
    ImageFolder,
    LearningCurve,
    Mnist5k,
    Quantity,
    Recipe,
    ResNet,
    Run,
    SelfAttention,
    ViT,
    cell,
    check_model,
    claim,
    load_run,
    match,
    measure,
)
from vision_attn.data import Data
from vision_attn.figures import ErfMap, Figure
from vision_attn.layers import Neighbourhood, RelativeBias, Rotary, Window, attention_path
from vision_attn.models import (
    Model,
    Timm,
    as_mixer,
    as_model,
    flops,
    from_timm,
    register_models,
    replace_attention,
)
from vision_attn.models import Window as WindowSpec
from vision_attn.probes import AttentionMap, Probe, Row, attention_maps, saliency
from vision_attn.records import Records
from vision_attn.spec import InputError, spec
from vision_attn.verdicts import rates


class Block(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads=3, position="rotary", pattern="window", pattern_size=4, grid=(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attn.forward(self.norm(x), grid=(8, 8), is_causal=True)


layer = Attention(192, num_heads=3, position=Rotary((8, 8), head_dim=64), pattern=Window(4, shift=2), qkv_bias=False)
biased = Attention(192, num_heads=3, position=RelativeBias((8, 8), num_heads=3), pattern=Neighbourhood(1))
tokens = torch.randn(2, 64, 192)
weights: Tensor = layer.weights(tokens, key_padding_mask=torch.zeros(2, 64, dtype=torch.bool))
q, k, v = layer.heads(tokens)
scale: float | Tensor = layer.scale


@as_model
def Perceptron(image_size: int, in_chans: int, num_classes: int, width: int = 64) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(in_chans * image_size**2, width), nn.Linear(width, num_classes))


@as_mixer
def Alone(dim: int, bias: bool = True) -> nn.Module:
    return nn.Linear(dim, dim, bias=bias)


@spec
class Bias(Probe):
    """The mean logit."""

    scale: float = 1.0

    def __call__(self, model: nn.Module, data: Data) -> list[Row]:
        return [{"metric": "mean_logit", "value": self.scale}]


MODELS: Mapping[str, Model] = {
    "vit": ViT(dim=64, depth=2, mixer=SelfAttention(position="relative", pattern=WindowSpec(size=4))),
    "twin": ViT(dim=64, depth=2, mixer=DepthwiseConv(kernel_size=3)),
    "own": Perceptron(width=8),
    "mixer": ViT(dim=32, depth=2, mixer=Alone()),
    "resnet": ResNet(width=8),
    "timm": Timm(name="resnet18"),
}


def run(model: str, train_size: int, seed: int) -> Run:
    data = Mnist5k(train_size=train_size, subset_seed=seed)
    return Run(model=MODELS[model], data=data, recipe=Recipe(updates=4), seed=seed)


accuracy = Quantity("accuracy", given=cell(split="test"))
rule = claim("C", "It is worse.", (accuracy(model="vit") - accuracy(model="twin")).below(0))
experiment = Experiment(
    question="Which?",
    factors={"model": tuple(MODELS), "train_size": (100, 1000), "seed": range(3)},
    run=run,
    probes=(Accuracy(), Bias(scale=2)),
    figures=(LearningCurve(), Gap(reference="twin")),
    verdicts=(rule,),
)
frame = measure(nn.Flatten(), Data.from_tensors(tokens, torch.arange(2)), [Accuracy()])
Gap(reference="vit").plot(Records.from_frame(frame)).save("gap.pdf", width="column", labels={"vit": "ViT"})
fig: Figure = ErfMap(own="with")
loaded = load_run("results/runs/x")
classes: tuple[str, ...] = loaded.classes
maps: Mapping[str, AttentionMap] = attention_maps(loaded.model, torch.randn(1, 3, 32, 32))
grid: Tensor = next(iter(maps.values())).on_grid
where: Tensor = saliency(loaded.model, torch.randn(1, 3, 32, 32), torch.tensor([1]), method="rollout")


def make(width: int) -> nn.Module:
    return nn.Linear(width, width)


width: int = match(make, reference=make(3), on="params", image_size=32, in_chans=3, num_classes=10)
spec_: ViT = match(ViT(dim=64), reference=ResNet(width=8), on="params", image_size=32, in_chans=3, num_classes=10)
print(all(one.holds for one in check_model(ResNet(width=8))), flops(make(3), image_size=32, in_chans=3))
replace_attention(loaded.model, position="relative", pattern="window", pattern_size=7)
ours = from_timm(loaded.model)
register_models()
images = ImageFolder(name="flowers"), Cifar10(train_size=100)
version: str = vision_attn.__version__
path: str = attention_path(torch.device("cpu"), 64)
print(rates(rule, n=5, sd=0.02).detectable)
try:
    ViT(dim=3)
except InputError as error:
    print(error)
