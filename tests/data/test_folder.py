"""ImageFolder: the same data from a folder, a tar and a zip, decoded once; what cannot be used is refused by name."""

import io
import os
import shutil

import numpy as np
import pytest
from image_trees import image_files, pixels_of, png, write_folder, write_tar, write_zip
from PIL import ExifTags, Image

from vision_attn.data import ImageFolder, decode, tree
from vision_attn.data.cache import load_arrays
from vision_attn.data.folder import import_folder
from vision_attn.spec import InputError, from_json, to_json


def refusal(files, tmp_path):
    """The one sentence that refuses a tar of the files."""
    with pytest.raises(InputError) as found:
        import_folder(write_tar(tmp_path / "set.tar", files))
    assert str(tmp_path / "set.tar") in str(found.value)
    assert "\n" not in str(found.value)
    return str(found.value)


def test_folder_tar_and_zip_of_one_tree_are_one_data_set(data_dir):
    files = image_files()
    below = {f"top/{name}": content for name, content in reversed(files.items())}
    write_folder(data_dir / "a", files)
    write_tar(data_dir / "b.tar.gz", below)
    write_tar(data_dir / "c.tar", files, mode="w")
    write_zip(data_dir / "d.zip", below)
    loaded = [ImageFolder(name=name).load() for name in "abcd"]
    assert len({data.fingerprint for data in loaded}) == 1
    assert loaded[0].name == "a"
    assert loaded[0].flip


def test_pixels_labels_and_classes_are_those_of_the_files(data_dir):
    write_tar(data_dir / "set.tar.xz", image_files(classes=("dog", "cat"), train=2, test=1), mode="w:xz")
    data = ImageFolder(name="set").load()
    assert data.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [0, 0, 1, 1]
    assert data.test.labels.tolist() == [0, 1]
    # seeds follow the order of image_files: dog/0, dog/1, cat/0, cat/1 to train, then dog, cat to test
    for image, seed in zip([*data.train.images, *data.test.images], [2, 3, 0, 1, 5, 4], strict=True):
        assert np.array_equal(image.numpy().transpose(1, 2, 0), pixels_of(seed))


def test_images_of_any_shape_are_cut_and_resized_where_a_size_is_given(data_dir):
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = 200  # the middle square
    folder = write_folder(data_dir / "set", {**image_files(train=1, test=1), "train/cat/wide.png": png(wide)})
    with pytest.raises(InputError, match=r"It has .* pixels\. `vision-attn data import PATH --image-size 64` cuts and"):
        ImageFolder(name="set").load()
    assert import_folder(folder, image_size=4).image_size == 4
    data = ImageFolder(name="set").load()
    blocks = pixels_of(0).reshape(4, 2, 4, 2, 3).mean((1, 3))  # of 8 x 8 pixels
    assert (
        np.abs(data.train.images[0].numpy().transpose(1, 2, 0) - blocks).max() <= 1
    )  # rounded by rows, then by columns
    assert (data.train.images[1] == 200).all()
    even = write_folder(data_dir / "even", image_files())
    import_folder(even, name="other", image_size=2)
    assert ImageFolder(name="other").load().image_size == 2


def test_photographs_are_turned_as_their_exif_tells(data_dir):
    exif, buffer, pixels = Image.Exif(), io.BytesIO(), pixels_of(9)
    exif[ExifTags.Base.Orientation] = 6  # to be seen, it is turned to the right
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    torn = io.BytesIO()
    Image.fromarray(pixels).save(torn, "PNG", exif=b"Exif\0\0no TIFF at all")
    more = {"train/cat/turned.png": buffer.getvalue(), "train/cat/broken.png": torn.getvalue()}
    write_folder(data_dir / "set", {**image_files(train=0, test=1), "train/dog/0.png": png(pixels), **more})
    broken, turned, straight = ImageFolder(name="set").load().train.images.numpy().transpose(0, 2, 3, 1)
    assert np.array_equal(turned, np.rot90(pixels, -1))
    assert np.array_equal(straight, pixels)
    assert np.array_equal(broken, pixels)


@pytest.mark.parametrize("size", [0, 2.5, 4097])
def test_a_size_that_no_image_can_have_is_refused(size, data_dir):
    with pytest.raises(InputError, match=r"image_size must be a whole number from 1 to 4,096\. Got "):
        import_folder(write_folder(data_dir / "set", image_files()), image_size=size)


