"""How do time and memory of attention grow with the number of tokens, and what do its cheaper forms save and lose?

The second tutorial: attention is quadratic in the length of the sequence, and sparse, segmented and hierarchical forms
mend it. Mixers of one width are timed, forward and forward with backward, for 64 to 16,384 tokens: full attention by
matrix products and by the fused kernel, in windows, dilated, axial, segmented, with reduced keys, hierarchical; a
depthwise convolution, an LSTM, which must go step by step, and no mixer. Each point is measured in a fresh process on
one core that may take 4 GiB and keeps what it has used, as in training, all points in turn and then again, five times;
a slope is the exponent of the growth between two sizes: 2 is approached, mostly from below. Whole blocks are measured
too: there the MLP hides the square until there are six times as many tokens as channels. A hierarchy merges tokens
between blocks, so that it differs from full attention there alone. The records have the multiply-adds, counted from the
shapes, too. The rule on whole blocks was written when their exponents forward up to 1,024 tokens were known: 1.5 is
what the shapes say of six times as many tokens as channels, where products of tokens are as many as those with weights.
What a cheaper form loses is asked by the preset "recall": can it still relate two cells, 2 or 6 apart? "recall-short"
asks it of four, 6 apart.

Run it alone on the machine, with -j 1. Expected: 15 minutes on one core, half an hour for the eleven further seeds of
"other-seeds"; "recall" an hour on two cores with fast bfloat16 arithmetic, up to six without, "recall-short" a quarter
of that.
"""

from similarity import RECALL_RECIPE

from vision_attn import (
    Accuracy,
    DepthwiseConv,
    Experiment,
    Quantity,
    Recipe,
    Run,
    SelfAttention,
    ViT,
    cell,
    claim,
)
from vision_attn.data import CuedRecall, Parity
from vision_attn.figures import DotPlot, MetricCurve
from vision_attn.models import LSTM, ZeroMixer
from vision_attn.probes import Size, TokenCost

TRUNK = ViT(dim=64, depth=1, patch_size=4, position="none", mlp_ratio=4)


def attention(**switches):
    return TRUNK.replace(mixer=SelfAttention(num_heads=2, **switches))


MATH, FUSED = "full, matrix products", "full, fused"
WINDOW, SEGMENTS, ROWS = "windows of 4 x 4", "segments of 16", "LSTM"
SOME = (WINDOW, FUSED, "axial", "keys reduced 4 x 4")
MODELS = {
    "no mixer": TRUNK.replace(mixer=ZeroMixer()),
    WINDOW: attention(pattern="window", pattern_size=4),
    MATH: attention(path="math"),
    FUSED: attention(path="fused"),
    "dilated, every 4th": attention(pattern="dilated", pattern_size=4),
    "axial": attention(pattern="axial"),
    SEGMENTS: attention(pattern="segmented", pattern_size=16),
    "keys reduced 4 x 4": attention(pattern="reduced", pattern_size=4),
    "depthwise 7x7": TRUNK.replace(mixer=DepthwiseConv(kernel_size=7)),
    ROWS: TRUNK.replace(mixer=LSTM(bidirectional=False)),
    "hierarchical": attention().replace(depth=2, merge_after=(1,)),
    "full, two blocks": attention().replace(depth=2),
}


CLOCKED = Parity(distance=2, train_size=10, val_size=0, test_size=10)
"""Any images would do: nothing is trained, and tokens are random."""


def run(seed, task, distance, model):
    if task == "clock":
        return Run(model=MODELS[model], data=CLOCKED, recipe=Recipe(updates=0, crop_padding=0), seed=seed)
    placed = MODELS[model].replace(depth=2, pool="none", position="sincos2d")
    if model in (MATH, "full, two blocks") or placed.merge_after:
        return None  # full attention by another path; merged tokens have no place to answer at
    data = CuedRecall(distance=distance, train_cues=16, num_pairs=32, pair_seed=seed)
    return Run(model=placed, data=data, recipe=RECALL_RECIPE, seed=seed)


