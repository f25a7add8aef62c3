"""The layers need torch and nothing else: a process that refuses every other package uses all of them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = '''
import sys

class Refusing:
    """Finds nothing but the standard library, torch with what it needs, and this package's layers."""

    def find_spec(self, name, path=None, target=None):
        known = {*sys.stdlib_module_names, *TORCH, "vision_attn"}
        if name.partition(".")[0] not in known:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

import torch
TORCH = {name.partition(".")[0] for name in sys.modules} | {"torch", "torchgen", "sympy", "mpmath"}
OTHERS = {"numpy", "timm", "torchvision", "einops", "jaxtyping", "beartype", "safetensors", "huggingface_hub"}
for name in [name for name in sys.modules if name.partition(".")[0] in OTHERS]:
    del sys.modules[name]
TORCH -= OTHERS
sys.meta_path.insert(0, Refusing())
try:
    import timm
    raise AssertionError("timm was found")
except ModuleNotFoundError:
    pass

from vision_attn import layers
from vision_attn.layers import Attention
grid, x = (4, 4), torch.randn(2, 16, 8)
for similarity in ("dot", "cosine", "bilinear", "gaussian", "additive", "perceptron"):
    for position in ("none", "learned", "sincos2d", "convolution", "rotary", "relative"):
        layer = Attention(8, 2, similarity=similarity, position=position, grid=grid)
        layer(x).sum().backward()
for pattern in ("window", "shifted_window", "neighbourhood", "dilated", "axial", "segmented", "reduced", "top_k"):
    layer = Attention(8, 2, pattern=pattern, pattern_size=None if pattern == "axial" else 2, grid=grid)
    layer(x).sum().backward()
    assert layer.weights(x).shape[:3] == (2, 2, 16)
for mixer in (layers.DepthwiseConvolution(8, grid=grid), layers.RecurrentMixing(8, grid=grid),
              layers.AveragePooling(grid=grid), layers.RandomMixing(16), layers.ZeroMixing()):
    assert mixer(x).shape == x.shape
lean = Attention(64, 2, pattern="axial", grid=(32, 32))
lean(torch.randn(1, 1024, 64)).sum().backward()
assert "torch.fx.experimental.symbolic_shapes" not in sys.modules, "40 MiB of a solver are loaded"
assert layers.TokenMerging(8, grid=grid)(x).shape == (2, 4, 16)
assert layers.PatchEmbed(patch_size=2, in_chans=3, dim=8)(torch.randn(2, 3, 8, 8)).shape == (2, 16, 8)
assert layers.LocalEmbed(patch_size=2, in_chans=3, dim=8, grid=grid)(torch.randn(2, 3, 8, 8)).shape == (2, 16, 8)
assert layers.ConvEmbed(patch_size=2, in_chans=3, dim=8)(torch.randn(2, 3, 8, 8)).shape == (2, 16, 8)
ours = {name.partition(".")[2].partition(".")[0] for name in sys.modules if name.startswith("vision_attn.")}
print(sorted(ours))
try:
    from vision_attn import ViT
except ImportError:
    print("and no more")
'''


def test_the_layers_are_imported_and_work_with_torch_alone():
    command = [sys.executable, "-c", SCRIPT]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["['_torchvision', 'environment', 'layers']", "and no more"]