def test_an_import_that_is_lost_is_brought_in_again_at_its_size(data_dir, tmp_path, cache):
    import_folder(write_tar(tmp_path / "set.tar", image_files()), name="set", image_size=4)
    (tmp_path / "set.tar").unlink()
    for place in cache.rglob("*"):
        if place.is_file() and place.suffix != ".json":
            place.unlink()
    load_arrays.cache_clear()
    with pytest.raises(InputError, match="data import PATH --name set --image-size 4`"):
        ImageFolder(name="set").load()


def test_grey_images_have_one_channel_unless_one_image_has_colour(data_dir):
    grey = image_files(grey=True)
    write_folder(data_dir / "grey", grey)
    write_folder(data_dir / "mixed", {**grey, "train/cat/0.png": png(pixels_of(99))})
    data = ImageFolder(name="grey", flip=False).load()
    assert (data.in_chans, data.flip) == (1, False)
    assert np.array_equal(data.train.images[1, 0].numpy(), pixels_of(1, grey=True))
    mixed = ImageFolder(name="mixed").load().train.images
    assert np.array_equal(mixed[0].numpy().transpose(1, 2, 0), pixels_of(99))
    assert all(np.array_equal(channel.numpy(), pixels_of(1, grey=True)) for channel in mixed[1])


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"])
def test_every_suffix_is_found_and_dropped_from_the_name(data_dir, tmp_path, suffix):
    write_tar(data_dir / f"set{suffix}", image_files(), mode="w")
    assert len(ImageFolder(name="set").load().train) == 6
    assert import_folder(data_dir / f"set{suffix}").name == "set"


def test_hidden_files_are_left_out(data_dir):
    junk = ("train/cat/.DS_Store", "train/cat/._0.png", "__MACOSX/train/cat/._0.png", "train/.git/x", "test/Thumbs.db")
    plain, messy = image_files(), {**image_files(), **dict.fromkeys(junk, b"junk"), "README.md": b"read me"}
    write_tar(data_dir / "plain.tar", plain)
    write_tar(data_dir / "messy.tar", messy)
    write_folder(data_dir / "folder", {name: content for name, content in messy.items() if "Thumbs" not in name})
    names = ("plain", "messy", "folder")
    assert len({ImageFolder(name=name).load().fingerprint for name in names}) == 1


def test_an_import_is_found_by_its_name_from_then_on_without_its_source(tmp_path):
    path = write_tar(tmp_path / "My Pictures.tar", image_files())
    imported = import_folder(path, name="mine")
    path.unlink()
    load_arrays.cache_clear()
    data = ImageFolder(name="mine").load()
    assert data.fingerprint == imported.fingerprint
    assert str(imported) == (
        "mine: 6 train and 4 test images of 8 x 8 x 3 in 2 classes, fingerprint " + imported.fingerprint
    )


def test_test_images_that_were_trained_on_are_counted(tmp_path):
    files = image_files()
    files["test/cat/again.png"] = files["train/cat/0.png"]
    imported = import_folder(write_tar(tmp_path / "set.tar", files), name="set")
    assert str(imported).endswith("\n1 of 5 test images are training images, too: on these, accuracy is memory")


def test_an_import_with_a_relative_path_is_found_from_another_folder(tmp_path, monkeypatch, cache):
    write_tar(tmp_path / "set.tar", image_files())
    monkeypatch.chdir(tmp_path)
    import_folder(tree.Path("set.tar"))
    monkeypatch.chdir("/")
    load_arrays.cache_clear()
    for entry in cache.glob("set-*"):
        shutil.rmtree(entry)
    assert len(ImageFolder(name="set").load().test) == 4


def test_an_import_replaces_an_earlier_one_of_that_name(tmp_path):
    import_folder(write_tar(tmp_path / "a.tar", image_files(train=3)), name="set")
    import_folder(write_tar(tmp_path / "b.tar", image_files(train=5)), name="set")
    assert len(ImageFolder(name="set").load().train) == 10


def test_an_import_whose_copy_and_source_are_gone_says_so(tmp_path, cache):
    path = write_tar(tmp_path / "set.tar", image_files())
    import_folder(path)
    shutil.rmtree(next(cache.glob("set-*")))
    load_arrays.cache_clear()
    write_tar(path, image_files(train=7))
    with pytest.raises(InputError, match="is not there or has changed; bring it in again"):
        ImageFolder(name="set").load()
    path.unlink()
    with pytest.raises(InputError, match="is not there or has changed; bring it in again"):
        ImageFolder(name="set").load()


