"""Tables on disk: what was written is read again, and what was altered is refused."""

import gzip
import hashlib
import lzma
import re
import shutil
import subprocess
import sys
from pathlib import Path

import made_up
import numpy as np
import pandas as pd
import pytest
from documents import FILES, links

from vision_attn.plan import Plan, folders_in
from vision_attn.records import load
from vision_attn.report import build
from vision_attn.spec import InputError
from vision_attn.tables import read_csv, read_tables, to_csv, to_digits, typed, with_digits, write_tables
from vision_attn.verdicts import findings, table

ROOT = Path(__file__).resolve().parents[1]
FRAME = pd.DataFrame({"run": ["a", "b"], "value": [0.1, 2.5]})
COLUMNS = {"long": ("run", "value"), "short": ("run",)}
FINDINGS = sys.modules[findings.__module__]
SHOWN = [name for path in FILES for name in links(path) if name.startswith("results/")]


def written(folder, frame=FRAME, experiment="one"):
    folder.mkdir(exist_ok=True)
    write_tables(folder, {"long.csv.xz": to_csv(frame), "short.csv": to_csv(frame)}, experiment=experiment)
    return folder


def test_whole_numbers_beyond_64_bits_are_floats():
    assert list(typed([2**63 - 1, None])) == [2**63 - 1, pd.NA]
    assert typed([2**63, 1, None]).tolist()[:2] == [2.0**63, 1.0]


def test_numbers_are_written_with_the_digits_they_have():
    frame = pd.DataFrame(
        {"a": pd.Series([0.1, 1 / 3], dtype="float32"), "b": [0.1, 1e-5], "c": typed([2**60 + 1, None])}
    )
    assert to_csv(frame) == b"a,b,c\n0.1,0.1,1152921504606846977\n0.33333334,1e-05,\n"


def test_measured_numbers_keep_nine_digits_and_counts_and_empty_cells_are_as_they_were():
    frame = pd.DataFrame({"a": [1 / 3, 12345678912345.0], "b": [-1e-9 / 3, None], "n": [2**60 + 1, 1]})
    kept = with_digits(frame)
    assert kept["a"].tolist() == [0.333333333, 12345678912345.0]
    assert kept["b"].iloc[0] == -3.33333333e-10
    assert kept["b"].isna().tolist() == [False, True]
    assert kept["n"].tolist() == [2**60 + 1, 1]
    every = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    assert (np.float32(to_digits(every)) == every).all(), "numbers of 32 bits stay what they are"
    assert to_digits(every).tolist() == [float(f"{number:.9g}") for number in every]
    pd.testing.assert_frame_equal(with_digits(kept), kept)


def test_only_a_table_of_runs_keeps_what_looks_like_a_number_as_text(tmp_path):
    cells = {"run": ["12", "13"], "sources": [1, 2], "python": [3.11, 3.12]}
    assert read_csv(written(tmp_path, pd.DataFrame(cells)) / "short.csv")["sources"].tolist() == [1, 2]
    runs = read_csv(written(tmp_path, pd.DataFrame({**cells, "state": "done"})) / "short.csv")
    assert runs["python"].tolist() == ["3.11", "3.12"]
    assert runs["run"].tolist() == ["12", "13"]


def test_a_compressed_table_is_an_ordinary_csv_for_pandas_and_xz(tmp_path):
    path = written(tmp_path) / "long.csv.xz"
    pd.testing.assert_frame_equal(pd.read_csv(path), FRAME)
    unpacked = lzma.decompress(path.read_bytes(), format=lzma.FORMAT_XZ)
    assert unpacked == b"run,value\na,0.1\nb,2.5\n" == (tmp_path / "short.csv").read_bytes()
    pd.testing.assert_frame_equal(read_csv(path), read_csv(tmp_path / "short.csv"))


def test_sha256sum_confirms_the_checksums_and_notices_a_change(tmp_path):
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    written(tmp_path)
    assert subprocess.run(check, cwd=tmp_path, check=False).returncode == 0
    (tmp_path / "short.csv").write_text("run,value\n")
    assert subprocess.run(check, cwd=tmp_path, check=False).returncode != 0


