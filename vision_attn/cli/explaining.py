"""The verb saliency: what a trained model sees on an image, and where on it its answer is said to rest."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from vision_attn.cli import paths
from vision_attn.cli.chosen import use_data_dirs
from vision_attn.cli.looking import run_folder
from vision_attn.cli.options import DataDir, Results
from vision_attn.cli.output import screen
from vision_attn.spec import InputError
from vision_attn.store import RUNS, write_atomic

MOST_CLASSES = 3
"""Classes that are printed."""


def saliency(
    image: Annotated[Path, typer.Argument(callback=paths.usable, help="An image file: PNG, JPEG, ...")],
    run: Annotated[str, typer.Option(help="A run: its folder, or the beginning of its key.")],
    output: Annotated[Path, typer.Option("--output", "-o", callback=paths.file, help="The PNG to write.")] = Path(
        "saliency.png"
    ),
    method: Annotated[
        list[str] | None, typer.Option(help="A method, such as rollout. Repeatable. [default: those that fit]")
    ] = None,
    of_class: Annotated[
        str | None, typer.Option("--class", help="The class to explain. [default: the one that the model gives]")
    ] = None,
    patch_size: Annotated[
        int, typer.Option(min=1, help="Side of the patches of the maps, in pixels of the model.")
    ] = 4,
    experiment: Annotated[
        Path | None, typer.Option(callback=paths.usable, help="The experiment file that defines own kinds of the run.")
    ] = None,
    results: Results = Path("results"),
    data_dir: DataDir = None,
) -> None:
    """Draw where on an image a trained model's answer rests, by several methods.

    The middle square of the image is brought to the size that the model takes. Yellow is where the class is said to
    rest most; methods disagree, and experiments/saliency.py measures which of them can be believed.
    """
    if output.suffix.lower() != ".png":
        raise InputError(f"output must be a file that ends in .png. Got '{output}' instead.")
    if output.exists() and image.exists() and output.samefile(image):
        raise InputError(f"output must be another file than the image. Both are '{image}'.")
    paths.require_writable("output", output.parent)
    use_data_dirs(data_dir)
    from vision_attn import explaining, sources
    from vision_attn.figures import overlay, rendering
    from vision_attn.loading import load_run

    if experiment is not None:
        sources.load_file(experiment)
    loaded = load_run(run_folder(run, results / RUNS).path)
    found = explaining.explained(loaded, image, methods=method, of_class=of_class, patch_size=patch_size)
    figure = overlay.sheet(found.picture, found.maps, title=f"{found.asked}, {_percent(found.shares[found.asked])}")
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(output, rendering.rendered(figure, kinds=("png",))["png"])
    said = [f"{name} {_percent(share)}" for name, share in list(found.shares.items())[:MOST_CLASSES]]
    screen().print(f"class {escape(said[0])}" + "".join(f", then {escape(one)}" for one in said[1:]), soft_wrap=True)
    if of_class is not None:
        screen().print(f"explained: {escape(of_class)} {_percent(found.shares[of_class])}", soft_wrap=True)
    screen().print(f"{escape(str(output))}: {escape(', '.join(found.maps))}", soft_wrap=True)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