def test_a_changed_source_in_a_data_folder_is_decoded_anew(data_dir):
    write_folder(data_dir / "set", image_files())
    before = ImageFolder(name="set").load()
    image = data_dir / "set" / "train" / "cat" / "0.png"
    image.write_bytes(png(pixels_of(77)))
    os.utime(image, ns=(1, 1))
    assert ImageFolder(name="set").load().fingerprint != before.fingerprint


def test_another_subset_in_one_process_reads_nothing_again(data_dir, monkeypatch):
    write_tar(data_dir / "set.tar", image_files())
    ImageFolder(name="set", train_size=2).load()
    monkeypatch.setattr(tree.ImageTree, "read", None)
    assert len(ImageFolder(name="set", train_size=4, subset_seed=1).load().train) == 4


def test_the_name_finds_the_first_data_folder_that_has_it(tmp_path, data_dir, monkeypatch):
    other = tmp_path / "other"
    write_folder(other / "set", image_files(train=4))
    write_folder(data_dir / "set", image_files(train=3))
    monkeypatch.setenv("VISION_ATTN_DATA", os.pathsep.join(map(str, (tmp_path / "none", other, data_dir))))
    assert len(ImageFolder(name="set").load().train) == 8


def test_a_data_set_that_is_nowhere_is_refused_with_what_to_do(data_dir):
    with pytest.raises(InputError) as found:
        ImageFolder(name="lost").load()
    assert str(found.value) == (
        f"Data set 'lost' not found in '{data_dir}'. Pass --data-dir FOLDER, or import it: "
        "vision-attn data import PATH --name lost"
    )


def test_folders_of_other_names_are_named_wherever_the_tree_is_looked_for(data_dir):
    other = {f"set/{name.replace('test/', 'val/')}": content for name, content in image_files().items()}
    write_folder(data_dir, other)
    sentence = f"'{data_dir / 'set'}' must hold {tree.LAYOUT}. It has no class in test/, but the folders train, val."
    for call in (lambda: import_folder(data_dir / "set"), ImageFolder(name="set").load):
        with pytest.raises(InputError) as found:
            call()
        assert str(found.value) == sentence
    (data_dir / "inner" / "set" / "testing").mkdir(parents=True)
    with pytest.raises(InputError, match="no class in train/, but the folders set, set/testing"):
        ImageFolder(name="inner").load()


def test_a_path_whose_name_is_none_for_a_data_set_is_told_of_the_option(tmp_path):
    write_folder(tmp_path / "My Images", image_files())
    with pytest.raises(
        InputError, match=r"Got 'My Images' instead, which the path is called: give another by --name\."
    ):
        import_folder(tmp_path / "My Images")
    assert import_folder(tmp_path / "My Images", name="mine").train_size == 6


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "Upper", "x" * 65, "a\0", "a\n"])
def test_a_name_that_cannot_be_part_of_a_file_name_is_refused(name, tmp_path):
    with pytest.raises(InputError, match="name of ImageFolder must be 1 to 64 of a-z"):
        ImageFolder(name=name)
    with pytest.raises(InputError, match="name of a data set must be 1 to 64 of a-z"):
        import_folder(tmp_path, name=name)


def test_the_spec_survives_json():
    spec = ImageFolder(name="cifar10-jpeg", train_size=500, flip=False)
    assert from_json(to_json(spec), ImageFolder) == spec
    assert to_json(ImageFolder(name="x")) == {"kind": "ImageFolder", "name": "x"}


