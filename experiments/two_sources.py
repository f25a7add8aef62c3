"""Do the numbers of the tutorials' attention come out: 112 and 96 divided by 8, so 0.88 and 0.12?

The second tutorial computes by hand: a query and two keys in a head of 64 channels have the products 112 and 96, these
are divided by the square root of 64, and the softmax gives 0.88 and 0.12. Here the attention layer that all experiments
use computes it. The same layer is held, in double precision, against the equation written out head by head and against
PyTorch's: with queries, keys and values of one source (self-attention), with keys and values of another (general
attention), with several heads, and with keys and values of widths of their own. Two variants show what becomes of the
numbers without the division, and with the division behind the softmax as in the first tutorial's code: there the
weights no longer sum to 1.

Nothing is trained; five seeds are five sets of weights and tokens. Expected: well under a minute.
"""

from vision_attn import Experiment, Mnist5k, Quantity, Recipe, Run, SelfAttention, ViT, claim
from vision_attn.figures import DotPlot
from vision_attn.probes import AttentionFormula, Size, WorkedExample

TRUNK = ViT(dim=64, depth=1, mlp_ratio=1, patch_size=7)
LAYERS = {
    "one head of 64": SelfAttention(num_heads=1),
    "not divided": SelfAttention(num_heads=1, scale="none"),
    "divided after the softmax": SelfAttention(num_heads=1, scale="after_softmax"),
    "four heads of 16": SelfAttention(num_heads=4),
    "four heads, keys of 128, values of 32": SelfAttention(num_heads=4, key_dim=128, value_dim=32),
}


def run(model, seed):
    return Run(
        model=TRUNK.replace(mixer=LAYERS[model]),
        data=Mnist5k(train_size=10),
        recipe=Recipe(updates=0),
        seed=seed,
    )


ROUNDED, NOTHING = 0.005, 1e-12
FULL = "one head of 64"
weight, score, equation, torchs = (
    Quantity(metric, exact=True) for metric in ("attention_weight", "score", "formula_difference", "torch_difference")
)


def near(quantity, value, tolerance, what, **at):
    """Two rules: the quantity is within the tolerance of the value."""
    found = quantity(model=FULL, layer=1, **at)
    return (
        found.above(value - tolerance, f"{what} is {value:g}, from below."),
        found.below(value + tolerance, f"{what} is {value:g}, from above."),
    )


EXAMPLE = claim(
    "C12",
    "In a head of 64 the products 112 and 96 are divided by 8 and give the weights 0.88 and 0.12.",
    *near(weight, 0.88, ROUNDED, "The first weight", key=1),
    *near(weight, 0.12, ROUNDED, "The second weight", key=2),
    *near(score, 14, NOTHING, "The first score", key=1),
    *near(score, 12, NOTHING, "The second score", key=2),
)
SOURCES = claim(
    "C12",
    "Queries and keys may come from one source or from two, in several heads, of widths of their own.",
    *(
        equation(model=model, layer=1, sources=sources).below(
            NOTHING, f"{model}, {said}: the layer is the equation, to 12 digits."
        )
        for model in LAYERS
        for sources, said in ((1, "one source"), (2, "two sources"))
    ),
    *(
        torchs(model=model, layer=1, sources=sources).below(
            NOTHING, f"{model}, {said}: the layer is that of PyTorch, to 12 digits."
        )
        for model in (FULL, "four heads of 16")
        for sources, said in ((1, "one source"), (2, "two sources"))
    ),
)

experiment = Experiment(
    question=__doc__,
    factors={"seed": range(5), "model": tuple(LAYERS)},
    run=run,
    probes=(WorkedExample(), AttentionFormula(), Size()),
    figures=(DotPlot(metric="attention_weight", split=None, at=(("layer", 1), ("key", 1))),),
    verdicts=(EXAMPLE, SOURCES),
)
