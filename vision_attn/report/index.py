"""Index: the verdict page, which compares every claim with all results, and links the pages of the experiments."""

import base64
import dataclasses
import hashlib
import io
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from vision_attn import wording
from vision_attn.figures import Figure, rendering, theme
from vision_attn.figures.altered_images import AlteredImages
from vision_attn.plan import Plan
from vision_attn.records import Records, load
from vision_attn.report import page, protocol
from vision_attn.report.answer import answer
from vision_attn.report.claims import tutorials
from vision_attn.report.drawn import heading, made, named
from vision_attn.report.evidence import Evidence, Judged, Part, folders, judged, markdown, seeds_text
from vision_attn.report.html import render
from vision_attn.report.ranges import Known, looked_at, runs_of
from vision_attn.report.scope import in_brief, scope
from vision_attn.report.shown import CONSTRUCTED
from vision_attn.sources import FAULTS
from vision_attn.spec import InputError
from vision_attn.store import RUNS, write_atomic

PAGE = "index.html"
BEGIN, END = "<!-- claims -->\n", "<!-- /claims -->\n"
"""Between these a README has the table of claims."""
WIDTH = 520
"""Pixels of a thumbnail, two for each that it is shown with."""


Cited = dict[str, list[tuple[Evidence, list[str]]]]
"""By claim, the rules about something else that its conclusion cites, each with its range."""


@dataclasses.dataclass(frozen=True)
class Thumbnail:
    """A figure in small: the name of its section on the page of the experiment, and the image as a data URI."""

    name: str
    title: str
    image: str
    width: int
    height: int

    @property
    def id(self) -> str:
        """What the page calls the image, which it holds once."""
        return "picture-" + hashlib.sha256(self.image.encode()).hexdigest()[:12]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One experiment: its folder, its question and its answer; by rule its range, and the figure nearest to it."""

    folder: str
    title: str
    answer: str
    scopes: dict[str, tuple[str, ...]]
    thumbnails: dict[str, Thumbnail]


def build_all(
    results: Path,
    *,
    store: Path | None = None,
    pages: bool = True,
    tell: Callable[[Path], None] = lambda path: None,
) -> Path:
    """Rebuild the page of every experiment in a folder of results, and the verdict page over them; returns the latter.

    Without `pages` those of the experiments are left as they are. `tell` is told of every page once it is written.
    Raises `InputError` where the folder has no experiment, or one that is damaged.
    """
    plans = folders(results)
    if not plans:
        raise InputError(f"'{results}' has no experiment with a plan. Give the folder of all, such as results.")
    kept: dict[str, Records] = {}
    for folder, plan in plans.items():
        kept[folder.name] = load(plan, store or results / RUNS, committed=folder)
        if pages:
            tell(page.write(kept[folder.name], folder))
    rows = judged(results)
    known = {name: looked_at(records, _about(name, rows)) for name, records in kept.items()}
    entries = {name: _entry(name, records, rows, known[name]) for name, records in kept.items()}
    cited = {
        row.id: [(one, in_brief(kept[one.folder], runs_of([one], known[one.folder]))) for one in row.cited]
        for row in rows
    }
    write_atomic(results / PAGE, _page(results, rows, entries, cited).encode())
    tell(results / PAGE)
    return results / PAGE


def write_table(readme: Path, results: Path, *, store: Path | None = None) -> None:
    """Put the table of claims between the marks of a README. Raises `InputError` where it has none."""
    try:
        text = readme.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"No such file: {readme}") from None
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{readme} must have the lines {BEGIN.strip()} and {END.strip()}. It has not.")
    write_atomic(readme, f"{before}{BEGIN}{table(results, store=store)}{END}{after}".encode())


def table(results: Path, *, store: Path | None = None) -> str:
    """The claims as a table in Markdown, with links from the folder in which `results` lies."""
    rows, plans = judged(results), folders(results)
    ranges: dict[tuple[str, str], list[str]] = {}
    for folder, plan in plans.items():
        asked = {row.id: row.pages[folder.name] for row in rows if row.claim is not None and folder.name in row.pages}
        if asked:
            records = load(plan, store or results / RUNS, committed=folder)
            known = looked_at(records, _about(folder.name, rows))
            ranges |= {(name, folder.name): in_brief(records, runs_of(own, known)) for name, own in asked.items()}
    return markdown(rows, page=f"{results.name}/{PAGE}", link=results.name, ranges=ranges)


def _about(folder: str, rows: list[Judged]) -> list[Evidence]:
    return [one for row in rows for one in row.evidence if one.folder == folder]


def _entry(folder: str, records: Records, rows: list[Judged], known: Known) -> Entry:
    own = _about(folder, rows)
    title, _ = protocol.sentences(records.plan.question)
    drawn: dict[str, Thumbnail | None] = {}
    thumbnails = {one.decisive.rule: _thumbnail(records, one.decisive, drawn) for one in own}
    said = answer(records, own)
    shown = {rule: picture for rule, picture in thumbnails.items() if picture is not None}
    scopes = {one.whole.rule: tuple(scope(records, runs_of([one], known))) for one in own}
    return Entry(folder, title, said, scopes, shown)


def _thumbnail(records: Records, part: Part, drawn: dict[str, Thumbnail | None]) -> Thumbnail | None:
    """The nearest figure that can be drawn; `drawn` keeps what was drawn for other rules."""
    for name, figure in nearest(records.plan, part):
        if name not in drawn:
            drawn[name] = _drawn(records, name, figure)
        if drawn[name] is not None:
            return drawn[name]
    return None


def nearest(plan: Plan, part: Part) -> list[tuple[str, Figure]]:
    """The figures of a plan by name, nearest first to what decides.

    First are those of the same metric, of images as they are unless the rule is about altered ones, then those whose
    metric and name have most words of it, and of these the ones at most of the levels that the rule names.
    """
    found = []
    for name, data in named(plan.figures):
        try:
            figure = made(data, plan)
            is_about = figure.applies(plan)
        except FAULTS:  # its own page says what failed
            continue
        if is_about:
            metric = getattr(figure, "metric", "")
            words = _words(part.metric) & _words(f"{metric}_{name}")
            levels = [*getattr(figure, "at", ()), *getattr(figure, "given", ())]
            told = [one for one in levels if re.search(rf"\b{re.escape(_named(*one))}(?: \(|[,:)])", part.asked)]
            is_asked = not isinstance(figure, AlteredImages) or figure.coordinate in part.asked
            found.append(((metric == part.metric, is_asked, len(words), len(told)), name, figure))
    return [(name, figure) for _, name, figure in sorted(found, key=lambda one: one[0], reverse=True)]


def _named(factor: str, level: object) -> str:
    return f"{factor.replace('_', ' ')} {level}"


def _drawn(records: Records, name: str, figure: Figure) -> Thumbnail | None:
    try:
        with theme.reproducible():
            drawing = rendering.rendered(figure.plot(records).sheet, kinds=("png",))["png"]
    except FAULTS:  # a figure must not cost the page: its own page says what failed
        return None
    return Thumbnail(name, heading(figure, records.plan) or figure.title, *_small(drawing))


def _small(png: bytes) -> tuple[str, int, int]:
    """An image as a data URI, with its width and height, in 64 colours: some 10 kB, where an SVG has up to 180."""
    with Image.open(io.BytesIO(png)) as image:
        small = image.convert("RGB")
    small.thumbnail((WIDTH, 2 * WIDTH))
    out = io.BytesIO()
    small.quantize(64).convert("RGB").save(out, format="webp", lossless=True, quality=100, method=6)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode(), *small.size


def _words(name: str) -> set[str]:
    """The words of snake_case and CamelCase."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+", name)}


