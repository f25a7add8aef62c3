"""`vision-attn saliency`: a picture of where an answer rests, or one sentence that says why there is none."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from vision_attn import load_run
from vision_attn.cli.command import execute
from vision_attn.data import Mnist5k
from vision_attn.data.decode import fitted
from vision_attn.execution import execute as execute_run
from vision_attn.models import LogisticRegression, ResNet, ViT
from vision_attn.run import Run
from vision_attn.spec import InputError, digest, to_json
from vision_attn.store import RunFolder, Store
from vision_attn.training import Recipe

RECIPE = Recipe(updates=2, batch_size=8, compile="off", precision="fp32")
RUNS = {
    "vit": Run(model=ViT(dim=16, depth=1, patch_size=7), data=Mnist5k(train_size=20), recipe=RECIPE, seed=0),
    "cnn": Run(model=ResNet(width=4, blocks=1), data=Mnist5k(train_size=20), recipe=RECIPE, seed=0),
    "logistic": Run(
        model=LogisticRegression(), data=Mnist5k(train_size=20), recipe=Recipe(updates=0, compile="off"), seed=0
    ),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    store = Store(folder / "runs")
    for run in RUNS.values():
        found = store.open(digest(run), hint=run.hint, run=to_json(run), index=store.index())
        outcome = execute_run(found, run, [], device=torch.device("cpu"), threads=torch.get_num_threads())
        assert outcome.name == "done", outcome
    return folder


@pytest.fixture
def digit(tmp_path):
    """A test digit as a file."""
    path = tmp_path / "digit.png"
    Image.fromarray(Mnist5k(train_size=20).load().test.images[7, 0].numpy()).save(path)
    return path


def asked(capsys, image, name, *options, results):
    """The exit code, what was printed, and the complaint."""
    words = ["saliency", image, "--run", digest(RUNS[name])[:12], "--results", results, *options]
    code = execute([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("name", ["vit", "cnn"])
def test_it_says_the_class_that_the_model_gives_and_draws_the_maps_that_fit(name, results, digit, tmp_path, capsys):
    output = tmp_path / "new" / "map.png"
    code, said, wrong = asked(capsys, digit, name, "--output", output, results=results)
    assert (code, wrong) == (0, "")
    (folder,) = (one for one in (results / "runs").rglob("config.json") if digest(RUNS[name])[:8] in str(one))
    loaded = load_run(folder.parent)
    images = torch.from_numpy(np.asarray(Image.open(digit)).copy())[None, None]
    share = loaded.model(loaded.data.normalise(images)).softmax(1)[0]
    assert said.startswith(f"class {loaded.classes[share.argmax()]} {100 * share.max():.1f} %, then ")
    assert ("rollout" in said) == (name == "vit")
    picture = np.asarray(Image.open(output).convert("RGB")).astype(int)
    assert min(picture.shape[:2]) > 200
    assert (np.ptp(picture, axis=2) > 60).mean() > 0.1  # colours of maps, beside the grey of the image


def test_any_class_and_methods_may_be_asked(results, digit, tmp_path, capsys):
    options = ["--class", "3", "--method", "occlusion", "--method", "random", "-o", tmp_path / "map.png"]
    code, said, _ = asked(capsys, digit, "cnn", *options, results=results)
    assert code == 0
    assert "explained: 3 " in said
    assert said.strip().endswith("map.png: occlusion, random")


def test_photographs_of_any_shape_are_cut_to_their_middle(results, tmp_path, capsys):
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.zeros((90, 200, 3), np.uint8)).save(path)
    assert asked(capsys, path, "cnn", "-o", tmp_path / "map.png", results=results)[0] == 0
    wide = np.zeros((60, 100, 3), np.uint8)
    wide[:, 20:80, 1] = 200
    found = fitted(wide, size=30, in_chans=3)
    assert found.shape == (3, 30, 30)
    assert (found[1] == 200).all()
    assert not found[[0, 2]].any()
    with pytest.raises(InputError, match="in_chans must be 1 or 3"):
        fitted(wide, size=30, in_chans=4)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("cnn", ["--method", "attention"], "must have attention. Got ResidualNetwork instead."),
        ("cnn", ["--method", "LIME"], "method of saliency must be one of 'attention', "),
        ("cnn", ["--class", "cat"], "class must be one of '0', '1', "),
        ("cnn", ["--output", "map.jpg"], "output must be a file that ends in .png. Got 'map.jpg' instead."),
        ("cnn", ["--patch-size", "5"], "patch_size of saliency must be a divisor of the image size 28. Got 5 instead."),
        ("logistic", [], "run must have a model of which maps can be made. That one's does not: LogisticRegression is"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(name, options, words, results, digit, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said, wrong = asked(capsys, digit, name, *options, results=results)
    assert (code, said) == (2, "")
    assert words in wrong.replace("\n", " ")
    assert "Traceback" not in wrong


def test_the_image_itself_is_never_written_over(results, digit, capsys):
    before = digit.read_bytes()
    code, _, wrong = asked(capsys, digit, "cnn", "-o", digit.parent / "." / digit.name, results=results)
    assert (code, digit.read_bytes()) == (2, before)
    assert f"output must be another file than the image. Both are '{digit}'." in wrong


def test_weights_that_are_gone_are_said_to_come_back_as_they_do(results, digit, tmp_path, capsys):
    place = Store(results / "runs").index()[digest(RUNS["cnn"])].path
    kept = shutil.copytree(place, tmp_path / "kept")
    (kept / "weights.safetensors").unlink()
    code = execute(["saliency", str(digit), "--run", str(kept), "-o", str(tmp_path / "map.png")])
    said = f"'{kept / 'weights.safetensors'}' is missing or damaged. `vision-attn run` makes it again once '{kept}' is "
    assert (code, said in capsys.readouterr().err) == (2, True)
    assert RunFolder(kept).state([]).name == "done"  # so that `run` alone does not make them again


def test_files_that_are_no_images_and_runs_that_are_not_there_are_named(results, tmp_path, capsys):
    text = tmp_path / "text.png"
    text.write_text("no image")
    for path, words in (
        (text, "text.png' must be a whole image"),
        (tmp_path / "none.png", "image must be a file that"),
    ):
        code, _, wrong = asked(capsys, path, "cnn", "-o", tmp_path / "map.png", results=results)
        assert code == 2
        assert words in wrong
    assert execute(["saliency", str(text), "--run", "ffff", "--results", str(results)]) == 2
    assert "run must be the folder of one run" in capsys.readouterr().err
