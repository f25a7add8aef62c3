"""Which recipe and which construction does every family of models do best with, and would more search change the order?

Four families get the same trials at two sizes and two seeds, judged on 2,000 validation images, which are taken from
the training data and are in no subset: a vision transformer (ViT), the same with a depthwise convolution in the place
of attention, the same behind a convolutional stem, and a CIFAR ResNet of as many parameters. Sixteen trials, the first
round, cross four learning rates in half-decade steps, two weight decays, and random crops or none, balanced over
batches of 32 and 128 images, two position encodings and two scales of the mixers at the start, the same for attention
and convolution.

The presets go on from there, each with a question of its own: "refine" tries other learning rates with the best trial,
and another optimiser; "final" trains the best three four times as long, which most experiments take; "bracket" adds
rates on both sides of each choice, "crops" random crops and the other batch size; "longest" trains the best two four
times longer still, and rates beside the better. They read what the rounds before have committed. On two cores the first
round takes about two hours with fast bf16 arithmetic, "refine" one, "final" and "crops" one and a half each, "bracket"
fifty minutes, "longest" two hours.
"""

import csv
import dataclasses
import functools
import itertools
import math
from pathlib import Path

from vision_attn import Cifar10, DepthwiseConv, Experiment, ImageFolder, Recipe, ResNet, Run, ViT, match
from vision_attn.figures import ExpectedBest, Selection
from vision_attn.probes import Size