CLOCK = cell(task="clock", part="mixer", tokens=4096)
FORWARD, BOTH = "forward", "forward and backward"
LAST = "the exponent from 1,936 to 4,096 tokens"
growth = Quantity("time_slope", given=CLOCK)
growth_of_memory = Quantity("memory_slope", given=CLOCK)
QUADRATIC = claim(
    "C8",
    "The time of attention is quadratic in the number of tokens.",
    *(
        growth(model=model, passes=passes).above(1.7, f"{model}, {passes}: {LAST} is above 1.7.")
        for model in (MATH, FUSED)
        for passes in (FORWARD, BOTH)
    ),
    *(growth(model=model, passes=FORWARD).below(2.2, f"{model}, forward: it is below 2.2.") for model in (MATH, FUSED)),
    growth_of_memory(model=MATH, passes=FORWARD).above(1.7, "So is memory, where all scores are kept."),
)
LINEAR = claim(
    "C8",
    "Windows and segments make it linear, and the fused kernel makes its memory linear.",
    *(
        growth(model=model, passes=passes).below(1.3, f"{model}, {passes}: {LAST} is below 1.3.")
        for model in (WINDOW, SEGMENTS)
        for passes in (FORWARD, BOTH)
    ),
    growth_of_memory(model=FUSED, passes=FORWARD).below(1.3, "Memory of the fused kernel: below 1.3."),
)
LONG = cell(task="clock", part="mixer", tokens=16_384)
FURTHER = "the exponent from 4,096 to 16,384 tokens"
growth_of_long, memory_of_long = (Quantity(metric, given=LONG) for metric in ("time_slope", "memory_slope"))
LONGER = claim(
    "C8",
    "It stays so up to 16,384 tokens, the patches of an image of 512 x 512 pixels.",
    *(
        growth_of_long(model=FUSED, passes=passes).above(1.7, f"{FUSED}, {passes}: {FURTHER} is above 1.7.")
        for passes in (FORWARD, BOTH)
    ),
    growth_of_long(model=FUSED, passes=FORWARD).below(2.2, f"{FUSED}, forward: it is below 2.2."),
    *(
        growth_of_long(model=model, passes=passes).below(1.3, f"{model}, {passes}: {FURTHER} is below 1.3.")
        for model in (WINDOW, SEGMENTS)
        for passes in (FORWARD, BOTH)
    ),
    memory_of_long(model=FUSED, passes=FORWARD).below(1.3, "Memory of the fused kernel: below 1.3."),
)
growth_of_blocks = Quantity("time_slope", given=cell(task="clock", part="blocks"))
HIDDEN = claim(
    "C8",
    "In whole blocks the MLP hides the square until there are six times as many tokens as channels, 384 here.",
    *(
        rule
        for passes in (FORWARD, BOTH)
        for rule in (
            growth_of_blocks(model=FUSED, passes=passes, tokens=256).below(
                1.5, f"A block with full attention, {passes}: the exponent from 64 to 256 tokens is below 1.5."
            ),
            growth_of_blocks(model=FUSED, passes=passes, tokens=4096).above(
                1.5, f"A block with full attention, {passes}: from 1,024 to 4,096 tokens it is above 1.5."
            ),
        )
    ),
)
seconds = Quantity("latency_seconds", given=cell(task="clock", part="mixer", tokens=1024, passes=BOTH, quantile=0.5))
RECURRENT = claim(
    "C10",
    "A recurrent network cannot go through the sequence at once: with 1,024 tokens it takes longer than attention.",
    (seconds(model=ROWS) - seconds(model=FUSED)).above(0),
)
recalled = Quantity("accuracy", given=cell(task="recall", distance=6, split="test"))
REACH_LOST = claim(
    "C8",
    "What windows save is paid for: two cells in different windows are not related, and full attention relates them.",
    recalled(model=FUSED).above(0.9, "Full attention relates cells 6 apart."),
    recalled(model=WINDOW).below(0.2, "Windows of 4 x 4 answer at chance, one in eight, or little better."),
    (recalled(model=FUSED) - recalled(model=WINDOW)).above(0.5, "They lose more than 50 points."),
)

AT_CLOCK = cell(task="clock")
RECALL = cell(task="recall")


def curves(metric, part, passes, *, quantile=None, log_y=True):
    more = () if quantile is None else (("quantile", quantile),)
    at = (("part", part), ("passes", passes), *more)
    return MetricCurve(metric=metric, x="tokens", at=at, log_y=log_y, given=AT_CLOCK)


experiment = Experiment(
    question=__doc__,
    factors={"seed": range(5), "task": ("clock",), "distance": (2,), "model": tuple(MODELS)},
    presets={
        "recall": {"task": ("recall",), "distance": (2, 6)},
        "recall-short": {"task": ("recall",), "distance": (6,), "model": SOME},
        "other-seeds": {"seed": range(5, 16)},
    },
    run=run,
    probes=(
        Accuracy(),
        Size(),
        TokenCost(sides=(8, 16, 32, 44, 64, 128)),
        TokenCost(sides=(8, 16, 32, 64), part="blocks"),
    ),
    figures=(
        curves("latency_seconds", "mixer", FORWARD, quantile=0.5),
        curves("latency_seconds", "mixer", BOTH, quantile=0.5),
        curves("time_slope", "mixer", FORWARD, log_y=False),
        curves("peak_bytes", "mixer", BOTH),
        curves("ran_out", "mixer", BOTH, log_y=False),
        curves("time_slope", "blocks", FORWARD, log_y=False),
        curves("time_slope", "blocks", BOTH, log_y=False),
        DotPlot(given=RECALL),
    ),
    verdicts=(QUADRATIC, LINEAR, RECURRENT, REACH_LOST, LONGER, HIDDEN),
)
