"""Who may import whom."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "vision_attn"

BOTTOM = {"sources", "spec", "store", "environment", "resources", "signals", "_torchvision"}
MAY_IMPORT = {
    "spec": set(),
    "store": {"spec"},
    "environment": set(),
    "resources": set(),
    "signals": set(),
    "_torchvision": set(),
    "layers": set(),
    "models": {*BOTTOM, "layers"},
    "data": BOTTOM,
    "training": {*BOTTOM, "layers", "data", "models"},
    "probes": {*BOTTOM, "layers", "data", "models", "training"},
    "run": {*BOTTOM, "data", "models", "training"},
    "execution": {*BOTTOM, "data", "models", "training", "probes", "run"},
    "group": {*BOTTOM, "training", "run", "execution"},
    "plan_schema": {"spec"},
    "plan": {"spec", "store", "plan_schema"},
    "sources": {"spec"},
    "states": {"spec", "store", "plan"},
    "trial": {*BOTTOM, "data", "models", "training", "probes", "run", "execution", "plan", "sources"},
    "rehearsal": {"sources", "spec", "data", "models", "probes", "run", "execution", "plan", "trial"}
    | {"records", "rows", "figures", "verdicts"},
    "worker": {*BOTTOM, "plan", "probes", "run", "execution", "group"},
    "measuring": {*BOTTOM, "data", "models", "probes"},
    "loading": {*BOTTOM, "data", "run", "execution"},
    "explaining": {*BOTTOM, "data", "probes", "loading"},
    "checking": {*BOTTOM, "models", "training", "probes"},
    "bench": {*BOTTOM, "data", "models", "training"},
    "executors": {"signals", "spec", "store"},
    "driving": {"signals", "store", "executors"},
    "engines": {"spec", "store", "plan", "executors"},
    "run_one": {"spec", "store", "plan", "states", "executors", "driving"},
    "start": set(),
    "tables": {"spec", "store"},
    "metrics": set(),
    "rows": set(),
    "own_results": {"spec", "plan", "metrics"},
    "records": {"spec", "store", "plan", "rows", "tables", "own_results"},
    "statistics": {"spec"},
    "selection": {"spec", "plan", "records"},
    "wording": {"metrics", "records", "spec"},
    "figures": {"spec", "store", "plan", "records", "statistics", "selection", "wording"},
    "verdicts": {"sources", "spec", "records", "statistics", "selection", "wording"},
    "report": {
        *("environment", "sources", "spec", "store", "plan", "states", "tables", "records", "statistics", "wording"),
        *("figures", "verdicts"),
    },
}
HEAVY = {
    "seaborn": {"figures"},
    "matplotlib": {"figures"},
    "scipy": {"statistics"},
    "sklearn": {"models"},
    "ray": {"executors"},
    "sphinx": {"site"},
    "timm": {"models", "training", "bench"},
    "torchvision": {"_torchvision", "data", "bench"},
    "torch": {
        "_torchvision",
        "layers",
        "models",
        "data",
        "training",
        "probes",
        "run",
        "execution",
        "group",
        "worker",
        "sweep",
        "trial",
        "rehearsal",
        "doctor",
        "bench",
        "measuring",
        "loading",
        "explaining",
        "checking",
    },
}


def imports(path):
    """The modules that a file imports, at any depth, as (top-level name, part of the package or None)."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names = [node.module]
            if node.module == "vision_attn":
                names = [f"vision_attn.{alias.name}" for alias in node.names]
        for name in names:
            top, *rest = name.split(".")
            yield top, rest[0] if top == "vision_attn" and rest else None


def part_of(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_stands_above_it(path):
    part = part_of(path)
    for top, inner in imports(path):
        if inner is not None and part in MAY_IMPORT:
            assert inner in MAY_IMPORT[part] | {part}, f"{part} must not import {inner}"
        if top in HEAVY:
            assert part in HEAVY[top], f"only {sorted(HEAVY[top])} may import {top}"


@pytest.mark.parametrize("folder", ["probes", "figures"])
def test_siblings_do_not_import_each_other(folder):
    """What defines a probe or a figure stands alone; what several share defines none, or is abstract."""
    texts = {path.stem: path.read_text() for path in (PACKAGE / folder).glob("*.py") if path.stem != "__init__"}
    defining = {stem for stem, text in texts.items() if re.search(r"^@spec\nclass \w+\((?!.*ABC)", text, re.MULTILINE)}
    assert len(defining) > 10
    for name in defining:
        importing = [stem for stem, text in texts.items() if f"vision_attn.{folder}.{name} import" in text]
        assert importing == [], name


def test_experiments_import_only_the_package_and_each_other():
    paths = list((ROOT / "experiments").glob("*.py"))
    known = {"vision_attn", *(path.stem for path in paths), *sys.stdlib_module_names}
    for path in paths:
        assert {top for top, _ in imports(path)} <= known


def loaded_after(code):
    script = f"import sys\n{code}\nprint(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(run.stdout.split())


def test_the_reading_half_needs_no_torch():
    assert "torch" not in loaded_after("import vision_attn.report, vision_attn.figures, vision_attn.cli.command")


def test_the_check_for_torch_can_fail():
    assert "torch" in loaded_after("import vision_attn.run")


def test_the_command_line_starts_without_what_only_some_verbs_need():
    assert not {"torch", "numpy", "pandas", "matplotlib", "scipy", "jinja2"} & loaded_after(
        "import vision_attn.cli.command"
    )


def test_verdicts_are_decided_without_anything_that_draws():
    assert not {"matplotlib", "seaborn"} & loaded_after("import vision_attn.verdicts, vision_attn.wording")


def test_an_experiment_is_read_without_what_only_drawing_and_testing_need():
    """Every command and every worker reads one; scipy.stats takes a second to import, and seaborn imports it."""
    loaded = loaded_after("import vision_attn.experiment")
    assert not {"seaborn", "scipy.stats", "scipy.optimize", "sklearn"} & loaded
    assert "matplotlib" in loaded


def test_nothing_but_the_command_line_prints():
    for path in FILES:
        if part_of(path) in ("cli", "progress"):
            continue
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert not [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"], path


def test_nothing_is_unpickled_or_evaluated():
    for path in FILES:
        text = path.read_text()
        for danger in ("pickle.load", "weights_only=False", "yaml.load(", "allow_pickle=True", "eval(", "exec("):
            hits = [line for line in text.splitlines() if danger in line.replace(".eval(", "").replace(".exec(", "")]
            assert not hits, (path, hits)


def test_every_kind_that_a_test_defines_has_a_name_of_its_own():
    """Test files of one process share the registry, where a second kind of a name is refused."""
    patterns = (r"^ *@spec\n *class (\w+)\(", r"^ *@as_m\w+\n *(?:def|class) (\w+)\(", r'format\(name="(\w+)"')
    found = [
        name
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for name in {name for one in patterns for name in re.findall(one, path.read_text(), re.MULTILINE)}
    ]
    assert len(found) > 20
    assert sorted({name for name in found if found.count(name) > 1}) == []
