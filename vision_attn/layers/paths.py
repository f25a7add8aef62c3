"""Which of the two exact ways attention takes: PyTorch's fused kernel, or matrix products and a softmax.

The fused kernel is faster for long sequences and holds no scores; how long is long depends on the arithmetic units.
`thresholds.json` has the thresholds with where they come from; `pytest -m benchmark -s tests/benchmarks -k faster_path`
compares the two ways on the machine at hand.
"""

import json
from pathlib import Path
from typing import Literal, get_args

import torch

from vision_attn.layers.symbolic import taped

PathName = Literal["auto", "fused", "math"]
PATHS: tuple[str, ...] = get_args(PathName)

_UNITS = json.loads(Path(__file__).with_name("thresholds.json").read_text())["units"]
_WHOLE, _IN_TURN = (
    {
        unit: {getattr(torch, name): keys for name, keys in entry.get(field, {}).items()}
        for unit, entry in _UNITS.items()
    }
    for field in ("math_up_to", "in_turn_up_to")
)


_CPU = next(
    (
        name
        for name, test in (("amx", "_is_amx_tile_supported"), ("avx512_bf16", "_is_avx512_bf16_supported"))
        if getattr(torch.cpu, test, lambda: False)()
    ),
    "cpu",
)


def units(device: torch.device) -> str:
    """The arithmetic units that attention runs on: "cuda", "amx", "avx512_bf16", "cpu" without either, or "other"."""
    kind = device.type
    return _CPU if kind == "cpu" else kind if kind == "cuda" else "other"


def math_up_to(device: torch.device, dtype: torch.dtype, *, in_turn: bool = False) -> int:
    """Up to how many keys matrix products are the faster way; 0: never.

    `in_turn` says that no gradients are needed, so that some of the scores can be formed at a time.
    """
    unit = units(device)
    whole = _WHOLE.get(unit, {}).get(dtype, 0)
    return max(whole, _IN_TURN.get(unit, {}).get(dtype, 0)) if in_turn else whole


def attention_path(
    device: torch.device, tokens: int, dtype: torch.dtype = torch.bfloat16, *, in_turn: bool = False
) -> Literal["math", "fused"]:
    """Which of the two exact ways is taken: matrix products and a softmax, or PyTorch's fused kernel.

    `tokens` is the number of keys that a query meets; `in_turn` as in `math_up_to`.
    """
    if torch.compiler.is_exporting() or taped():
        return "fused"
    threshold = math_up_to(device, dtype, in_turn=in_turn)
    return "math" if threshold and tokens <= threshold else "fused"
