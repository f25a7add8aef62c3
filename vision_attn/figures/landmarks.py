"""Landmarks: the first, the middle and the last layer of every model, which have a place in every one."""

from collections.abc import Hashable, Mapping, Sequence

NAMES = {1: ("last layer",), 2: ("first layer", "last layer"), 3: ("first layer", "middle layer", "last layer")}


def landmarks(layers: Mapping[Hashable, Sequence[float]]) -> list[tuple[str, dict[Hashable, float]]]:
    """Of models with the `layers` measured: the name of every landmark, and which layer of each model it is.

    There are as many as the model with fewest layers has, at most three. Layer 0, the patch embedding or stem, counts
    where a model has no other. A landmark that is the same layer of all is called by its number.
    """
    known = {name: sorted(set(own) - {0}) or sorted(set(own)) for name, own in layers.items() if len(own)}
    count = min(3, *map(len, known.values())) if known else 0
    out = []
    for place, title in enumerate(NAMES.get(count, ())):
        is_last = place == count - 1
        chosen = {name: own[-1 if is_last else place and (len(own) - 1) // 2] for name, own in known.items()}
        numbers = set(chosen.values())
        out.append((f"layer {numbers.pop():g}" if len(numbers) == 1 else title, chosen))
    return out
