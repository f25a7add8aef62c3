"""Why are the scores of attention divided by the square root of d_k, and what happens without?

The tutorials say: a product of a query and a key of d_k numbers has variance d_k, large scores saturate the softmax,
and its gradient vanishes. Three tasks ask it. "Random" takes queries and keys as the derivation has them, standard
normal, 64 keys, d_k from 4 to 1,024, and measures the variance of the scores, the entropy of the weights, the largest
weight and the norm of the softmax's Jacobian: by its mean, and by its quantiles, since a mean hides what most rows do.
"Digits" measures the same in networks: as they start in practice (weights of standard deviation 0.02), as the
derivation assumes (queries and keys of variance 1), and after 100 and 400 updates on handwritten digits. "Recall" asks
what it is for: the largest learning rate, of four a factor three apart, at which attention still learns to relate two
cells (preset "rates"; the first tutorial's code, which divides behind the softmax, is one of its five scales). The mean
over those rates is how sensitive to the rate a scale leaves training (Wortsman et al. 2023, arXiv:2309.14322).

Expected: "random" two minutes on two cores; the preset "networks", digits, 10 minutes; "rates" 220 runs, an hour and a
half on two cores with fast bfloat16 arithmetic, up to ten without; "stability", its two scales that the rule asks for
at heads of 64, a fifth of that.
"""

from vision_attn import Accuracy, Experiment, Mnist5k, Quantity, Recipe, Run, SelfAttention, ViT, cell, claim
from vision_attn.data import CuedRecall
from vision_attn.figures import MetricCurve
from vision_attn.probes import Saturation, Size

SCALES = {
    "q·k": "none",
    "q·k / √d": "sqrt",
    "q·k / d": "inverse",
    "learned": "learned",
    "√d behind the softmax": "after_softmax",
}
RAW, DIVIDED, BY_D, *_ = SCALES
INITS = {"weights std 0.02": "default", "q and k of variance 1": "unit_variance"}
PLAIN, AS_DERIVED = INITS
HEADS, RATE, WIDTH = (16, 64), 1e-3, 64
RANDOM = ViT(dim=8, depth=1, mlp_ratio=1, patch_size=14, position="none")
DIGITS = ViT(dim=WIDTH, depth=2, mlp_ratio=2, patch_size=4)
RECALL = ViT(dim=WIDTH, depth=2, mlp_ratio=2, patch_size=4, position="none", pool="none")


