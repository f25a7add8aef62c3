"""A state knows for which grid its learned places are: one of another grid with as many is no state of this one."""

import hashlib
import io
import pickle
import warnings

import pytest
import torch
from switches import DIM, HEADS
from timm.models import swin_transformer

from vision_attn import SelfAttention, ViT
from vision_attn.execution import load_weights
from vision_attn.layers import Attention, RelativeBias, grid_known
from vision_attn.models import LogisticRegression, from_timm

CASES = {
    "learned": ({"position": "learned"}, (4, 4), (2, 8)),
    "relative": ({"position": "relative"}, (3, 4), (4, 3)),  # 5 x 7 offsets each
    "relative_with_prefix": ({"position": "relative_with_prefix", "num_prefix_tokens": 1}, (2, 3), (3, 2)),
}
WORDS = r"^grid of the state must be \({}, {}\), that of the {} at {}; {} brings it to another\. Got \({}, {}\) instead"


def layer(name, grid):
    return Attention(DIM, HEADS, grid=grid, **CASES[name][0])


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("options", [{}, {"strict": False}, {"assign": True}], ids=str)
def test_a_state_of_another_grid_with_as_many_numbers_is_refused(name, options):
    _, own, other = CASES[name]
    kind = "LearnedPosition" if name == "learned" else "RelativeBias"
    words = WORDS.format(*own, kind, "position", "set_grid", *other)
    for state in (layer(name, other).state_dict(), through_a_file(layer(name, other).state_dict())):
        with pytest.raises(ValueError, match=words):
            layer(name, own).load_state_dict(state, **options)


@pytest.mark.parametrize("name", CASES)
def test_a_state_of_the_same_grid_loads_and_so_does_one_that_says_nothing(name):
    _, grid, _ = CASES[name]
    one = layer(name, grid)
    silent = dict(one.state_dict())  # as older files and those of safetensors: tensors alone
    for state in (one.state_dict(), silent, pickle.loads(pickle.dumps(one)).state_dict()):
        found = layer(name, grid)
        found.load_state_dict(state, strict=True)
        assert all(torch.equal(found.state_dict()[key], value) for key, value in silent.items())
    assert silent.keys() == {key for key, _ in one.named_parameters()}


@pytest.mark.parametrize(("name", "square", "oblong"), [("learned", (4, 4), (2, 8)), ("relative", (2, 2), (1, 5))])
def test_a_state_without_a_note_that_may_be_of_a_square_is_told_of_unless_the_grid_is_known(name, square, oblong):
    """3 x 3 offsets are as many as 1 x 9."""
    silent = dict(layer(name, oblong).state_dict())
    layer(name, square).load_state_dict(silent)
    words = (
        r"notes no .* for the .*: its numbers, as many as those of \({}, {}\), are taken to be those of \({}, {}\)\."
    )
    found = layer(name, oblong)
    with pytest.warns(UserWarning, match=words.format(*square, *oblong)):
        found.load_state_dict(silent)
    assert all(torch.equal(found.state_dict()[key], value) for key, value in silent.items())
    with warnings.catch_warnings(action="error"), grid_known(found):
        with grid_known(found):
            found.load_state_dict(silent)
        found.load_state_dict(silent)
    with grid_known(found), pytest.raises(ValueError, match="instead"):  # a note is believed
        found.load_state_dict(layer(name, square).state_dict())
    with pytest.warns(UserWarning, match="notes no"):
        found.load_state_dict(silent)


def test_files_of_safetensors_hold_no_note(tmp_path):
    files = pytest.importorskip("safetensors.torch")
    oblong, path = trunk((8, 32)), tmp_path / "model.safetensors"
    files.save_model(oblong, str(path))
    with pytest.warns(UserWarning, match="notes no"):
        files.load_model(trunk((8, 32)), path)
    with warnings.catch_warnings(action="error"), grid_known(found := trunk((8, 32))):
        files.load_model(found, path)
    assert torch.equal(found.pos_embed, oblong.pos_embed)
    oblong.save_pretrained(tmp_path / "folder")  # its config has the size of the images
    assert torch.equal(type(oblong).from_pretrained(tmp_path / "folder").pos_embed, oblong.pos_embed)


