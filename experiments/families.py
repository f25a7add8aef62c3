"""Do attention and convolution see the same things and make the same mistakes?

Accuracy says how many images a network gets wrong, not which. Three networks of equal size, those of quickstart.py,
learn handwritten digits: a vision transformer, the same network with a depthwise convolution in the place of attention,
and a ResNet. Then it is asked which test images each gets wrong, and whether two families share more of their mistakes
than two seeds of one family do; how alike their layers are to the pixels and to the labels; what noise, blur, contrast,
brightness and coarse pixels do to them; whether they live on low or on high frequencies; and whether they are as sure
as they are right. Similarity of layers is measured with an estimate that is not biased, and the usual biased one beside
it: between images that have nothing in common it should be 0. The layers of each family are also held against those of
the others, and of another seed of its own, from what a sketch keeps of every layer.

Expected: 5 minutes on two cores; the preset "images", CIFAR-10, an hour on two cores with fast bfloat16 arithmetic.
"""

import functools

from quickstart import MODELS, RECIPE

from vision_attn import (
    Accuracy,
    Cifar10,
    DepthwiseConv,
    Experiment,
    ImageFolder,
    Mnist5k,
    Recipe,
    ResNet,
    Run,
    ViT,
    match,
)
from vision_attn.figures import CrossCKA, DotPlot, ErrorConsistency, Matching, MetricCurve
from vision_attn.probes import Calibration, CKASketch, CorrectByImage, Corruption, FrequencyBands, LayerCKA, Size

DATA = {"mnist5k": Mnist5k(), "cifar10": Cifar10(), "cifar10-jpeg": ImageFolder(name="cifar10-jpeg")}
TRUNK = ViT(dim=64, depth=4, position="sincos2d", init="mimetic")
VIT, TWIN, RESNET = "ViT", "ViT, 3x3 convolution", "ResNet"


@functools.cache
def network(data, model):
    if data == "mnist5k":
        return MODELS[model]
    if model == VIT:
        return TRUNK
    twin = TRUNK.replace(mixer=DepthwiseConv(kernel_size=3, branch_sd=0.46), init="default")
    family = twin if model == TWIN else ResNet(width=12, blocks=1)
    return match(family, reference=TRUNK, image_size=32, in_chans=3, num_classes=10)


def run(seed, data, model):
    recipe = RECIPE if data == "mnist5k" else Recipe(updates=8000, batch_size=32, learning_rate=3e-3, crop_padding=2)
    return Run(model=network(data, model), data=DATA[data], recipe=recipe, seed=seed)


FIRST_WITH = (("layer", 1), ("other", "other images"))

experiment = Experiment(
    question=__doc__,
    factors={"seed": range(5), "data": ("mnist5k",), "model": (VIT, TWIN, RESNET)},
    presets={"images": {"data": ("cifar10",)}},
    run=run,
    probes=(
        Accuracy(),
        Calibration(),
        Corruption(),
        CorrectByImage(),
        FrequencyBands(),
        LayerCKA(),
        CKASketch(),
        Size(),
    ),
    figures=(
        DotPlot(),
        ErrorConsistency(),
        MetricCurve(metric="cka", x="layer", at=(("other", "labels"), ("estimator", "unbiased"))),
        MetricCurve(metric="cka", x="layer", at=(("other", "pixels"), ("estimator", "unbiased"))),
        DotPlot(metric="cka", split=None, at=(*FIRST_WITH, ("estimator", "unbiased"))),
        DotPlot(metric="cka", split=None, at=(*FIRST_WITH, ("estimator", "biased"))),
        CrossCKA(),
        CrossCKA(estimator="biased"),
        *(
            MetricCurve(x="severity", at=(("split", "test"), ("corruption", kind)))
            for kind in ("noise", "blur", "contrast", "brightness", "pixelate")
        ),
        *(MetricCurve(x="cutoff", at=(("split", "test"), ("band", band))) for band in ("low", "high")),
        DotPlot(metric="expected_calibration_error"),
        Matching(reference=VIT),
    ),
)
