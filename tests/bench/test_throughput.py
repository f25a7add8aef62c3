import csv
import dataclasses
import io
import math
import os
import time
from collections import Counter
from itertools import count

import pandas as pd
import pytest
import torch
from pretended_gpu import GPU, PretendedGpu
from torch import nn

from vision_attn.bench import ours, timing, usual
from vision_attn.bench import throughput as benchmark
from vision_attn.bench.apart import Apart, Failed, TookLong
from vision_attn.bench.cases import RESNET, TWIN, VIT, WIDE, Case, cases
from vision_attn.bench.gains import MODELS, SHAPE
from vision_attn.bench.table import COLUMNS, Machine, Measured, Table, as_csv, as_text
from vision_attn.bench.timing import Effort, Timing, timed
from vision_attn.cli.command import execute
from vision_attn.figures.throughput import throughput as drawn
from vision_attn.models.size import count_flops, count_params, params_of
from vision_attn.signals import Interrupted
from vision_attn.spec import InputError
from vision_attn.training.compute import ComputeSettings

CPU = torch.device("cpu")
SMALL = Effort(
    batch_size=4, train_size=8, warm_up=1, window=1, long_window=1, seconds=1e-9, patience=1e-9, products=8, copied=64
)
MACHINE = Machine("a device", flops=1e12, bytes=1e11)


def table(machine=MACHINE):
    return Table(machine, batch_size=128, precision="bf16", torch="2")


@pytest.fixture(autouse=True)
def set_back():
    """What a benchmark sets in its process is set back after it."""
    flags = [(torch.backends.cudnn, name) for name in ("benchmark", "deterministic", "allow_tf32")]
    flags.append((torch.backends.cuda.matmul, "allow_tf32"))
    values = [getattr(*flag) for flag in flags]
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield
    for flag, value in zip(flags, values, strict=True):
        setattr(*flag, value)
    torch.use_deterministic_algorithms(deterministic)


class Here:
    """Calls in this process; those of the named kinds of cases fail."""

    fails, failures = (), 0
    is_fresh = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def call(self, function, *args, seconds):
        if args[0] in self.fails:
            self.__class__.failures += 1
            raise Failed("RuntimeError: the device is lost")
        return function(*args)


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(benchmark, "Apart", Here)
    return Here


def test_numbers_of_a_row_follow_from_the_time_of_an_update():
    made, flops = table(), count_flops(MODELS[VIT], **SHAPE)
    made.row(Case(VIT, "eager"), Measured(Timing(4.0, 1.0), None, ""))
    row = made.row(Case(VIT, "graph", 16), Measured(Timing(8.0, 3.0), 2**31, ""), moved=10**7)
    assert row["images_per_second"] == 16 * 128 / 0.008
    assert row["speedup"] == 8
    assert row["runs_per_hour_of_48000_images"] == pytest.approx(16 * 3600 / (3 + 375 * 0.008), rel=1e-3)
    assert row["share_of_peak"] == pytest.approx(3 * flops * 256_000 / 1e12, rel=1e-3)
    assert row["share_of_bandwidth"] == pytest.approx(16 * 1e7 / 0.008 / 1e11, rel=1e-3)
    assert (row["memory_gib"], row["peak_teraflops"], row["peak_gigabytes_per_second"]) == (2, 1, 100)
    assert (row["params"], row["mode"], row["stack"]) == (count_params(MODELS[VIT], **SHAPE), "graph", 16)


def test_nothing_is_compared_with_an_eager_loop_that_failed():
    made = table()
    made.row(Case(VIT, "eager"), "RuntimeError: out of memory")
    row = made.row(Case(VIT, "graph"), Measured(Timing(4.0, 1.0), None, ""))
    assert row["images_per_second"] == 32_000
    assert row["speedup"] is None


def test_without_peaks_there_are_no_shares_but_the_reason():
    row = table("AcceleratorError: unknown").row(Case(VIT, "eager"), Measured(Timing(4.0, 1.0), None, "plain"))
    assert row["images_per_second"] == 32_000
    assert row["share_of_peak"] is row["share_of_bandwidth"] is None
    assert row["reason"] == "plain; the peaks are not known: AcceleratorError: unknown"


def test_a_row_of_the_file_has_every_column_and_empty_cells_where_nothing_was_measured():
    rows = [table().row(Case(VIT, "eager"), "no time was left")]
    [read] = csv.DictReader(io.StringIO(as_csv(rows).decode()))
    assert tuple(read) == COLUMNS
    assert (read["images_per_second"], read["reason"], read["stack"]) == ("", "no time was left", "1")
    assert as_text(rows[0]).endswith("eager               no time was left")


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_the_eager_loop_of_a_model_is_measured_before_what_is_compared_with_it(device):
    listed = cases(device)
    assert max(Counter(listed).values()) == 1
    for name in {case.model for case in listed}:
        assert next(case for case in listed if case.model == name) == Case(name, "eager")