def test_weights_of_a_run_are_of_the_grid_of_its_model(tmp_path):
    files = pytest.importorskip("safetensors.torch")
    oblong, path = trunk((8, 32)), tmp_path / "weights.safetensors"
    path.write_bytes(files.save(oblong.state_dict()))
    found = trunk((8, 32))
    assert load_weights(found, path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert torch.equal(found.pos_embed, oblong.pos_embed)


def test_numbers_that_were_brought_to_the_grid_by_hand_load():
    state = layer("learned", (4, 4)).state_dict()
    state["position.pos_embed"] = torch.ones(1, 36, DIM)
    layer("learned", (6, 6)).load_state_dict(state)


def test_a_layer_brought_to_another_grid_has_the_state_of_that_grid():
    small = layer("learned", (4, 4))
    small.set_grid((2, 8))
    layer("learned", (2, 8)).load_state_dict(small.state_dict())


def test_what_lies_on_no_grid_loads_everywhere():
    for position in ("sincos2d", "convolution", "rotary"):
        one, other = (Attention(DIM, HEADS, position=position, grid=grid) for grid in ((4, 4), (2, 8)))
        one.load_state_dict(other.state_dict())


def test_the_index_of_a_window_of_timm_tells_of_which_a_table_is():
    theirs = swin_transformer.WindowAttention(DIM, HEADS, window_size=(3, 4))
    state = {**theirs.state_dict(), "relative_position_index": theirs.relative_position_index}
    Attention(DIM, HEADS, position=RelativeBias((3, 4), HEADS)).load_state_dict(state)
    with pytest.raises(ValueError, match=r"^relative_position_index of the state must be of the grid \(4, 3\)"):
        Attention(DIM, HEADS, position=RelativeBias((4, 3), HEADS)).load_state_dict(state)


def trunk(size, **options):
    spec = ViT(dim=8, depth=2, patch_size=4, **{"mixer": SelfAttention(num_heads=2), **options})
    return spec.build(image_size=size, in_chans=3, num_classes=2)


def test_so_it_is_of_models():
    words = WORDS.format(4, 4, "VisionTransformer", "the top", "set_input_size", 2, 8)
    with pytest.raises(ValueError, match=words):
        trunk(16).load_state_dict(trunk((8, 32)).state_dict())
    moved = trunk(16)
    moved.set_input_size((8, 32))
    trunk((8, 32)).load_state_dict(moved.state_dict())
    trunk((8, 32), position="sincos2d").load_state_dict(trunk(16, position="sincos2d").state_dict())
    mixer = SelfAttention(num_heads=2, position="relative")
    one, other = (trunk(size, position="none", mixer=mixer) for size in ((12, 16), (16, 12)))
    with pytest.raises(ValueError, match=r"RelativeBias at blocks\.0\.mixer\.position; set_grid"):
        one.load_state_dict(other.state_dict())


def test_pixels_of_other_images_with_as_many_are_refused():
    def build(size, in_chans):
        return LogisticRegression().build(image_size=size, in_chans=in_chans, num_classes=2)

    build(8, 1).load_state_dict(build(8, 1).state_dict())
    with pytest.raises(
        ValueError, match=r"^\(channels, rows, columns\) of the state must be \(1, 8, 8\), that of the L"
    ):
        build(8, 1).load_state_dict(build(4, 4).state_dict())


def test_a_model_of_timm_keeps_its_grid():
    timm = pytest.importorskip("timm")
    options = {"patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 2, "num_classes": 2}
    one, other = (
        from_timm(timm.create_model("vit_tiny_patch16_224", img_size=size, **options)) for size in ((16, 16), (8, 32))
    )
    with pytest.raises(ValueError, match="grid of the state must be"):
        one.load_state_dict(other.state_dict())