SHAPE = {"image_size": 32, "in_chans": 3, "num_classes": 10}
MODELS = ("ResNet", "ViT", "ViT, 3x3 convolution", "ViT, convolutional stem")
SIZES = (1000, 4000)
BUDGETS = (48_000, 192_000, 768_000)
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
BATCHES = (32, 128)
SCALES = {"small": ViT(dim=64, depth=4, patch_size=4), "large": ViT(dim=96, depth=6, patch_size=4)}
"""The vision transformers that all models of a scale are as large as: 0.21 and 0.68 million parameters."""
BRANCH_SD = {
    ("small", "sincos2d"): (0.018, 0.46),
    ("small", "learned"): (0.013, 0.46),
    ("large", "sincos2d"): (0.027, 0.48),
    ("large", "learned"): (0.019, 0.50),
}
"""What attention adds to a block at the start, by default and mimetic: measured with the probe BranchScale."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """A recipe and a construction. `large_branch`: mimetic attention, or a convolution that starts as loud."""

    learning_rate: float
    weight_decay: float
    crop: bool
    batch_size: int
    position: str
    large_branch: bool
    optimizer: str = "adamw"

    @property
    def label(self):
        crop, branch = "crop" if self.crop else "no crop", "large" if self.large_branch else "small"
        return (
            f"{self.optimizer} {self.learning_rate:g}, decay {self.weight_decay:g}, {crop}, batch {self.batch_size}, "
            f"{self.position}, {branch} branch"
        )


def _first_round():
    """A fractional factorial design of 16 (resolution IV): the last three settings are products of the others."""
    for (high, middle), decay, crop in itertools.product(itertools.product((0, 1), repeat=2), (0, 1), (0, 1)):
        yield Trial(
            learning_rate=RATES[2 * high + middle],
            weight_decay=(0.05, 0.2)[decay],
            crop=bool(crop),
            batch_size=BATCHES[(high + middle + decay) % 2],
            position=("learned", "sincos2d")[(middle + decay + crop) % 2],
            large_branch=bool((high + decay + crop) % 2),
        )


TRIALS = {trial.label: trial for trial in _first_round()}
REFINED = {
    **{f"rate x{factor:g}": {"rate_factor": factor} for factor in (0.1, 0.3, 3, 10)},
    **{f"nadamuon {rate:g}": {"optimizer": "nadamuon", "learning_rate": rate} for rate in (3e-4, *RATES[1:], 3e-2)},
}
"""Changes to the best trial of the first round."""
FURTHER = {"rate beyond": "adamw", "nadamuon beyond": "nadamuon"}
"""The next rate where the best of both rounds with an optimiser has the highest or the lowest one; None else."""
SECOND = {"second, rate x0.3": -1, "second, rate x3": 1}
"""Half-decade steps from the rate of the second of the first round."""
LAST = "rate beyond that"
"""The next rate where the best with AdamW of all these has the highest or the lowest one; None else."""
BOTH_ROUNDS = (*TRIALS, *REFINED, *FURTHER, *SECOND)
FINALISTS = ("best", "second", "third")
BESIDE = {"lower rate": -1, "higher rate": 1}
"""The rates on both sides of that which the last round has chosen, in half-decade steps."""
OUTSIDE = ("rate outside", "rate outside that")
"""The next rate where the best of these so far has the highest or the lowest one; None where it lies between."""
CROPPED = {"crops, lower rate": -1, "crops": 0, "crops, higher rate": 1}
"""What the last round has chosen, with random crops, at its rate and at those on both sides."""
BEYOND = ("crops, beyond", "crops, beyond that")
"""The next rate where the best with crops so far has the highest or the lowest one; None where it lies between."""
OTHER_BATCH = {"other batch": 0, "other batch, rate with it": 1}
"""The best with crops so far, with the other batch size, at its rate and at the next: higher with the larger batch."""
OTHER_BEYOND = "other batch, beyond"
"""Where one of these two is the best of all, the next rate on its side; else None."""
IN_TURN = ("refine", "final", "bracket", "crops", "longest")
"""The presets whose trials were chosen with what the rounds before, or trials of the same round, had found."""
LONGEST = ("best at the second budget", "next to it")
BESIDE_LONGEST = {"better at a lower rate": -1, "better at a higher rate": 1}
"""The rates on both sides of the better of these two, in half-decade steps."""
OUTSIDE_LONGEST = ("rate outside these", "rate outside all these")
"""The next rate where the best of these so far has the highest or the lowest one; None where it lies between."""


@functools.cache
def _means(results):
    """The mean validation accuracy of every trial of a round, best first, by model and size; {} before the round."""
    table = Path(__file__).parents[1] / "results" / results / "tables" / "Choice.csv"
    if not table.is_file():
        return {}
    found = {}
    with table.open(newline="") as lines:
        for row in csv.DictReader(lines):
            if row["estimate"]:
                key = row["model"], int(row["train_size"])
                found.setdefault(key, []).append((float(row["estimate"]), row["trial"]))
    return {key: sorted(rows, key=lambda row: -row[0]) for key, rows in found.items()}


def _refined(model, train_size, trial):
    best = _means("tuning").get((model, train_size), [(0.0, next(iter(TRIALS)))])
    changes, found = REFINED[trial], TRIALS[best[0][1]]
    if "rate_factor" in changes:
        return _at_rate(found, {0.1: -2, 0.3: -1, 3: 1, 10: 2}[changes["rate_factor"]])
    return dataclasses.replace(found, **changes)


def _at_rate(trial, steps):
    """The trial with a learning rate so many half-decade steps higher."""
    places = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, *RATES, 3e-2, 1e-1, 3e-1, 1.0)
    return dataclasses.replace(trial, learning_rate=places[places.index(trial.learning_rate) + steps])


def ranked(model, train_size, *, labels=None):
    """The trials of both rounds with AdamW, best first by mean validation accuracy; before the first, as listed.

    Without those of the second round that were added to it when the last round was over: `labels` may have them, too.
    """
    return _with_optimizer("adamw", model, train_size, labels or (*TRIALS, *REFINED)) or list(TRIALS.values())


def _with_optimizer(optimizer, model, train_size, labels):
    """What trials of both rounds with that optimiser and these labels set, best first, of equal ones the faster."""
    rows = [*_means("tuning").get((model, train_size), ()), *_means("tuning-refine").get((model, train_size), ())]
    found = [(mean, settings(model, train_size, label)) for mean, label in rows if label in labels]
    found.sort(key=lambda one: (-one[0], -one[1].learning_rate))
    return [trial for _, trial in found if trial.optimizer == optimizer]


def settings(model, train_size, trial):
    """What a trial sets, or None where fewer were tried; before the first round the first trials stand in.

    None, too, of a change to the chosen one that was tried before.
    """
    if trial in TRIALS:
        return TRIALS[trial]
    if trial in REFINED:
        return _refined(model, train_size, trial)
    if trial in FURTHER:
        return _next_rate(_with_optimizer(FURTHER[trial], model, train_size, (*TRIALS, *REFINED)))
    if trial in SECOND:
        rows = _means("tuning").get((model, train_size), ())
        beside = _at_rate(TRIALS[rows[1][1]], SECOND[trial]) if len(rows) > 1 else None
        before = tried(model, train_size, (*TRIALS, *REFINED))
        if beside is None or _seen_by(model, beside) in (_seen_by(model, one) for one in before):
            return None
        return beside
    if trial == LAST:
        further = [label for label in (*FURTHER, *SECOND) if settings(model, train_size, label) is not None]
        are_done = _have_results("tuning-refine", model, train_size, further)
        return _next_rate(_with_optimizer("adamw", model, train_size, BOTH_ROUNDS)) if are_done else None
    if trial in BESIDE:
        beside = _at_rate(chosen(model, train_size), BESIDE[trial])
        return None if beside in tried(model, train_size, FINALISTS) else beside
    if trial in OUTSIDE:
        further = OUTSIDE[: OUTSIDE.index(trial)]
        return _next_rate(_best_first("tuning-bracket", model, train_size, (*FINALISTS, *BESIDE), further))
    if trial in CROPPED:
        cropped = _at_rate(dataclasses.replace(chosen(model, train_size), crop=True), CROPPED[trial])
        return None if cropped in tried(model, train_size, (*FINALISTS, *BESIDE)) else cropped
    if trial in BEYOND:
        return _next_rate(_with_crops(model, train_size, BEYOND[: BEYOND.index(trial)]))
    if trial in OTHER_BATCH:
        return _other_batch(model, train_size, OTHER_BATCH[trial])
    if trial == OTHER_BEYOND:
        return _other_beyond(model, train_size)
    if trial in LONGEST:
        rows = _means("tuning-crops").get((model, train_size), [(0.0, place) for place in FINALISTS])
        return settings(model, train_size, rows[LONGEST.index(trial)][1])
    if trial in BESIDE_LONGEST:
        better = _best_first("tuning-longest", model, train_size, LONGEST, ())
        beside = _at_rate(better[0], BESIDE_LONGEST[trial]) if better else None
        return None if beside in tried(model, train_size, LONGEST) else beside
    if trial in OUTSIDE_LONGEST:
        before = (*BESIDE_LONGEST, *OUTSIDE_LONGEST[: OUTSIDE_LONGEST.index(trial)])
        further = [label for label in before if settings(model, train_size, label) is not None]
        return _next_rate(_best_first("tuning-longest", model, train_size, LONGEST, further))
    place, found = FINALISTS.index(trial), ranked(model, train_size)
    return found[place] if place < len(found) else None


def _next_rate(found):
    """The first trial, with the next rate where its own is the highest or the lowest of those that else equal it."""
    if not found:
        return None
    best = found[0]
    rates = [one.learning_rate for one in found if dataclasses.replace(one, learning_rate=best.learning_rate) == best]
    step = (best.learning_rate == max(rates)) - (best.learning_rate == min(rates))
    return _at_rate(best, step) if step else None


def _best_first(results, model, train_size, labels, further):
    """What these trials of a round set, best first; [] where one of the further ones has no result yet."""
    if not _have_results(results, model, train_size, further):
        return []
    rows = _means(results).get((model, train_size), ())
    return [settings(model, train_size, label) for _, label in rows if label in (*labels, *further)]


def _have_results(results, model, train_size, labels):
    return {label for _, label in _means(results).get((model, train_size), ())} >= {*labels}


def _nearest(number, searched):
    return min(searched, key=lambda one: abs(math.log(number / one)))


def _with_crops(model, train_size, beyond):
    """The trials with crops at the batch size of the choice, best first, of those beyond only these; [] before them."""
    found = _best_first("tuning-crops", model, train_size, (*FINALISTS, *BESIDE, *CROPPED), beyond)
    return [trial for trial in found if trial.crop]


def _other_batch(model, train_size, steps):
    """The best with crops, with the other batch size and a rate so many steps in its direction; None before them."""
    beyond = [label for _, label in _means("tuning-crops").get((model, train_size), ()) if label in BEYOND]
    cropped = _with_crops(model, train_size, beyond)
    if not cropped:
        return None
    larger = cropped[0].batch_size == min(BATCHES)
    changed = dataclasses.replace(cropped[0], batch_size=max(BATCHES) if larger else min(BATCHES))
    return _at_rate(changed, steps if larger else -steps)


def _other_beyond(model, train_size):
    rows = _means("tuning-crops").get((model, train_size), ())
    best = next((label for _, label in rows if label != OTHER_BEYOND), None)
    if best not in OTHER_BATCH:
        return None
    return _other_batch(model, train_size, {0: -1, 1: 2}[OTHER_BATCH[best]])


def _seen_by(model, trial):
    """What of a trial the model has: a ResNet neither positions nor mixers."""
    return dataclasses.replace(trial, position="", large_branch=False) if model == "ResNet" else trial


def tried(model, train_size, trials):
    """What these trials set."""
    found = (settings(model, train_size, trial) for trial in trials)
    return [one for one in found if one is not None]


def chosen(model, train_size, *, accepts=lambda trial: True):
    """The best trial that is accepted at the searched size that is nearer, by ratio: of the last round, else of all."""
    nearest = _nearest(train_size, SIZES)
    last = [settings(model, nearest, place) for _, place in _means("tuning-final").get((model, nearest), ())]
    return next(filter(accepts, [*last, *ranked(model, nearest)]))


def chosen_at(model, train_size, images_seen):
    """The trial with AdamW that is chosen for the searched number of images seen and size that are nearer, by ratio.

    After 48,000 it is the best of the first two rounds. From 192,000 on it is that of "bracket", with 4,000 images of
    "crops", and after 768,000 of "longest"; where these have not run, that of "final".
    """
    nearest, budget = _nearest(train_size, SIZES), _nearest(images_seen, BUDGETS)
    if budget == BUDGETS[0]:
        return ranked(model, nearest, labels=(*BOTH_ROUNDS, LAST))[0]
    for results in ("tuning-longest",) * (budget == BUDGETS[2]) + ("tuning-crops", "tuning-bracket"):
        if rows := _means(results).get((model, nearest)):
            return settings(model, nearest, rows[0][1])
    return chosen(model, nearest)


@functools.cache
def _matched(model, position, scale):
    """A model of the ViT's depth and, within 6 %, its parameters; a sine-cosine encoding wants widths in steps of 4."""
    vit = SCALES[scale].replace(position=position)
    if model == "ViT":
        return vit
    others = {
        "ViT, 3x3 convolution": vit.replace(mixer=DepthwiseConv(kernel_size=3)),
        "ViT, convolutional stem": vit.replace(stem="convolution"),
        "ResNet": ResNet(width=16, blocks=(2, 3, 2)),
    }
    return match(others[model], reference=vit, turn="width", tolerance=0.06, **SHAPE)


