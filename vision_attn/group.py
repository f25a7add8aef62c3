"""Group: runs that are trained together in a stack, each with its own folder, lease, checkpoint and result."""

import contextlib
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from vision_attn.execution import UNWRITTEN, classified, heartbeat
from vision_attn.run import Attempt, Outcome, Run, Stopped, prepare, train_stack
from vision_attn.store import Lease, RunFolder
from vision_attn.training.compute import ComputeSettings
from vision_attn.training.stacked import stackable

logger = logging.getLogger("vision_attn")


Member = tuple[RunFolder, Run, Callable[[int], None]]


def train_group(
    members: Sequence[Member],
    *,
    device: torch.device,
    threads: int,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[int, Outcome]:
    """Train the runs, of one model and one recipe, in stacks; a member is a folder, its run and what is told progress.

    The outcomes, by place, of those that are at their end: diverged or interrupted. All others are left to `execute`:
    the trained ones to be measured; the rest to be trained alone, where a stack was not possible or has failed. Runs
    that do not fit into memory together are trained in halves.
    """
    leases: dict[int, Lease] = {}
    for place, (folder, _, _) in enumerate(members):
        with contextlib.suppress(*UNWRITTEN):
            if folder.result() is None and (lease := folder.acquire()) is not None:
                leases[place] = lease
    attempts: dict[int, Attempt] = {}
    stopped = starved = False
    with contextlib.ExitStack() as beating:
        for lease in leases.values():
            beating.enter_context(heartbeat(lease))
        try:
            for place, lease in leases.items() if len(leases) > 1 else ():
                others = next((attempt.choices for attempt in attempts.values()), None)
                attempts[place] = _attempt(lease, members[place], others, device=device, threads=threads)
            _train(list(attempts.values()), stopping)
        except Stopped:
            stopped = True
        except BaseException as error:  # of own code, whatever it is: a worker hears signals otherwise
            starved = classified(error).name == "oom"
            if not starved:
                logger.exception("Training in a stack failed; the runs are executed one by one.")
    ended = _outcomes(leases, attempts, stopped=stopped)
    if starved:
        attempts.clear()
        torch.cuda.empty_cache()
        left = {place: members[place] for place in leases if place not in ended}
        ended |= _in_halves(left, device=device, threads=threads, stopping=stopping)
    return ended


def _attempt(lease: Lease, member: Member, choices: ComputeSettings | None, **where: Any) -> Attempt:
    """The attempt at a member's run; nothing else holds what is made for it."""
    _, run, progress = member
    return Attempt(lease, run, prepare(run, choices=choices, **where), progress)


def _in_halves(members: Mapping[int, Member], *, stopping: Callable[[], bool], **where: Any) -> dict[int, Outcome]:
    """Train two stacks of half as many runs, given by place; a run that is left alone is left to `execute`."""
    logger.info("%d runs do not fit into memory together", len(members))
    places = list(members)
    ended: dict[int, Outcome] = {}
    middle = -(-len(places) // 2)
    for half in (places[:middle], places[middle:]):
        if stopping():
            ended |= dict.fromkeys(half, Outcome("interrupted"))
        elif len(half) > 1:
            found = train_group([members[place] for place in half], stopping=stopping, **where)
            ended |= {half[place]: outcome for place, outcome in found.items()}
    return ended


def _train(attempts: list[Attempt], stopping: Callable[[], bool]) -> None:
    """Train those that have made equally many updates together."""
    if not attempts:
        return
    first = attempts[0]
    why_not = "compiling pays" if first.choices.compile else stackable(first.run.recipe, first.state.model)
    if why_not is not None:
        logger.info("not trained in a stack: %s", why_not)
        return
    by_update = sorted(attempts, key=lambda attempt: attempt.state.update)
    for update, alike in itertools.groupby(by_update, key=lambda attempt: attempt.state.update):
        part = list(alike)
        if len(part) == 1:
            continue
        choices = first.choices.together(len(part))
        for attempt in part:
            attempt.choices = choices
        logger.info("%d runs trained together from update %d", len(part), update)
        train_stack(part, stopping=stopping)


def _outcomes(leases: dict[int, Lease], attempts: dict[int, Attempt], *, stopped: bool) -> dict[int, Outcome]:
    """Give the leases back; the outcomes of the runs that are at their end."""
    ended = {}
    for place, lease in leases.items():
        outcome = attempts[place].outcome if place in attempts else None
        if outcome is None and stopped:
            outcome = Outcome("interrupted")
        with contextlib.suppress(*UNWRITTEN):
            if outcome is not None and outcome.name in ("diverged", "interrupted"):
                ended[place] = outcome
                lease.release(outcome.name, outcome.error)
            else:
                lease.release_unused()
    return ended
