import dataclasses
import platform

import pytest
import torch
from tiny_training import TinyAttention, TinyConv, data
from torch import nn

from vision_attn.layers.attention import Attention, attention_path
from vision_attn.models import DepthwiseConv, ResNet, SelfAttention, ViT
from vision_attn.spec import InputError, canonical
from vision_attn.training import Recipe, compute
from vision_attn.training.compiling import Gain, gains, kind_of, pays
from vision_attn.training.compute import ComputeSettings, bf16_units, choose, deterministic, is_convnet, keep_memory

CPU = torch.device("cpu")


def chosen(recipe: Recipe, model: nn.Module | None = None) -> ComputeSettings:
    return choose(recipe, model or TinyConv(), data=data(), device=CPU, threads=1)


@pytest.fixture
def units(monkeypatch):
    def put(name: str | None) -> None:
        monkeypatch.setattr(compute, "bf16_units", lambda device: name)

    return put


@pytest.mark.parametrize(("found", "precision"), [("amx", "bf16"), ("avx512_bf16", "bf16"), (None, "fp32")])
def test_bf16_is_taken_where_there_are_units_for_it(units, found, precision):
    units(found)
    assert chosen(Recipe(updates=1)).precision == precision


@pytest.mark.parametrize("found", ["amx", None])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_precision_that_the_recipe_names_is_obeyed(units, found, precision):
    units(found)
    assert chosen(Recipe(updates=1, precision=precision)).precision == precision


def test_a_torch_that_does_not_tell_about_its_cpu_is_taken_to_have_no_bf16_units(monkeypatch):
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert bf16_units(CPU) is None


def test_channels_last_is_for_convolutions_beyond_the_patch_embedding():
    depthwise = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 1))
    assert not is_convnet(depthwise, in_chans=3)
    assert not is_convnet(TinyAttention(), in_chans=3)
    assert is_convnet(TinyConv(), in_chans=3)


@pytest.mark.parametrize(("width", "expected"), [(4, False), (8, True)])
def test_strided_convolutions_of_few_channels_keep_the_usual_layout(width, expected):
    model = ResNet(width=width, blocks=1).build(image_size=16, in_chans=1, num_classes=2)
    assert is_convnet(model, in_chans=1) is expected


def test_arranging_a_model_lays_its_kernels_out_and_keeps_its_parameters():
    model = TinyConv()
    parameters = list(model.parameters())
    kernel = model.body[0].weight
    before = kernel.detach().clone()
    assert chosen(Recipe(updates=1)).arranged(model) is model
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(kernel, before)
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))


STEP = Gain("Net", "fp32", flops=10**8, batch_size=32, threads=1, eager_ms=40, compiled_ms=30, warmup_s=20, source="")


def test_compiling_pays_from_the_number_of_updates_on_that_repays_the_warm_up():
    def worth(updates, **changes):
        step = {"kind": "Net", "units": "fp32", "flops": 10**8, "batch_size": 32, "threads": 1, **changes}
        return pays(**step, updates=updates, measured=[STEP])[0]

    break_even = 20 / 0.010
    assert not worth(int(break_even * 0.99))
    assert worth(int(break_even * 1.01))
    assert worth(int(break_even * 0.51), flops=2 * 10**8)  # twice the work, twice the saving
    assert not worth(int(break_even * 1.99), threads=2)


def test_of_several_measured_steps_the_one_nearest_in_work_decides():
    large = dataclasses.replace(STEP, batch_size=512, compiled_ms=41)
    for batch_size, expected in ((64, True), (256, False)):
        asked = {"kind": "Net", "units": "fp32", "flops": 10**8, "updates": 10**6, "threads": 1}
        assert pays(**asked, batch_size=batch_size, measured=[large, STEP])[0] is expected


@pytest.mark.parametrize(("kind", "units"), [("Net", "cuda"), ("OtherNet", "fp32")])
def test_nothing_is_compiled_where_no_gain_was_measured(kind, units):
    worth, reason = pays(kind=kind, flops=10**12, updates=10**9, batch_size=1, units=units, threads=1, measured=[STEP])
    assert not worth
    assert reason == f"no gain from compiling was measured for {kind} with {units} arithmetic"