def run(seed, task, head_dim, scale, init, updates, learning_rate):
    scaled = SelfAttention(num_heads=max(1, WIDTH // head_dim), scale=SCALES[scale])
    if task == "random":
        if init != PLAIN or updates or learning_rate != RATE or scale not in (RAW, DIVIDED, BY_D):
            return None
        mixer = SelfAttention(num_heads=1, key_dim=head_dim, scale=SCALES[scale])
        data, recipe = Mnist5k(train_size=10), Recipe(updates=0)
        return Run(model=RANDOM.replace(mixer=mixer), data=data, recipe=recipe, seed=seed)
    if head_dim not in HEADS:
        return None
    if task == "digits":
        if learning_rate != RATE or updates > 400 or scale not in (RAW, DIVIDED) or (updates and seed > 1):
            return None  # two seeds along training, of which no rule speaks
        model = DIGITS.replace(mixer=scaled, init=INITS[init])
        return Run(model=model, data=Mnist5k(train_size=2000), recipe=_recipe(updates, RATE), seed=seed)
    if updates <= 400 or (head_dim == min(HEADS) and seed > 2):
        return None  # three seeds of narrow heads, of which no rule speaks
    model = RECALL.replace(mixer=scaled.replace(position="relative"), init=INITS[init])
    data = CuedRecall(distance=2, train_cues=16, num_pairs=32, pair_seed=seed)
    return Run(model=model, data=data, recipe=_recipe(updates, learning_rate, patience=15), seed=seed)


def _recipe(updates, learning_rate, patience=None):
    """A constant rate without warm-up: a run of 100 updates is the beginning of one of 400."""
    return Recipe(
        updates=updates,
        batch_size=32,
        crop_padding=0,
        learning_rate=learning_rate,
        schedule="constant",
        warmup_fraction=0,
        patience=patience if updates else None,
        history_rows=40,
        compile="off",
    )


NORMAL = cell(task="random", init=PLAIN, updates=0, learning_rate=RATE, inputs="normal", layer=1)
IMAGES = cell(task="digits", learning_rate=RATE, inputs="images", layer=1)
WIDTHS = (4, 16, 64, 256, 1024)
TABLE = {  # 64 keys, 400,000 rows of independent scores |q| z: entropy / log 64, largest weight, share of flat rows
    16: (0.3325, 0.5776, None),
    64: (0.1407, 0.7907, 0.0680),
    256: (0.0637, 0.8969, 0.2943),
    1024: (0.0304, 0.9488, 0.5578),
}
TOLERANCE, ROUNDING = 0.02, 0.00005
variance, entropy, largest, flat, mean_slope = (
    Quantity(metric, given=NORMAL, choose=None)
    for metric in ("score_variance", "entropy_relative", "largest_weight", "saturated_share", "mean_jacobian_norm")
)
median_slope = Quantity("jacobian_norm", given=(*NORMAL, *cell(quantile=0.5)), choose=None)
entropy_of_images = Quantity("entropy_relative", given=IMAGES, choose=None)
recalled = Quantity("accuracy", given=cell(task="recall", init=PLAIN, updates=4000, split="test"), choose=None)


def near(quantity, value, what, *, rounding=0.0, **at):
    """Two rules: the quantity is within 2 % of the value, which may be rounded."""
    margin = TOLERANCE * value + rounding
    found = quantity(**at)
    return (
        found.above(value - margin, f"{what} is {value:g} within 2 %, from below."),
        found.below(value + margin, f"{what} is {value:g} within 2 %, from above."),
    )


def rows_of_table():
    for d, (spread, weight, share) in TABLE.items():
        at = {"scale": RAW, "head_dim": d, "rounding": ROUNDING}
        yield from near(entropy, spread, f"Entropy at d_k = {d}, not divided,", **at)
        yield from near(largest, weight, f"The largest weight at d_k = {d}, not divided,", **at)
        if share is not None:
            yield from near(flat, share, f"The share of flat rows at d_k = {d}, not divided,", **at)
        yield from near(entropy, 0.887, f"Entropy at d_k = {d}, divided,", scale=DIVIDED, head_dim=d, rounding=ROUNDING)


VARIANCE = claim(
    "C5",
    "Divided by the square root of d_k the scores keep variance 1; not divided it is d_k.",
    *(
        part
        for d in WIDTHS
        for scale, value in ((DIVIDED, 1), (RAW, d))
        for part in near(variance, value, f"The variance at d_k = {d}, {scale},", scale=scale, head_dim=d)
    ),
)
SATURATION = claim(
    "C5",
    "Not divided, scores of random queries and keys saturate the softmax, the more the larger d_k.",
    *rows_of_table(),
    (median_slope(scale=RAW, head_dim=1024) - 0.1 * median_slope(scale=DIVIDED, head_dim=1024)).below(
        0, "At d_k = 1,024 the median slope is below a tenth of what it is divided."
    ),
)
GRADIENT = claim(
    "C5",
    "At the widths of small networks, up to 64, the mean gradient vanishes without the division.",
    *(
        (mean_slope(scale=RAW, head_dim=d) - mean_slope(scale=DIVIDED, head_dim=d)).below(
            0, f"At d_k = {d} the mean slope of the softmax is smaller without the division."
        )
        for d in HEADS
    ),
)
NETWORKS = claim(
    "C5",
    "A network whose scores are not divided starts with a saturated softmax.",
    *(
        entropy_of_images(scale=RAW, head_dim=d, init=init, updates=0).below(
            0.5, f"With heads of {d}, weights drawn {said}, entropy is below half of that of uniform attention."
        )
        for d in HEADS
        for init, said in ((PLAIN, "as in practice"), (AS_DERIVED, "as the derivation assumes"))
    ),
)
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
ONE_RATE = 1 - 1 / 8
"""What one more rate adds to the sum of accuracies: from chance to all right."""


def over_rates(scale):
    """The sum of accuracies over the rates, seed by seed."""
    first, *others = (recalled(scale=scale, head_dim=64, learning_rate=rate) for rate in RATES)
    total = first
    for other in others:
        total = total + other
    return total


STABILITY = claim(
    "C5",
    "Divided, attention learns at a learning rate at least one step, a factor of three, higher.",
    (over_rates(DIVIDED) - over_rates(RAW)).above(ONE_RATE / 2),
)

AT_RANDOM = cell(task="random", init=PLAIN, updates=0, learning_rate=RATE)
OF_KEYS = (("inputs", "normal"), ("layer", 1))
OF_DIGITS = cell(task="digits", learning_rate=RATE)
COMMON = {"hue": "scale", "choose": None}

AT_RATES = {
    "seed": range(8),
    "task": ("recall",),
    "head_dim": HEADS,
    "scale": tuple(SCALES),
    "init": (PLAIN,),
    "updates": (4000,),
    "learning_rate": RATES,
}

experiment = Experiment(
    question=__doc__,
    factors={
        "seed": range(5),
        "task": ("random",),
        "head_dim": WIDTHS,
        "scale": (RAW, DIVIDED, BY_D),
        "init": (PLAIN,),
        "updates": (0,),
        "learning_rate": (RATE,),
    },
    presets={
        "small": {"task": ("random", "digits"), "head_dim": HEADS, "updates": (0, 100)},
        "networks": {
            "task": ("digits",),
            "head_dim": HEADS,
            "scale": (RAW, DIVIDED),
            "init": (PLAIN, AS_DERIVED),
            "updates": (0, 100, 400),
        },
        "rates": AT_RATES,
        "stability": AT_RATES | {"head_dim": (64,), "scale": (RAW, DIVIDED)},
        "rates-as-derived": AT_RATES | {"init": (AS_DERIVED,)},
    },
    run=run,
    probes=(Accuracy(), Saturation(inputs="normal", draws=1024), Saturation(images=32), Size()),
    figures=(
        MetricCurve(metric="entropy_relative", x="head_dim", at=OF_KEYS, given=AT_RANDOM, **COMMON),
        MetricCurve(
            metric="jacobian_norm",
            x="head_dim",
            at=(*OF_KEYS, ("quantile", 0.5)),
            given=AT_RANDOM,
            log_y=True,
            **COMMON,
        ),
        MetricCurve(metric="saturated_share", x="head_dim", at=OF_KEYS, given=AT_RANDOM, **COMMON),
        MetricCurve(
            metric="entropy_relative", x="updates", at=(("inputs", "images"), ("layer", 1)), given=OF_DIGITS, **COMMON
        ),
        MetricCurve(metric="accuracy", x="updates", given=OF_DIGITS, **COMMON),
        MetricCurve(metric="accuracy", x="learning_rate", given=cell(task="recall", updates=4000), **COMMON),
    ),
    verdicts=(VARIANCE, SATURATION, GRADIENT, NETWORKS, STABILITY),
)
