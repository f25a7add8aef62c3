"""What an experiment plans: its cells at some levels, and what they run."""

import itertools


def cells(experiment, **fixed):
    """The cells of an experiment, or of a preset, at some levels, each with its run; those without one are left out."""
    assert all(level in tuple(experiment.factors[name]) for name, level in fixed.items())
    factors = {name: (fixed[name],) if name in fixed else own for name, own in experiment.factors.items()}
    for levels in itertools.product(*factors.values()):
        cell = dict(zip(factors, levels, strict=True))
        if (run := experiment.run(**cell)) is not None:
            yield cell, run