def test_a_gpu_is_measured_with_every_model_in_every_way():
    ways = {("eager", 1), ("eager", 16), ("compiled", 1), ("usual step", 1), ("usual loop", 1)}
    ways |= {("graph", stack) for stack in (1, 4, 16, 64)}
    for name in (VIT, WIDE, TWIN, RESNET):
        assert {(case.mode, case.stack) for case in cases("cuda") if case.model == name} == ways


def test_the_pace_counts_what_is_done_once_a_window_and_the_start_is_told_apart(monkeypatch):
    now = 0.0

    def updates():
        nonlocal now
        now += 3
        for update in count():
            now += 0.001 + 0.040 * (update % 20 == 0)
            yield

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now)
    effort = dataclasses.replace(SMALL, warm_up=10, seconds=0.5)
    found = timed(updates, device=CPU, effort=effort, window=20)
    assert dataclasses.astuple(found) == pytest.approx((3, 3 + 0.040 + 0.010 - 0.030))


@pytest.mark.parametrize(("slow", "windows"), [(0.1, 2), (5.0, 1)])
def test_windows_are_two_at_least_unless_one_takes_long(monkeypatch, slow, windows):
    now, made = 0.0, 0

    def updates():
        nonlocal now, made
        while True:
            now, made = now + slow, made + 1
            yield

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now)
    timed(updates, device=CPU, effort=dataclasses.replace(SMALL, patience=4.0), window=1)
    assert made == 1 + windows


def test_what_a_linear_model_keeps_is_its_input_the_log_probabilities_and_the_labels():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 10))
    images, labels = torch.randn(5, 3, 2, 2), torch.arange(5)
    choices = ComputeSettings("cpu", "fp32", False, False, 1, "")
    weight_of_the_loss = 4
    expected = 4 * 5 * 12 + 4 * 5 * 10 + 8 * 5 + weight_of_the_loss
    assert ours.saved_bytes(model, images, labels, choices) == expected


def test_an_update_moves_more_than_its_weights():
    least = ours.least_bytes(VIT, CPU, 1, SMALL)
    assert least > 40 * count_params(MODELS[VIT], **SHAPE)


@pytest.mark.parametrize("name", [VIT, WIDE])
def test_the_usual_vision_transformer_has_as_many_parameters_as_ours(name):
    assert params_of(usual.usual_model(name)) == count_params(MODELS[name], **SHAPE)
    assert type(usual.usual_model(name)).__module__.startswith("timm")


def test_the_usual_pictures_are_normalised_as_ours_are():
    data = ours.random_data(8, CPU)
    pictures = usual.Pictures(data)
    pictures.transform.transforms = pictures.transform.transforms[2:]
    image, label = pictures[8 + 3]
    torch.testing.assert_close(image, data.normalise(data.train.images[3:4])[0])
    assert label == 3


def test_ways_that_fail_are_rows_and_the_others_are_measured(here, monkeypatch):
    chosen = [Case(VIT, "eager"), Case(VIT, "usual step"), Case(TWIN, "eager"), Case(VIT, "eager", 2)]
    monkeypatch.setattr(here, "fails", (chosen[2],))
    rows = list(benchmark.throughput(CPU, threads=1, seconds=600, chosen=chosen, effort=SMALL))
    assert [row["reason"] for row in rows] == ["", "", "RuntimeError: the device is lost", ""]
    assert [row["images_per_second"] is not None for row in rows] == [True, True, False, True]
    assert [row["share_of_bandwidth"] is not None for row in rows] == [True, False, False, True]
    assert all(row["share_of_peak"] > 0 for row in rows if not row["reason"])


@pytest.mark.parametrize("way", ["eager", "usual step"])
def test_on_a_gpu_it_is_waited_for_and_its_memory_is_told(monkeypatch, way):
    called = Counter()
    for name in ("synchronize", "empty_cache", "reset_peak_memory_stats", "set_device"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, name=name: called.update([name]))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 7)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    with PretendedGpu():
        assert benchmark.machine("fp32", GPU, 1, SMALL).name == "a GPU"
        called.clear()
        found = benchmark.measure(Case(VIT, way), "fp32", GPU, 1, SMALL)
    assert found.memory == 7
    assert called == {"synchronize": 5, "empty_cache": 1, "reset_peak_memory_stats": 1, "set_device": 1}


