"""The pages of the site as files that Sphinx reads: those in Markdown, the experiments, the reference of all names."""

import ast
import os
import re
import shutil
from pathlib import Path

import vision_attn

PACKAGE = Path(vision_attn.__file__).parent
PROJECT = PACKAGE.parent
"""The checkout, if the package lies in one: what pages link in `results` and `experiments` is there."""
PAGES = PACKAGE / "pages"
ORDER = ("questions", "experiments", "reports", "own", "layer", "data", "clusters", "gpu", "adding", "glossary", "faq")
EXTRA, FILES = "extra", "files"
"""The folder whose content Sphinx copies as it is, and that in it, and so of the site, for what the pages link."""
COPIED = (".html", ".csv", ".py", ".png", ".md")
WHOLE = ("layers", "models", "data", "training", "probes", "figures", "verdicts", "statistics", "report")
"""Packages whose `__all__` has the public names."""
NAMED = {
    "experiment": "Experiment",
    "run": "Run",
    "records": "Records, load, pick, planned",
    "measuring": "measure",
    "loading": "load_run, LoadedRun",
    "checking": "check_model, Expectation",
    "spec": "spec, Spec, InputError, to_json, from_json, kinds, digest",
}
"""Modules with their public names."""
REFERENCE = """# Reference

Every public name, with shapes, units, errors and sources. What an experiment file always needs can also be imported
from `vision_attn` itself.
"""
SAYS = """The suite trains attention classifiers and convolutional networks of equal size on nested subsets of image
data, measures what each relies on, and writes reports in which every number can be traced to a run. Its attention
layer, its probes and its figures also work on their own.

```sh
vision-attn init my_question.py
vision-attn run my_question.py
```
"""
LINK = re.compile(r"(!?)\[([^\[\]]*)\]\(((?:\.\./)+[^)#]+)(#[^)]*)?\)")
"""A link, or an image, to something outside of the folder of pages."""


def write(source: Path) -> None:
    """Write every page but the gallery into a folder, with copies of the files that they show."""
    names = {path.stem for path in PAGES.glob("*.md")}
    ordered = [*(name for name in ORDER if name in names), *sorted(names - set(ORDER))]
    for name in ordered:
        text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
        (source / f"{name}.md").write_text(_linked(text, source), encoding="utf-8")
    asked = _experiments()
    if asked:
        (source / "asked.md").write_text(asked, encoding="utf-8")
    _reference(source / "api")
    (source / "index.md").write_text(_index(ordered, has_experiments=bool(asked)), encoding="utf-8")


def _linked(text: str, source: Path) -> str:
    """The text of a page with links to copies of files; what cannot be copied is a text without a link."""

    def replaced(found: re.Match[str]) -> str:
        shows, words, target, _ = found.groups()
        file = Path(os.path.normpath(PAGES / target))
        inside = file.relative_to(PROJECT) if file.is_relative_to(PROJECT) else None
        if inside is None or not file.is_file() or file.suffix not in COPIED:
            return "" if shows else words
        copy = source / EXTRA / FILES / inside
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        where = f"{FILES}/{inside.as_posix()}"
        return f"![{words}]({EXTRA}/{where})" if shows else f'<a href="{where}">{words}</a>'

    return LINK.sub(replaced, text)


def _experiments() -> str:
    """The questions of all experiment files of the checkout, from their docstrings; empty where there are none."""
    parts = []
    for path in sorted((PROJECT / "experiments").glob("*.py")):
        question, _, more = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n\n")
        if question:
            command = f"```sh\nvision-attn run experiments/{path.name}\n```"
            parts.append(f"## {' '.join(question.split())}\n\n{command}\n\n{more}\n")
    beginning = "# The experiments\n\nThe question of every experiment file, as its docstring has it.\n"
    return "\n".join([beginning, *parts]) if parts else ""


def _reference(folder: Path) -> None:
    """A page for every module of the reference."""
    folder.mkdir()
    names = {f"vision_attn.{name}": NAMED.get(name, "") for name in (*WHOLE, *NAMED)}
    for module, members in names.items():
        body = f"{module}\n{'=' * len(module)}\n\n.. automodule:: {module}\n   :members: {members}\n"
        (folder / f"{module}.rst").write_text(body, encoding="utf-8")
    (folder / "index.md").write_text(f"{REFERENCE}\n{_tree(list(names), caption='Modules')}", encoding="utf-8")


def _index(pages: list[str], *, has_experiments: bool) -> str:
    """The front page: what the package says of itself, and the way to all pages."""
    question = (vision_attn.__doc__ or "").split("\n", 1)[0]
    trees = (
        ("The suite", [name for name in pages if name in ORDER[:4]] + ["asked"] * has_experiments + ["gallery"]),
        ("Parts", [name for name in pages if name in ORDER[4:8]]),
        ("More", [*(name for name in pages if name not in ORDER[:8]), "api/index"]),
    )
    parts = [f"# vision-attn\n\n**{question}**\n\n{SAYS}"]
    return "\n".join([*parts, *(_tree(names, caption=caption) for caption, names in trees)])


def _tree(names: list[str], *, caption: str) -> str:
    return "\n".join(["```{toctree}", ":maxdepth: 1", f":caption: {caption}", "", *names, "```", ""])