def test_the_same_table_gives_the_same_bytes_whatever_the_time(tmp_path, monkeypatch):
    first = (written(tmp_path / "a") / "long.csv.xz").read_bytes()
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert (written(tmp_path / "b") / "long.csv.xz").read_bytes() == first


@pytest.mark.parametrize("text", ["=x", "'=x", "''=x", "+a", "-a", "@a", "'", "'x"])
def test_no_text_and_no_name_of_a_column_is_a_formula_and_all_are_read_back_as_they_were(tmp_path, text):
    frame = pd.DataFrame({"run": [text, "b"], f"{text}name": ["c", text]})
    (tmp_path / "x.csv").write_bytes(to_csv(frame))
    cells = (tmp_path / "x.csv").read_text().replace("\n", ",").split(",")
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert read_csv(tmp_path / "x.csv").to_dict("list") == frame.to_dict("list")


@pytest.mark.parametrize("text", ["a\rb", "a\r\nb", "a\nb", "\r", 'a,"b"\r'])
def test_ends_of_lines_within_a_cell_or_a_name_are_read_back(tmp_path, text):
    frame = pd.DataFrame({"run": ["a", text], "value": [0.5, 1.5], f"x{text}": ["b", "c"]})
    (tmp_path / "x.csv").write_bytes(to_csv(frame))
    assert read_csv(tmp_path / "x.csv").to_dict("list") == frame.to_dict("list")


def test_a_file_that_another_liblzma_wrote_is_kept_while_it_holds_the_same_table(tmp_path):
    other = lzma.compress(to_csv(FRAME), check=lzma.CHECK_CRC32, preset=0)
    (tmp_path / "long.csv.xz").write_bytes(other)
    assert (written(tmp_path) / "long.csv.xz").read_bytes() == other
    assert len(read_tables(tmp_path, COLUMNS)["long"]) == 2
    assert (written(tmp_path, FRAME.iloc[:1]) / "long.csv.xz").read_bytes() != other