@pytest.mark.slow
def test_workers_of_a_loader_feed_a_training_in_a_process_of_its_own():
    chosen = [Case(VIT, "eager"), Case(VIT, "usual loop")]
    rows = list(benchmark.throughput(CPU, threads=1, seconds=600, chosen=chosen, effort=SMALL))
    assert [row["reason"] for row in rows] == ["", ""]
    assert rows[1]["speedup"] > 0


def test_what_fails_where_others_were_measured_is_tried_again_in_a_process_of_its_own(here, monkeypatch):
    class Used(Here):
        """The first call that fails is in a process that others have used."""

        fails = (Case(VIT, "eager"),)

        @property
        def is_fresh(self):
            return self.failures == 1

    monkeypatch.setattr(benchmark, "Apart", Used)
    [row] = benchmark.throughput(CPU, threads=1, seconds=600, chosen=Used.fails, effort=SMALL)
    assert (Used.failures, row["reason"]) == (2, "RuntimeError: the device is lost")


def test_once_the_time_is_over_the_rest_are_rows_without_numbers(here):
    rows = list(benchmark.throughput(CPU, threads=1, seconds=0, effort=SMALL))
    assert [row["reason"] for row in rows] == ["not enough time was left"] * len(cases("cpu"))


def test_a_call_that_fails_ends_itself_alone():
    with Apart() as apart:
        assert apart.is_fresh
        assert apart.call(math.sqrt, 9.0, seconds=60) == 3
        assert not apart.is_fresh
        with pytest.raises(Failed, match="ValueError: "):
            apart.call(math.sqrt, -1.0, seconds=60)
        with pytest.raises(Failed, match="its process ended with exit code 3"):
            apart.call(os._exit, 3, seconds=60)
        with pytest.raises(TookLong, match="ended after 1 s"):
            apart.call(time.sleep, 600, seconds=1)
        assert apart.call(math.sqrt, 4.0, seconds=60) == 2


def measured_rows():
    made = table()
    times = {"eager": 4.0, "graph": 1.0}
    listed = [Case(name, mode) for name in (VIT, RESNET) for mode in times]
    rows = [made.row(case, Measured(Timing(times[case.mode], 1.0), None, "")) for case in listed]
    return [*rows, made.row(Case(VIT, "compiled"), "no time was left")]


def test_the_figure_has_a_mark_for_every_row_that_was_measured():
    figure = drawn(pd.DataFrame(measured_rows()))
    assert [len(axes.texts) for axes in figure.axes] == [2, 2]
    assert figure.get_suptitle() == "a device, bf16, batch 128"
    assert figure.axes[0].texts[1].get_text() == "4×"
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["eager", "compiled", "graph"]


def test_there_is_no_figure_of_nothing():
    with pytest.raises(InputError, match="must have a row that was measured"):
        drawn(pd.DataFrame([table().row(Case(VIT, "eager"), "no time was left")]))


def test_the_command_writes_a_table_and_a_figure(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "throughput", lambda *_, **__: (row for row in measured_rows()))
    assert execute(["bench", "--device", "cpu", "--output", str(tmp_path / "new")]) == 0
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["throughput.csv", "throughput.png", "throughput.svg"]
    assert pd.read_csv(tmp_path / "new/throughput.csv")["speedup"].tolist()[:2] == [1, 4]
    assert "a device, bf16, batch 128: 1.0 TFLOP/s, 100.0 GB/s" in capsys.readouterr().out


def test_what_was_measured_before_the_command_is_stopped_is_kept(tmp_path, monkeypatch):
    def stopped(*_, **__):
        yield measured_rows()[0]
        raise Interrupted("SIGINT")

    monkeypatch.setattr(benchmark, "throughput", stopped)
    assert execute(["bench", "--device", "cpu", "--output", str(tmp_path)]) == 75
    assert len(pd.read_csv(tmp_path / "throughput.csv")) == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--output", "{}", "--save", "{}/x.csv"), "save must be left out with --output"),
        (("--seconds", "60"), "seconds must be left out where single steps are measured. Got 60 without --output."),
        (("--output", "/dev/null"), "output must be a folder, or the place of a new one."),
        (("--seconds", "nan", "--output", "{}"), "should be greater than or equal to 1"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(tmp_path, capsys, words, sentence):
    assert execute(["bench", "--device", "cpu", *(word.format(tmp_path) for word in words)]) == 2
    said = capsys.readouterr().err
    assert sentence in said.replace("\n", " ")
    assert "Traceback" not in said