def network(model, position="sincos2d", large_branch=False, scale="small"):
    """The model with those positions and a mixer that starts as loud."""
    if model == "ResNet":
        return _matched(model, "sincos2d", scale)
    found = _matched(model, position, scale)
    if model == "ViT, 3x3 convolution":
        return found.replace(mixer=convolution(position, large_branch, scale))
    return found.replace(init="mimetic" if large_branch else "default")


def convolution(position, large_branch, scale="small"):
    """The mixer of the convolutional twin, which starts as loud as attention beside those positions."""
    return DepthwiseConv(kernel_size=3, branch_sd=BRANCH_SD[scale, position][large_branch])


def dataset(name, train_size, subset_seed, val_size=0):
    """CIFAR-10 by its own name, or an image folder such as cifar10-jpeg, found through --data-dir."""
    kind = Cifar10() if name == "cifar10" else ImageFolder(name=name)
    return kind.replace(train_size=train_size, subset_seed=subset_seed, val_size=val_size)


def recipe(trial, images_seen, **more):
    """The recipe of a trial that sees so many images."""
    return Recipe(
        updates=round(images_seen / trial.batch_size),
        batch_size=trial.batch_size,
        optimizer=trial.optimizer,
        learning_rate=trial.learning_rate,
        weight_decay=trial.weight_decay,
        crop_padding=4 if trial.crop else 0,
        **more,
    )


