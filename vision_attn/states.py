"""States: what has become of every run of a plan, by one look at the pool."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from vision_attn.plan import Plan
from vision_attn.store import RunFolder, State, Store, refusal, signature

HISTORY = "history.jsonl"


@dataclasses.dataclass(frozen=True)
class Look:
    """What a look at the pool has found: every run of the pool by its id, and the states of those of a plan."""

    store: Store
    index: dict[str, RunFolder]
    states: dict[str, State]

    def mark(self) -> str:
        """sha256, in hex, of all that a report reads of the runs: another one where a file of theirs is another."""
        found = hashlib.sha256()
        for key, state in self.states.items():
            folder = self.index.get(key)
            files = [] if folder is None else [folder.place, folder.seen.files, signature(f"{folder.place}/{HISTORY}")]
            found.update(repr((key, state.name, state.reason, files)).encode())
        return found.hexdigest()


def look(plan: Plan, pool: Path) -> Look:
    """Find the runs of the plan in the pool, and keep in its index what was seen."""
    store = Store(pool)
    index = store.index()
    states = {key: state_of(plan, key, index) if key in index else store.absent(key) for key in plan.runs}
    store.remember()
    return Look(store, index, states)


def changed_sources(plan: Plan, found: Look) -> dict[str, int]:
    """How many finished runs of the plan were made with another source of an own kind than it has now, by kind."""
    changed: Counter[str] = Counter()
    for key in plan.runs if plan.sources else ():
        result = found.index[key].result() if key in found.index else None
        made_with = result["environment"].get("sources", {}) if result else {}
        changed.update(kind for kind, sha256 in made_with.items() if plan.sources.get(kind, sha256) != sha256)
    return dict(changed)


def state_of(plan: Plan, key: str, index: Mapping[str, RunFolder]) -> State:
    """The state of one run of the plan; one whose files cannot be read counts as failed for now."""
    if key not in index:
        return State("pending")
    try:
        return index[key].state(plan.asked(key))
    except OSError as error:
        return State("failed", refusal(error))