def test_a_model_is_known_by_its_spec_and_mixer_and_otherwise_by_its_class():
    shape = {"image_size": 8, "in_chans": 1, "num_classes": 2}
    assert kind_of(ViT(dim=16, depth=1).build(**shape)) == "ViT, SelfAttention"
    assert kind_of(ViT(dim=16, depth=1, mixer=DepthwiseConv(kernel_size=3)).build(**shape)) == "ViT, DepthwiseConv"
    assert kind_of(ResNet(width=4, blocks=1).build(**shape)) == "ResNet"
    assert kind_of(TinyConv()) == "TinyConv"


def test_what_computes_otherwise_is_another_kind_and_what_begins_otherwise_is_not():
    shape = {"image_size": 8, "in_chans": 1, "num_classes": 2}

    def of(**fields):
        return kind_of(ViT(dim=16, depth=1, **fields).build(**shape))

    assert of(position="sincos2d", init="mimetic", drop_path=0.1) == of()
    assert of(stem="convolution") == "ViT, SelfAttention, stem=convolution"
    assert of(mixer=SelfAttention(num_heads=2)) == of()
    assert of(mixer=SelfAttention(pattern="window", pattern_size=1)) == "ViT, SelfAttention, pattern=window"
    assert of(mixer=SelfAttention(position="rotary")) == "ViT, SelfAttention, position=rotary"


def test_the_table_in_the_package_is_of_known_units_and_positive_times():
    for one in gains():
        assert one.units in ("amx", "avx512_bf16", "cuda", "fp32")
        assert min(one.flops, one.batch_size, one.threads, one.eager_ms, one.compiled_ms, one.warmup_s) > 0


def test_choices_depend_on_nothing_that_ran_before(units):
    units("amx")
    first = chosen(Recipe(updates=50))
    torch.rand(3)
    assert chosen(Recipe(updates=50)) == first
    assert not first.compile
    assert first.compile_reason == "no gain from compiling was measured for TinyConv with amx arithmetic"


def test_choices_are_plain_json():
    found = chosen(Recipe(updates=1, compile="off"))
    canonical(found.as_json())
    assert ComputeSettings(**found.as_json()) == found
    assert found.compile_reason == "the recipe says off"


class Gridded(nn.Sequential):
    """Our attention in a model with a grid of tokens."""

    def __init__(self, side: int) -> None:
        super().__init__(nn.Conv2d(3, 8, 4), Attention(8, 2))
        self.grid = (side, side)


def test_the_attention_path_is_the_one_that_the_layer_takes():
    for side in (4, 40):
        for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            recipe = Recipe(updates=1, compile="off", precision=precision)
            assert chosen(recipe, Gridded(side)).attention == attention_path(CPU, side * side, dtype)
    recipe = Recipe(updates=1, compile="off")
    assert chosen(recipe, TinyConv()).attention is None


def test_autocast_computes_in_the_precision_of_the_choices():
    layer, x = nn.Linear(4, 4), torch.randn(2, 4)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with dataclasses.replace(chosen(Recipe(updates=1)), precision=precision).autocast():
            assert layer(x).dtype == dtype


@pytest.fixture
def process_settings():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False


@pytest.mark.usefixtures("process_settings")
def test_deterministic_pins_the_threads_and_forbids_what_is_not_repeatable():
    deterministic(2)
    assert torch.get_num_threads() == 2
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    with pytest.raises(InputError) as caught:
        deterministic(0)
    assert str(caught.value) == "threads must be at least 1. Got 0 instead."


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc lets one say what it keeps")
def test_memory_given_back_is_kept_and_not_fetched_again():
    resource = pytest.importorskip("resource")
    keep_memory()
    for _ in range(3):
        torch.ones(4_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(4_000_000)
    # 16 MB are 3,906 pages: 78,120 in all, were they fetched each time.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 20_000