def without(start):
    return {name: content for name, content in image_files().items() if not name.startswith(start)}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (without("train/"), "has no class in train/, but the folders test."),
        (without("test/"), "has no class in test/, but the folders train."),
        ({}, "has no class in train/."),
        (without("test/cat/"), "Class 'cat' of "),
        (without("train/dog/"), "Class 'dog' of "),
        (image_files(classes=("cat",)), "must have at least two classes. Got 1 instead."),
        ({**image_files(), "train/cat/bad.png": b"no image"}, "Image 'train/cat/bad.png' of "),
        ({**image_files(), "train/cat/bad.png": png(pixels_of(1))[:-40]}, "Decoding it failed: "),
        ({**image_files(), "train/cat/bad.png": b""}, "Image 'train/cat/bad.png' of "),
        (
            {**image_files(), "test/dog/big.png": png(pixels_of(1, side=9))},
            "must be 8 x 8 pixels like the images before it. It has 9 x 9 pixels.",
        ),
        (
            {"train/a/0.png": png(pixels_of(0)[:4]), **image_files()},
            "must be square. It has 8 x 4 pixels.",
        ),
        ({**image_files(), "train/lost.png": png(pixels_of(1))}, "'train/lost.png' in "),
        ({**image_files(), "train/cat/deep/x.png": png(pixels_of(1))}, "must lie in a class folder"),
        ({**image_files(), "other/train/cat/x.png": png(pixels_of(1))}, "train/ or test/ in several folders."),
    ],
)
def test_a_tree_that_cannot_be_used_is_refused_with_one_sentence(files, words, tmp_path):
    assert words in refusal(files, tmp_path)


def test_an_empty_class_folder_is_refused(tmp_path):
    write_folder(tmp_path / "set", image_files())
    (tmp_path / "set" / "train" / "cow").mkdir()
    with pytest.raises(InputError, match=r"Class 'cow' of '.*set' has no train image; every class needs some\."):
        import_folder(tmp_path / "set")


@pytest.mark.parametrize("make", [lambda path: os.mkfifo(path), lambda path: path.symlink_to("nowhere"), os.mkdir])
def test_what_is_no_plain_file_in_a_class_folder_is_refused(tmp_path, make):
    write_folder(tmp_path / "set", image_files())
    make(tmp_path / "set" / "train" / "cat" / "x.png")
    with pytest.raises(InputError, match="must be an image file; a class folder holds nothing else"):
        import_folder(tmp_path / "set")


def test_a_path_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"path must be a folder or an archive .* Got '.*gone\.tar' instead\."):
        import_folder(tmp_path / "gone.tar")


def test_a_picture_bomb_is_refused_by_its_header(monkeypatch, tmp_path):
    monkeypatch.setattr(Image.Image, "load", None)
    bomb = io.BytesIO()
    header = b"P5 60000 60000 255\n"
    bomb.write(header)
    with pytest.raises(InputError, match=r"(at most 4096 x 4096 pixels|exceeds limit)"):
        decode.decode(bomb.getvalue(), name="bomb", size=None, most_bytes=2**40)
    with pytest.raises(InputError, match="at most 4096 x 4096 pixels"):
        decode.decode(b"P5 5000 5000 255\n", name="bomb", size=None, most_bytes=2**40)


def test_more_pixels_than_fit_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(tree, "MAX_PIXEL_BYTES", 1000)
    said = refusal(image_files(), tmp_path)
    assert "at most 0.00 GiB of pixels" in said or "needs more memory than this machine has free" in said


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return decode.decode(buffer.getvalue(), name="it", size=None, most_bytes=2**40)


def test_other_kinds_of_pixels_become_grey_or_colour_bytes():
    colour, grey = Image.fromarray(pixels_of(3)), Image.fromarray(pixels_of(3, grey=True))
    wide = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    assert np.array_equal(encoded(Image.fromarray(wide)), (wide // 256).astype(np.uint8))
    assert np.array_equal(encoded(grey.convert("1")), np.asarray(grey.convert("1")) * np.uint8(255))
    palette = colour.convert("P", palette=Image.Palette.ADAPTIVE)
    assert np.array_equal(encoded(palette), np.asarray(palette.convert("RGB")))
    assert encoded(colour.convert("CMYK"), "TIFF").shape == (8, 8, 3)
    opaque = colour.copy()
    opaque.putalpha(255)
    assert np.array_equal(encoded(opaque), pixels_of(3))


def test_transparent_pixels_are_white():
    clear = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    clear.putpixel((0, 0), (10, 20, 30, 255))
    found = encoded(clear)
    assert found[0, 0].tolist() == [10, 20, 30]
    assert found[1, 1].tolist() == [255, 255, 255]
    assert (encoded(Image.new("LA", (8, 8), (7, 0))) == 255).all()
    assert encoded(Image.new("LA", (8, 8), (7, 255))).tolist() == [[7] * 8] * 8
    palette = Image.new("P", (8, 8), 0)
    assert (encoded(palette, transparency=0) == 255).all()


def test_floating_point_pixels_are_refused():
    with pytest.raises(InputError, match="floating-point"):
        encoded(Image.new("F", (8, 8)), "TIFF")
