"""Does it matter by which function attention compares a query with a key?

The second tutorial lists the dot product, the concatenation and the perceptron. Six functions are compared in one
network: dot product, cosine, bilinear form, Gaussian kernel, additive (concatenation and tanh) and perceptron, in heads
of 16 and of 64 channels, with equally many parameters (what a function has more, the MLP has less). A seventh network
has no attention at all: only where the dot product is at least five points better than that can a comparison of
functions mean anything, and the rule asks for it first. Handwritten digits in 16 patches are such a task.

Each function is then called alike when it is within two points of the dot product. Time and memory are those of
forward and backward passes at 64 and 256 tokens, one point a fresh process. The preset "recall" asks how many updates
each needs to relate two cells, which nothing can do without attention, and asks the rule there too, for heads of 16,
which "recall-short" trains alone.

Expected: 15 minutes on two cores; "recall" an hour with fast bfloat16 arithmetic, up to four without, "recall-short"
half of that.
"""

from vision_attn import Accuracy, Experiment, Mnist5k, Quantity, Recipe, Run, SelfAttention, ViT, cell, claim
from vision_attn.data import CuedRecall
from vision_attn.figures import ConvergenceSteps, DotPlot, Matching
from vision_attn.models import ZeroMixer, count_params
from vision_attn.probes import Size, TokenCost

DOT, ZERO = "dot product", "no attention"
FUNCTIONS = {
    DOT: "dot",
    "cosine": "cosine",
    "bilinear": "bilinear",
    "Gaussian": "gaussian",
    "additive": "additive",
    "perceptron": "perceptron",
}
WIDTH, HEADS = 64, (16, 64)
TASKS = {
    "digits": (Mnist5k(), ViT(dim=WIDTH, depth=2, mlp_ratio=2, patch_size=7)),
    "recall": (None, ViT(dim=WIDTH, depth=2, mlp_ratio=2, patch_size=4, pool="none")),
}
RECALL_RECIPE = Recipe(
    updates=6000,
    batch_size=32,
    crop_padding=0,
    learning_rate=3e-3,
    schedule="constant",
    warmup_fraction=1 / 60,
    patience=15,
    history_rows=60,
    compile="off",  # runs are short
)
"""How the cued-recall task is learned: fresh images until the loss has stalled for 1,500 updates, or 6,000."""
SHAPE = {"image_size": 28, "in_chans": 1, "num_classes": 10}


def matched(trunk, mixer):
    """The trunk with the mixer, its MLP narrower by what the mixer has more parameters than the dot product."""
    dot = trunk.replace(mixer=SelfAttention(num_heads=mixer.num_heads))
    shape = {**SHAPE, "image_size": 7 * trunk.patch_size}
    own = trunk.replace(mixer=mixer)
    more = count_params(own, **shape) - count_params(dot, **shape)
    hidden = round(trunk.dim * trunk.mlp_ratio) - round(more / trunk.depth / (2 * trunk.dim + 1))
    return own.replace(mlp_ratio=hidden / trunk.dim)


def run(seed, task, head_dim, model):
    data, trunk = TASKS[task]
    if model == ZERO:
        network = trunk.replace(mixer=ZeroMixer())
    else:
        network = matched(trunk, SelfAttention(num_heads=WIDTH // head_dim, similarity=FUNCTIONS[model]))
    if task == "digits":
        recipe = Recipe(updates=800, batch_size=32, learning_rate=3e-3, crop_padding=0)  # as in quickstart.py
        return Run(model=network, data=data, recipe=recipe, seed=seed)
    data = CuedRecall(distance=2, train_cues=16, num_pairs=32, pair_seed=seed)
    return Run(model=network, data=data, recipe=RECALL_RECIPE, seed=seed)


USED, ALIKE = 0.05, 0.02


def alike(statement, task, heads):
    """The claim that attention is used in a task, and that it does not matter there which function it has."""
    accuracy = Quantity("accuracy", given=cell(task=task, split="test"))
    return claim(
        "C9",
        statement,
        *(
            (accuracy(model=DOT, head_dim=d) - accuracy(model=ZERO, head_dim=d)).above(
                USED, f"Heads of {d}: attention is used, five points better than none. Otherwise not testable here."
            )
            for d in heads
        ),
        *(
            (accuracy(model=model, head_dim=d) - accuracy(model=DOT, head_dim=d)).within(
                ALIKE, f"{model}, heads of {d}: as accurate as the dot product, ±2 points."
            )
            for d in heads
            for model in list(FUNCTIONS)[1:]
        ),
    )


CHOICE = alike(
    "Which similarity function attention has matters little: all are within two points of the dot product.",
    "digits",
    HEADS,
)
OF_RECALL = alike(
    "Nor where nothing can be done without attention: all relate two cells as often as the dot product does.",
    "recall",
    HEADS[:1],
)

BOTH = (("part", "mixer"), ("passes", "forward and backward"))
DIGITS = cell(task="digits")
experiment = Experiment(
    question=__doc__,
    factors={"seed": range(5), "task": ("digits",), "head_dim": HEADS, "model": (*FUNCTIONS, ZERO)},
    presets={"recall": {"task": ("recall",)}, "recall-short": {"task": ("recall",), "head_dim": HEADS[:1]}},
    run=run,
    probes=(
        Accuracy(),
        TokenCost(sides=(8, 16), passes=("forward and backward",), batch_size=8, min_seconds=0.1),
        Size(),
    ),
    figures=(
        DotPlot(given=DIGITS),
        DotPlot(reference=DOT, given=DIGITS),
        DotPlot(metric="latency_seconds", split=None, at=(*BOTH, ("tokens", 256), ("quantile", 0.5)), given=DIGITS),
        DotPlot(metric="peak_bytes", split=None, at=(*BOTH, ("tokens", 256)), given=DIGITS),
        DotPlot(given=cell(task="recall")),
        ConvergenceSteps(x="head_dim", given=cell(task="recall")),
        Matching(reference=DOT),
    ),
    verdicts=(CHOICE, OF_RECALL),
)