def test_a_folder_without_tables_has_none(tmp_path):
    assert read_tables(tmp_path, COLUMNS) == {}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A results folder as a clone has it, with its report and without the runs."""
    root = tmp_path_factory.mktemp("reports")
    plan = made_up.make_plan(sizes=(50,), seeds=(0,), figures=made_up.FIGURES[:1])
    made_up.write_store(root / "runs", plan)
    folder = root / "quickstart"
    folder.mkdir()
    plan.write(folder)
    build(folder, root / "runs")
    shutil.rmtree(root / "runs")
    other = root / "other"
    other.mkdir()
    write_tables(
        other,
        {name: to_csv(read_csv(folder / name)) for name in ("records.csv.xz", "history.csv.xz", "runs.csv.xz")},
        experiment="other",
    )
    (other / "records.csv.xz").write_bytes(lzma.compress(b"run,metric,value\n"))
    return folder


def flip(byte):
    def apply(path):
        content = bytearray(path.read_bytes())
        content[byte] ^= 1
        path.write_bytes(content)

    return apply


DAMAGES = {
    "first byte": flip(0),
    "sixth byte": flip(5),
    "middle": lambda path: flip(path.stat().st_size // 2)(path),
    "last byte": flip(-1),
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "without its last byte": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "one byte more": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "twice": lambda path: path.write_bytes(path.read_bytes() * 2),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "text": lambda path: path.write_text("<html>404: not found</html>"),
    "other line ends": lambda path: path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n"),
    "header only": lambda path: path.write_bytes(path.read_bytes().partition(b"\n")[0] + b"\n"),
    "of another folder": lambda path: shutil.copy(path.parent.parent / "other" / path.name, path),
    "missing": Path.unlink,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["records.csv.xz", "history.csv.xz", "runs.csv.xz", "SHA256SUMS"])
def test_a_damaged_file_is_refused_in_a_sentence_that_names_it(report, tmp_path, name, damage):
    """And nothing is published."""
    if (name, damage) in {("history.csv.xz", "of another folder"), ("runs.csv.xz", "of another folder")}:
        pytest.skip("the other folder has the same bytes there")
    folder = Path(shutil.copytree(report.parent, tmp_path / "reports")) / report.name
    DAMAGES[damage](folder / name)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError) as refused:
        build(folder, tmp_path / "nowhere")
    assert str(folder) in str(refused.value)
    assert name in str(refused.value)
    assert f"`git checkout -- {folder}`" in str(refused.value)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_file_that_a_page_names_lies_beside_it(report):
    page = (report / "report.html").read_text()
    named = {*re.findall(r'href="([^"#:]+)"', page), *re.findall(r'read_csv\(["&#34;quot]+([\w./]+)', page)}
    assert {"records.csv.xz", "history.csv.xz", "runs.csv.xz", "plan.json.gz"} < named
    assert [name for name in named if not (report / name).is_file()] == []


def test_what_the_report_writes_anyway_is_mended(report, tmp_path):
    folder = Path(shutil.copytree(report, tmp_path / "quickstart"))
    sums = (report / "SHA256SUMS").read_bytes()
    (folder / "SHA256SUMS").write_bytes(re.sub(rb".(?=  tables/)", lambda one: b"%d" % (one[0] < b"1"), sums))
    (folder / "tables" / "LearningCurve.csv").write_text("damaged")
    assert (folder / "SHA256SUMS").read_bytes() != sums
    build(folder, tmp_path / "nowhere")
    for name in ("SHA256SUMS", "tables/LearningCurve.csv"):
        assert (folder / name).read_bytes() == (report / name).read_bytes()


def test_tables_with_the_checksums_of_another_experiment_are_refused(report, tmp_path):
    folder = Path(shutil.copytree(report, tmp_path / "quickstart"))
    for name in ("records.csv.xz", "history.csv.xz", "runs.csv.xz", "SHA256SUMS"):
        shutil.copy(report.parent / "other" / name, folder / name)
    with pytest.raises(InputError, match=r"SHA256SUMS is of the experiment 'other', but the plan is of 'quickstart'"):
        build(folder, tmp_path / "nowhere")


def test_a_table_of_a_figure_is_read_after_its_checksum(report, tmp_path):
    folder = Path(shutil.copytree(report, tmp_path / "quickstart"))
    name, columns = "tables/LearningCurve", ("model", "estimate")
    assert len(read_tables(folder, {name: columns})[name]) == len(pd.read_csv(folder / f"{name}.csv"))
    with pytest.raises(InputError, match=r"LearningCurve\.csv is not the table .* no column 'median'"):
        read_tables(folder, {name: ("model", "median")})
    flip(-2)(folder / f"{name}.csv")
    with pytest.raises(InputError, match=r"LearningCurve\.csv and SHA256SUMS do not agree"):
        read_tables(folder, {name: columns})
    with pytest.raises(InputError, match=r"Gap\.csv is missing"):
        read_tables(folder, {"tables/Gap": columns})


@pytest.mark.parametrize("damage", ["empty", "one byte more", "without its last byte", "twice", "middle"])
def test_what_the_store_has_is_built_again_over_damaged_tables(tmp_path, damage):
    plan = made_up.make_plan(sizes=(50,), seeds=(0,), figures=())
    made_up.write_store(tmp_path / "runs", plan)
    plan.write(tmp_path)
    build(tmp_path, tmp_path / "runs")
    good = (tmp_path / "records.csv.xz").read_bytes()
    DAMAGES[damage](tmp_path / "records.csv.xz")
    build(tmp_path, tmp_path / "runs")
    assert (tmp_path / "records.csv.xz").read_bytes() == good


def plain(report, folder):
    """The report as it was written before there were checksums."""
    shutil.copytree(report, folder)
    for name in ("records", "history", "runs"):
        (folder / f"{name}.csv").write_bytes(lzma.decompress((folder / f"{name}.csv.xz").read_bytes()))
        (folder / f"{name}.csv.xz").unlink()
    (folder / "SHA256SUMS").unlink()
    return folder


def test_a_report_from_before_checksums_is_read_and_written_anew(report, tmp_path):
    folder = plain(report, tmp_path / "quickstart")
    build(folder, tmp_path / "nowhere")
    tables = ["records.csv.xz", "history.csv.xz", "runs.csv.xz", "SHA256SUMS"]
    assert [(folder / name).read_bytes() == (report / name).read_bytes() for name in tables] == [True] * 4
    assert not (folder / "records.csv").exists()
    assert not (folder / "history.csv").exists()
    assert not (folder / "runs.csv").exists()


def test_tables_that_gzip_compressed_are_read_after_their_checksums_and_written_anew(report, tmp_path):
    """As reports of earlier versions have left them, also where the next report was interrupted halfway."""
    folder = Path(shutil.copytree(report, tmp_path / "quickstart"))
    sums = (folder / "SHA256SUMS").read_text()
    for name in ("records", "history", "runs"):
        new, old = folder / f"{name}.csv.xz", folder / f"{name}.csv.gz"
        old.write_bytes(gzip.compress(lzma.decompress(new.read_bytes()), mtime=0))
        hashes = (hashlib.sha256(path.read_bytes()).hexdigest() for path in (new, old))
        sums = sums.replace(*hashes)
        sums = sums.replace(new.name, old.name)
        new.unlink()
    (folder / "records.csv.xz").write_bytes(lzma.compress(b"run,metric,value\n"))
    (folder / "SHA256SUMS").write_text(sums)
    build(folder, tmp_path / "nowhere")
    assert {path.name for path in folder.glob("*.csv.*")} == {"records.csv.xz", "history.csv.xz", "runs.csv.xz"}
    assert (folder / "SHA256SUMS").read_bytes() == (report / "SHA256SUMS").read_bytes()
    flip(-1)(folder / "records.csv.xz")
    with pytest.raises(InputError, match=r"records\.csv\.xz and SHA256SUMS do not agree"):
        build(folder, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: "", "it has no column 'run'"),
        (lambda text: text[: len(text) // 2], "a row is longer or shorter"),
        (lambda text: text + "1,2,3\n", "a row is longer or shorter"),
        (lambda text: text + "," * 99 + "\n", "a row is longer or shorter"),
        (lambda text: text.replace(",metric,", ",metrics,"), "it has no column 'metric'"),
        (lambda text: text + text.splitlines()[-1].replace("0.", "0,5.") + "\n", "a row is longer"),
        (lambda text: text.replace(",0.", ",zero."), "a cell of column 'value' is no number"),
        (lambda text: "\x00\udcff", "codec"),
    ],
)
def test_a_plain_table_that_is_no_table_is_refused_too(report, tmp_path, change, said):
    folder = plain(report, tmp_path / "quickstart")
    path = folder / "records.csv"
    path.write_bytes(change(path.read_text()).encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=re.escape(str(path))) as refused:
        build(folder, tmp_path / "nowhere")
    assert said in str(refused.value)


@pytest.mark.parametrize("folder", folders_in(ROOT / "results"), ids=lambda p: p.name)
def test_every_committed_table_matches_its_checksum(folder):
    sums = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines()[1:])
    tables = [path for path in folder.rglob("*.csv*") if ".tmp" not in path.name]
    assert {str(path.relative_to(folder)) for path in tables} == set(sums)
    for path in tables:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sums[str(path.relative_to(folder))], path


@pytest.mark.parametrize(
    "folder", [one for one in folders_in(ROOT / "results") if (one / "verdicts.csv").exists()], ids=lambda p: p.name
)
def test_every_committed_verdict_follows_from_the_committed_tables(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(FINDINGS, "found_rates", lambda verdict, found: None)  # simulated for long, and not compared
    stated = read_csv(folder / "verdicts.csv")
    found = table(findings(load(Plan.read(folder), tmp_path / "nowhere", committed=folder)))
    assert found["verdict"].tolist() == stated["verdict"].tolist()
    np.testing.assert_allclose(found["estimate"].astype(float), stated["estimate"].astype(float), rtol=1e-6, atol=1e-8)


def tracked():
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT, check=False)
    if listed.returncode:
        pytest.skip("not a checkout of git")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_what_is_committed_stays_small_enough_to_travel():
    assert sum(path.stat().st_size for path in tracked()) < 15e6


def test_results_that_the_readme_and_the_pages_show_are_committed():
    assert len(SHOWN) > 10
    files = set(tracked())
    assert [name for name in SHOWN if (ROOT / name).is_file() and ROOT / name not in files] == []
    assert [name for name in SHOWN if not (ROOT / name).exists()] == []
