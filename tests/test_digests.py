"""Digests of specs that stand in stored runs: a default never changes, a new field does not touch them."""

import dataclasses
from pathlib import Path

import pytest

from vision_attn import (
    Accuracy,
    Cifar10,
    DepthwiseConv,
    Gap,
    ImageFolder,
    Mnist5k,
    Recipe,
    ResNet,
    Run,
    SelfAttention,
    ViT,
)
from vision_attn.data import CuedRecall, Parity, PermutedLabels, Quadrants
from vision_attn.figures import ConditionCurve, DistanceCurve, PsychometricMidpoint, Selection
from vision_attn.models import (
    LSTM,
    ConvStack,
    IdentityMixer,
    KMeansFeatures,
    LogisticRegression,
    NearestNeighbours,
    PoolingMixer,
    RandomMixer,
    Timm,
    ZeroMixer,
)
from vision_attn.plan import folders_in
from vision_attn.probes import (
    AccuracyByDistance,
    BranchScale,
    Influence,
    Intervention,
    MapRanks,
    Occlusion,
    ReceptiveField,
    ShiftConsistency,
    Size,
    SubgroupAccuracy,
    Zoom,
)
from vision_attn.sources import named
from vision_attn.spec import RENAMED, Spec, digest, from_json, kinds, to_json
from vision_attn.store import read_json
from vision_attn.verdicts import (
    AllOf,
    BoundVerdict,
    ContrastVerdict,
    CorrelationVerdict,
    DifferenceVerdict,
    EquivalenceVerdict,
    ShareVerdict,
    cell,
)

SAID = {"claim": "C1", "statement": "So."}
FAR, NEAR = cell(model="ViT", distance=7), cell(model="ViT", distance=1)
CONDITIONS = ConditionCurve(condition="arrangement", baseline="intact")
BOUND = BoundVerdict(**SAID, at=FAR, bound=0.5)

