import dataclasses

import pytest
import torch
from noise_data import noise, selected, value
from torch import Tensor, nn

from vision_attn.data.base import Split
from vision_attn.models import DepthwiseConv, ViT
from vision_attn.probes import Influence, Intervention
from vision_attn.probes.intervention import exchanged, partners
from vision_attn.spec import InputError


class Linear(nn.Module):
    """Tokens, then linear convolutions over them: the output is linear in the image."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 16, 4, stride=4)
        self.blocks = nn.Sequential(*(nn.Conv2d(16, 16, 3, padding=1) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.patch_embed(x))


def test_of_a_linear_model_interventions_on_noise_show_the_influence_by_gradients():
    torch.manual_seed(0)
    model, data = Linear().eval(), noise(images=24)
    swapped, gradient = list(Intervention(images=24)(model, data)), list(Influence(images=24)(model, data))
    for layer in range(3):
        for row in selected(gradient, "influence_relative", layer=layer, own="with"):
            found = value(swapped, "intervention_relative", layer=layer, own="with", distance=row["distance"])
            assert found == pytest.approx(row["value"], rel=0.1, abs=1e-6)
    for layer in (1, 2):
        expected = value(gradient, "influence_distance", layer=layer, own="with")
        assert value(swapped, "intervention_distance", layer=layer, own="with") == pytest.approx(expected, rel=0.05)


def test_an_exchanged_cell_moves_nothing_outside_the_theoretical_support():
    torch.manual_seed(0)
    spec = ViT(dim=16, depth=2, mixer=DepthwiseConv(kernel_size=3))
    rows = list(Intervention(images=3)(spec.build(image_size=32, in_chans=3, num_classes=5).eval(), noise()))
    for layer in range(3):
        for row in selected(rows, "intervention", layer=layer):
            outside = row["distance"] > 4 * (layer * 2**0.5 + 0.5)
            assert (row["value"] < 1e-12) if outside else (row["value"] > 1e-6)


def test_exchanging_cells_one_by_one_gives_the_other_image_in_pieces():
    image, other = torch.zeros(2, 8, 8), torch.rand(2, 8, 8) + 1
    pieces = torch.cat([exchanged(image, other, part, cells=4) for part in (range(5), range(5, 16))])
    assert pieces.shape == (16, 2, 8, 8)
    torch.testing.assert_close(pieces.sum(0), other)
    assert (pieces[6] > 0).nonzero()[:, 1:].unique(dim=0).tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]


def test_a_partner_is_of_another_class_where_there_is_one_and_never_the_image_itself():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])
    drawn = torch.stack([partners(labels, generator=torch.Generator().manual_seed(seed)) for seed in range(300)])
    assert (labels[drawn] != labels).all()
    assert set(drawn[:, 0].tolist()) == {6, 7, 8, 9}
    alone = torch.stack([partners(labels[:6], generator=torch.Generator().manual_seed(seed)) for seed in range(300)])
    assert (alone != torch.arange(6)).all()
    assert set(alone[:, 0].tolist()) == {1, 2, 3, 4, 5}
    dense = torch.zeros(6, 8, 8, dtype=torch.int64)
    assert (partners(dense, generator=torch.Generator()) != torch.arange(6)).all()


def test_the_share_of_partners_of_another_class_is_said():
    data, model = noise(images=6), Linear().eval()
    assert value(list(Intervention(images=6)(model, data)), "partners_of_another_class") == 0
    two = dataclasses.replace(data, test=Split(data.test.images, torch.tensor([0, 0, 0, 0, 0, 1])))
    assert value(list(Intervention(images=6)(model, two)), "partners_of_another_class") == 1


def test_one_image_and_cells_that_do_not_divide_are_refused():
    with pytest.raises(InputError, match="images of Intervention must be at least 2"):
        Intervention(images=1)
    with pytest.raises(InputError, match="patch_size of Intervention must be a divisor of the image size 32"):
        list(Intervention(patch_size=5)(Linear(), noise()))
