"""What an experiment plans: its cells at some levels, and what they run."""

import itertools

from vision_attn.verdicts.rates import leaves


def cells(experiment, **fixed):
    """The cells of an experiment, or of a preset, at some levels, each with its run; those without one are left out."""
    assert all(level in tuple(experiment.factors[name]) for name, level in fixed.items())
    factors = {name: (fixed[name],) if name in fixed else own for name, own in experiment.factors.items()}
    for levels in itertools.product(*factors.values()):
        cell = dict(zip(factors, levels, strict=True))
        if (run := experiment.run(**cell)) is not None:
            yield cell, run


def seeds_asked_for(experiment):
    """The number of parts of the rules, and the seeds that are planned for every cell that they ask for."""
    parts = [part for rule in experiment.verdicts for part in leaves(rule)]
    seeds = []
    for at in {(*part.given, *at) for part in parts for _, at in part.cells}:
        fixed = {name: level for name, level in at if name in experiment.factors}
        seeds.append([levels["seed"] for levels, _ in cells(experiment, **fixed)])
    return len(parts), seeds
