"""The catalogue: one row a data set, the same columns in every row, and what is here."""

import json

from image_trees import image_files, write_folder, write_tar

from vision_attn.data import Cifar10, Cifar100, Dataset, Idx, ImageFolder, Mnist5k
from vision_attn.data.catalog import catalog
from vision_attn.data.folder import import_folder
from vision_attn.spec import kinds


def rows():
    return {row["spec"]: row for row in catalog()}


def test_every_row_has_the_same_columns_and_is_json(data_dir):
    write_tar(data_dir / "set.tar", image_files())
    assert len({tuple(row) for row in catalog()}) == 1
    assert json.loads(json.dumps(catalog())) == catalog()


def test_every_kind_of_data_set_has_a_row():
    for kind in (Mnist5k, Cifar10, Cifar100, Idx):
        assert f"{kind.__name__}()" in rows()
    assert {"Mnist5k", "Cifar10", "Cifar100", "Idx", "ImageFolder"} <= set(kinds(Dataset))


def test_image_folders_are_listed_by_name_with_their_counts_once_decoded(data_dir, tmp_path):
    write_tar(data_dir / "one.tar.gz", image_files())
    write_folder(data_dir / "two", image_files())
    write_folder(data_dir / "no-tree", {"x/y": b""})
    write_tar(data_dir / "cifar-10-python.tar.gz", {})
    import_folder(write_tar(tmp_path / "three.tar", image_files(train=5)))
    ImageFolder(name="two").load()
    found = {spec: row["train"] for spec, row in rows().items() if spec.startswith("ImageFolder")}
    assert found == {"ImageFolder(name='one')": "", "ImageFolder(name='three')": 10, "ImageFolder(name='two')": 6}


def test_what_is_not_here_says_how_to_get_it(data_dir):
    assert rows()["Cifar10()"]["here"].startswith("no: downloaded")
    (data_dir / "cifar-10-python.tar.gz").touch()
    assert rows()["Cifar10()"]["here"] == "yes"
    assert rows()["Idx()"]["here"].startswith("no: put")