COMMITTED = {
    ViT(): "5f15ab4b7aee06aa",
    ViT(dim=48, depth=2, patch_size=7, mixer=SelfAttention(num_heads=3)): "652af661a986e8bb",
    ViT(mixer=DepthwiseConv(kernel_size=3), position="sincos2d", drop_path=0.1): "e8905b69652b3bd7",
    ViT(position="sincos2d", init="mimetic"): "09f8e17d8fa7eea5",
    ViT(mixer=DepthwiseConv(kernel_size=3, branch_sd=0.45)): "c99d1f14fa35672f",
    ViT(mixer=PoolingMixer()): "923a60fa26bdad13",
    ViT(mixer=RandomMixer()): "4ac726ddf9b9964b",
    ViT(mixer=IdentityMixer()): "bf7b9ed96fb6bd9f",
    LogisticRegression(): "1484111d8f4c2ac8",
    NearestNeighbours(): "a2d4ff7e8693ce1d",
    KMeansFeatures(): "c910a22f208aec68",
    BranchScale(): "15217a8388d92060",
    Recipe(updates=100, optimizer="nadamuon"): "ee63c0f956ff16a3",
    ViT(mixer=ZeroMixer()): "4f94fee99a392d97",  # stored as Identity
    ResNet(width=14, blocks=1): "6b99c5c6aa82315d",
    ViT(mixer=LSTM()): "e199559a96b4419d",
    ViT(mixer=LSTM(bidirectional=False, order="columns")): "cf29a8bbe8486669",
    ViT(mixer=SelfAttention(pattern="neighbourhood", pattern_size=2)): "05be8e2b6081c7f8",
    ConvStack(): "217e25ced1bb124d",
    ConvStack(width=32, kernels=(3, 1, 7), dilations=(2, 1, 1), depthwise=True, pool="none"): "781180b08248fd5b",
    Timm(name="resnet18", options=(("zero_init_last", True),)): "4a17ba24e45f9565",
    Mnist5k(train_size=50, subset_seed=2): "7787428d94a4f7a3",
    Cifar10(val_size=5000): "849e5a0111ab916a",
    ImageFolder(name="cifar10-jpeg", train_size=250): "b2dad11c0e34f392",
    Quadrants(of=ImageFolder(name="cifar10-jpeg"), train_size=8000): "eefaed9056508753",
    Recipe(updates=800, batch_size=32, learning_rate=3e-3): "d3979d41564315bc",
    Recipe(epochs=10, precision="bf16", compile="off"): "2beeb3fef3ff1134",
    Accuracy(): "0b5beef50769d731",
    Size(): "3109a4754d1ba550",
    Influence(images=32): "e4a5a54165bf5101",
    Intervention(images=32): "01b1b13a9953dc40",
    ReceptiveField(): "5cdfbe17f6a3854f",
    Zoom(): "cf647e8bfcf2e6ce",
    Occlusion(): "72ce14b0a8b9d1f4",
    ShiftConsistency(): "f3be4ff11de0ce49",
    Gap(reference="ResNet"): "203f308e1b41816c",
    CuedRecall(distance=5, variant="popout"): "c63a23721cff9052",
    CuedRecall(distance=None, aligned=False): "a66b1e7245328cf9",
    Parity(distance=4): "cb5e868de3fb1adf",
    Recipe(updates=4000, schedule="constant", patience=8, history_rows=40): "827dbd17c0840e69",
    AccuracyByDistance(): "3b62ed1c8d9cf8f8",
    BOUND: "f081e968268334bf",
    DifferenceVerdict(**SAID, at=FAR, reference=NEAR, side="below", given=cell(split="test")): "953dde87c2304c54",
    EquivalenceVerdict(**SAID, at=FAR, reference=NEAR, margin=0.05): "bd8149ab6f9f9790",
    ContrastVerdict(**SAID, terms=((0.5, FAR), (-1.0, NEAR)), min_seeds=5): "be516455973ab69a",
    ShareVerdict(**SAID, at=FAR, threshold=0.95, bound=0.4): "f1c4bfec89cc8851",
    CorrelationVerdict(**SAID, at=FAR, reference=NEAR, bound=0.5, side="below"): "b53b616062f9a8b8",
    PermutedLabels(of=Mnist5k(), label_seed=1, train_size=400): "76957b93126de3c1",
    MapRanks(methods=("rollout",)): "55a812e8608821fa",
    AllOf(**SAID, parts=(BOUND, BOUND.replace(exact=True))): "60c6233e98efd78b",
    Run(model=ViT(), data=Mnist5k(), recipe=Recipe(updates=1), seed=0): "e1e3dd4fd4436ffd",
}


@pytest.mark.parametrize(("value", "expected"), COMMITTED.items(), ids=lambda item: type(item).__name__)
def test_a_stored_spec_keeps_its_digest(value, expected):
    assert digest(value)[:16] == expected


@pytest.mark.parametrize(
    ("stored", "now"),
    [
        ({"kind": "AccuracyBy", "fact": "quadrant"}, SubgroupAccuracy(attribute="quadrant")),
        ({"kind": "ArmCurve", "arm": "arrangement", "baseline": "intact"}, CONDITIONS),
        ({"kind": "RecallByDistance", "direction": True}, DistanceCurve(direction=True)),
        ({"kind": "StepPosition"}, PsychometricMidpoint()),
        ({"kind": "Choice", "choose": "trial"}, Selection(choose="trial")),
    ],
    ids=lambda one: str(one)[:24],
)
def test_a_kind_or_field_that_was_renamed_is_stored_by_its_earlier_name_and_read_by_both(stored, now):
    assert to_json(now) == stored
    assert from_json(stored, Spec) == now
    assert from_json({**dataclasses.asdict(now), "kind": type(now).__name__}, Spec) == now


def test_no_committed_plan_names_a_kind_that_is_unknown():
    known = {kind.__name__ for kind in kinds(Spec).values()} | set(RENAMED)
    for folder in folders_in(Path(__file__).parents[1] / "results"):
        plan = read_json(folder / "plan.json.gz")
        for data in (*plan["figures"], *plan["probes"], *plan.get("verdicts", ())):
            assert named(data) <= known, folder