def _page(results: Path, rows: list[Judged], entries: dict[str, Entry], cited: Cited) -> str:
    return render(
        "index.html.j2",
        summary=summary(rows),
        rows=rows,
        entries=entries,
        cited={claim: [(one, [*seeds_text([one]), *said]) for one, said in rules] for claim, rules in cited.items()},
        pictures={one.id: one for entry in entries.values() for one in entry.thumbnails.values()},
        tutorials=tutorials(),
        commands={row.id: command(row, results) for row in rows},
        has_log=(results / "LOG.md").is_file(),
    )


def summary(rows: list[Judged]) -> str:
    """How many of the claims have which verdict: 2 supported, 1 mixed, 3 withdrawn, 6 not measured."""
    words = {"supports": "supported", "contradicts": "contradicted", CONSTRUCTED: "true by construction"}
    own = [row for row in rows if row.claim is not None]
    counts = Counter(words.get(row.shown, row.shown) for row in own)
    said = wording.listing([f"{count} {word}" for word, count in counts.items()])
    return f"Of {len(own)} claims: {said}."


def command(row: Judged, results: Path) -> str:
    """What to type to measure a claim; empty where this copy of the project has no experiment about it."""
    if row.claim is None:
        return ""
    folder = results.resolve().parent / "experiments"
    known = [name for name in row.claim.experiments if not folder.is_dir() or (folder / f"{name}.py").is_file()]
    measured = {one.folder for one in row.evidence}
    missing = [name for name in known if name not in measured] or known
    return f"vision-attn run experiments/{missing[0]}.py" if missing else ""
