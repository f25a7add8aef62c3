"""The script for a GPU: what matters most first, in calls of at most ten minutes, nothing lost by what fails."""

import importlib.machinery
import importlib.util
import json
import sys
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vision_attn.cli.command import app
from vision_attn.experiment import load

ROOT = Path(__file__).resolve().parents[1]
LOADER = importlib.machinery.SourceFileLoader("gpu_script", str(ROOT / ".ci" / "gpu"))
TEN_MINUTES = 600


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_loader("gpu_script", LOADER)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_script", module)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    LOADER.exec_module(module)
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    for name in ("VISION_ATTN_REHEARSE_GPU", "PYTHONUNBUFFERED"):  # which it sets; afterwards they are as before
        monkeypatch.setenv(name, "")
    return module


@pytest.fixture
def called(monkeypatch, tmp_path):
    """What would have been called, by a Python that only writes it down; one call in whose words is "FAILS" fails."""
    log, fake = tmp_path / "calls", tmp_path / "python"
    lines = [f"#!{sys.executable}", "import json, sys", f"with open({str(log)!r}, 'a') as file:"]
    lines += ["    file.write(json.dumps(sys.argv[1:]) + '\\n')", "sys.exit('FAILS' in ' '.join(sys.argv))"]
    fake.write_text("\n".join(lines))
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    return lambda: [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def go(script, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["gpu", *map(str, words)])
    return script.main()


def test_correctness_comes_before_times_and_times_before_the_headline(script, called, monkeypatch, tmp_path):
    assert go(script, monkeypatch, "first", tmp_path / "out") == 0
    assert go(script, monkeypatch, "headline", tmp_path / "out", tmp_path) == 0
    told = [" ".join(call) for call in called()]
    for place, words in enumerate(("doctor", "-m gpu tests/gpu", "bench --device cuda", "attention_table.py")):
        assert words in told[place]
    found = [(call[call.index("--preset") + 1], call[call.index("--levels") + 1]) for call in called()[4:]]
    assert found == [(preset, f"seed={seeds}") for preset, seeds in script.BLOCKS]


def test_blocks_are_all_that_the_presets_plan_each_once(script):
    _, experiment = load(ROOT / "experiments" / "data_size.py")
    for preset in ("gpu", "gpu-all"):
        asked = [int(seed) for name, seeds in script.BLOCKS if name == preset for seed in seeds.split(",")]
        assert asked == list(experiment.preset(preset).factors["seed"])
    assert [preset for preset, _ in script.BLOCKS] == sorted(preset for preset, _ in script.BLOCKS)


def test_a_call_takes_ten_minutes_at_most(script, tmp_path):
    steps = script.first(tmp_path, rehearse=False)
    assert sum(step.seconds for step in steps) <= TEN_MINUTES
    for step in steps:
        if "--seconds" in step.call:
            assert float(step.call[step.call.index("--seconds") + 1]) < step.seconds
    assert script.HEADLINE <= TEN_MINUTES
    made = script.block("gpu", "0,1", tmp_path, tmp_path, 300, rehearse=False)
    assert (made.call[made.call.index("--stop-after") + 1], made.seconds) == (str(300 - script.ENDING), 300)


@pytest.mark.parametrize("rehearse", [False, True])
def test_every_option_of_the_command_line_is_there(script, monkeypatch, tmp_path, rehearse):
    monkeypatch.syspath_prepend(ROOT / "tests" / "benchmarks")
    import attention_table

    blocks = [script.block(*one, tmp_path, tmp_path, 300, rehearse=rehearse) for one in script.BLOCKS]
    steps = (*script.first(tmp_path, rehearse=rehearse), *blocks)
    calls = [step.call[2:] for step in steps if "vision_attn" in step.call]
    assert [call[0] for call in calls] == ["doctor", "bench", *["run"] * len(blocks)]
    for call in calls:
        ended = CliRunner().invoke(app, [*call, "--help"])
        assert ended.exit_code == 0, ended.output
    assert set(script.TABLES) == set(attention_table.TABLES)


def test_a_step_that_fails_is_told_and_the_next_is_made(script, called, monkeypatch, tmp_path, capsys):
    assert go(script, monkeypatch, "first", tmp_path / "FAILS") == 1
    assert len(called()) == 4
    said = capsys.readouterr().out
    assert "throughput: exit code 1" in said
    assert "correctness: exit code 0" in said
    assert "== correctness: -m pytest" in (tmp_path / "FAILS" / "first.log").read_text()


def test_a_step_that_hangs_is_killed(script, tmp_path, capsys):
    step = script.Step("hangs", ("-c", "import time; time.sleep(1000)"), 0.5)
    with (tmp_path / "log").open("a") as log:
        assert not script.ends_well(step, log)
    assert "hangs: killed after its 0 s" in capsys.readouterr().out


def test_runs_left_when_the_time_is_over_are_no_failure(script, tmp_path):
    with (tmp_path / "log").open("a") as log:
        assert script.ends_well(script.Step("ends", ("-c", "raise SystemExit(75)"), 60), log)


def test_without_time_no_block_is_begun_and_what_is_finished_is_brought_home(
    script, called, monkeypatch, tmp_path, capsys
):
    done, cut = (tmp_path / "out" / "results" / "runs" / "ab" / name for name in ("done", "cut"))
    page = tmp_path / "out" / "results" / "data_size-gpu"
    for folder in (done / "probes", cut, page):
        folder.mkdir(parents=True)
    for name in ("result.json", "probes/Size.json", "weights.safetensors"):
        (done / name).write_text("{}")
    (cut / "config.json").write_text("{}")
    (page / "report.html").write_text("page")
    assert go(script, monkeypatch, "headline", tmp_path / "out", tmp_path, "--seconds", "60") == 0
    assert called() == []
    assert "gpu, seeds 0,1: not begun, no time is left" in capsys.readouterr().out
    with tarfile.open(tmp_path / "out" / "headline.tar.xz") as archive:
        names = {member.name for member in archive if member.isfile()}
    assert names == {"runs/ab/done/result.json", "runs/ab/done/probes/Size.json", "data_size-gpu/report.html"}


def test_headline_asks_for_its_data(script, monkeypatch, tmp_path, capsys):
    for words in (("headline", tmp_path), ("first", tmp_path, tmp_path)):
        with pytest.raises(SystemExit) as ended:
            go(script, monkeypatch, *words)
        assert ended.value.code == 2
        assert "headline needs DATA, the folder of cifar10-jpeg; first takes none" in capsys.readouterr().err


@pytest.mark.slow
def test_the_first_call_is_rehearsed_on_a_cpu(script, monkeypatch, tmp_path):
    assert go(script, monkeypatch, "first", tmp_path, "--rehearse") == 0
    assert (tmp_path / "throughput" / "throughput.csv").is_file()
    assert len((tmp_path / "attention_table.csv").read_text().splitlines()) > 20
    assert "1 passed" in (tmp_path / "first.log").read_text()