FAMILIES = """Judged are means of two seeds on 2,000 validation images, which are taken from the training data and are
in no subset. The models are a vision transformer (ViT), the same with a depthwise convolution in the place of
attention, the same behind a convolutional stem, and a CIFAR ResNet, all of about as many parameters.
"""
QUESTIONS = {
    "refine": f"""Does another learning rate, or another optimiser, do better than the best trial of the first round?

To the best of the sixteen trials of the first round, for every model and size, nine changes are made: four other
learning rates with all else equal, which bracket it, and NAdaMuon at five rates, which tell whether another optimiser
would change the order of the models. Run again once its results are committed, the preset has the next rate, too, where
the best with an optimiser has the highest or the lowest, and the rates beside that of the second of the first round,
which may have come second for its rate alone; and, where one of these is then the best and has the highest or the
lowest rate, one rate further. {FAMILIES}""",
    "final": f"""Which of the best three trials is best when trained four times as long?

The best three trials with AdamW of the first round and of the preset "refine", for every model and size. Most
experiments take what is best here, so that all models of a comparison have one optimiser. {FAMILIES}""",
    "bracket": f"""Does the learning rate that is best when trained four times as long lie between two that do worse?

To the best three trials, which the preset "final" has trained, are added the rates on both sides of each choice, where
they were not among the three, and, run again once its results are committed, the next ones where the best is at an
end. {FAMILIES}""",
    "crops": f"""Do random crops, or another batch size, do better when trained four times as long?

With 4,000 images the short first round has left only trials without crops to most models, and the longer the training,
the more crops may give. To the trials of the preset "bracket" is added each choice with random crops, at three rates
and, run again once its results are committed, at those beyond where the best is at an end; then the best of all these
with the other of two batch sizes, 32 and 128 images, likewise. {FAMILIES}""",
    "longest": """Which of the best two trials is best when trained sixteen times as long as in the first round?

The best two trials of the preset "crops", with 4,000 images, which trains a quarter as long and has those of "final"
and "bracket", too. They may differ in more than the learning rate: the table below says what each sets. Run again once
its results are committed, the preset has the rates on both sides of the better one as well, and then, while the best of
all is at an end, the next, twice at most. Judged are means of two seeds on 2,000 validation images, which are taken
from the training data and are in no subset. The models are a vision transformer (ViT), the same with a depthwise
convolution in the place of attention, and a CIFAR ResNet, all of about as many parameters.
""",
}
"""What the presets ask that go on from earlier rounds, for their pages."""


