"""Memory: how much a computation holds at once."""

import torch


def peak_bytes(compute) -> int:
    """The most bytes on the CPU that a computation holds at once, beyond what is there when it begins."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        compute()
    held = highest = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            highest = max(highest, held)
    return highest
