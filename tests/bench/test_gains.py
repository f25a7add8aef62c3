import dataclasses

import pytest
import torch

from vision_attn.bench import gains
from vision_attn.training.compiling import Gain, read_gains

GAIN = Gain("ViT, SelfAttention", "fp32", 100, 32, 1, 2.0, 1.0, 9.0, "here")


def test_a_measured_step_takes_the_place_of_the_earlier_one_and_leaves_others(tmp_path):
    path = tmp_path / "gains.csv"
    other = dataclasses.replace(GAIN, batch_size=128)
    gains.save([GAIN, other], path)
    again = dataclasses.replace(GAIN, eager_ms=3.0)
    gains.save([again], path)
    assert set(read_gains(path)) == {again, other}


@pytest.mark.slow
def test_a_step_is_measured_eager_and_compiled():
    [(name, gain)] = gains.compile_gains(torch.device("cpu"), threads=1, names=("ViT dim 64",), batches=(4,))
    assert (name, gain.kind, gain.batch_size) == ("ViT dim 64", "ViT, SelfAttention", 4)
    assert min(gain.eager_ms, gain.compiled_ms, gain.warmup_s) > 0