def run(data, model, train_size, trial, images_seen, seed):
    found = settings(model, train_size, trial)
    if found is None:
        return None
    return Run(
        model=network(model, found.position, found.large_branch),
        data=dataset(data, train_size, seed, val_size=2000),
        recipe=recipe(found, images_seen, history_rows=4),
        seed=seed,
    )


experiment = Experiment(
    question=__doc__,
    questions=QUESTIONS,
    factors={
        "data": ("cifar10-jpeg",),
        "seed": (100, 101),
        "model": MODELS,
        "train_size": SIZES,
        "trial": tuple(TRIALS),
        "images_seen": BUDGETS[:1],
    },
    presets={
        "small": {"seed": (100,), "train_size": (1000,), "images_seen": (4800,)},
        "refine": {"trial": (*REFINED, *FURTHER, *SECOND, LAST)},
        "final": {"trial": FINALISTS, "images_seen": BUDGETS[1:2]},
        "bracket": {"trial": (*FINALISTS, *BESIDE, *OUTSIDE), "images_seen": BUDGETS[1:2]},
        "crops": {
            "trial": (*FINALISTS, *BESIDE, *CROPPED, *BEYOND, *OTHER_BATCH, OTHER_BEYOND),
            "train_size": SIZES[1:],
            "images_seen": BUDGETS[1:2],
        },
        "longest": {
            "model": ("ResNet", "ViT", "ViT, 3x3 convolution"),
            "trial": (*LONGEST, *BESIDE_LONGEST, *OUTSIDE_LONGEST),
            "train_size": SIZES[1:],
            "images_seen": BUDGETS[2:],
        },
        "full": {"data": ("cifar10",), "seed": (100, 101, 102), "images_seen": (2_000_000,)},
    },
    run=run,
    probes=(Size(),),
    figures=(
        Selection(choose="trial", by=("train_size",)),
        ExpectedBest(in_turn=IN_TURN),
    ),
)
