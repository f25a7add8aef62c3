import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.data.base import Data, Split
from vision_attn.probes import Size

EMPTY = Split(torch.zeros(0, 3, 8, 8, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64))


class OneHead(nn.Module):
    """Tokens of 4 x 4 pixels, one head of attention by the fused kernel, mean, head."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.qkv, self.head = nn.Conv2d(3, 16, 4, stride=4), nn.Linear(16, 48), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.patch(x).flatten(2).transpose(1, 2)).unsqueeze(1).chunk(3, dim=-1)
        return self.head(F.scaled_dot_product_attention(q, k, v).mean((1, 2)))


def test_parameters_and_flops_equal_the_closed_formula_and_attention_counts():
    data = Data(
        name="empty",
        train=EMPTY,
        val=None,
        test=EMPTY,
        classes=tuple("abcde"),
        fingerprint="0" * 64,
        subset_sha256="0" * 64,
        flip=False,
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
    )
    model = OneHead().eval()
    values = {row["metric"]: row["value"] for row in Size()(model, data)}
    tokens, dim = 4, 16
    assert values["params"] == (48 * 16 + 16) + (16 * 48 + 48) + (16 * 5 + 5)
    embedding, attention = 2 * tokens * 48 * dim, 2 * 2 * tokens * tokens * dim
    assert values["flops"] == pytest.approx(embedding + 2 * tokens * dim * 48 + attention + 2 * dim * 5, abs=0)
    assert all(type(value) is int for value in values.values())
    assert next(model.parameters()).device.type == "cpu"
    assert list(Size()(model.requires_grad_(False), data)) == list(Size()(OneHead(), data))
