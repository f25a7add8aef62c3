"""Ray: a cluster of two nodes on this machine; what is lost with a node is done on the other, to the same bits."""

import socket
from pathlib import Path

import pytest
from sweeping import EXPERIMENT, ROOT, facts, finish, folders, has_history, outcomes, start, wait_for

LONG = ("--levels", "updates=1600", "--levels", "train_size=50")


@pytest.fixture
def place(tmp_path):
    (tmp_path / "question.py").write_text(EXPERIMENT)
    return tmp_path


@pytest.fixture
def cluster(monkeypatch):
    pytest.importorskip("ray", minversion="2.54")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        yield made
    finally:
        made.shutdown()


def at_work(place):
    """The process of a run in the middle of its training; None where there is none."""
    halves = [folder for folder in folders(place).values() if (folder.path / "history.jsonl").exists()]
    return next((holder["pid"] for folder in halves if (holder := folder.holder()) is not None), None)


def node_of(pid, nodes):
    """The node of the cluster on which a process runs: that whose raylet it comes from."""
    raylets = {node.all_processes["raylet"][0].process.pid: node for node in nodes}
    while pid not in raylets:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return raylets[pid]


def listening():
    """The addresses that processes of this machine listen on, in hexadecimal, with their ports."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[3] == "0A"}


@pytest.mark.slow
@pytest.mark.timeout(800)
def test_a_node_that_dies_costs_no_run_and_changes_no_bit(cluster, place):
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    process = start(place, *LONG, "--engine", "ray", "--address", cluster.address)
    wait_for(lambda: at_work(place) is not None, 200)
    cluster.remove_node(node_of(at_work(place), nodes), allow_graceful=False)
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output
    undisturbed, lost = outcomes(place)
    assert undisturbed == ("done",)
    assert lost in (("interrupted", "done"), ("killed", "done")), "what was lost was done on the other node"
    assert finish(place, *LONG, results="undisturbed")[0] == 0
    assert facts(place) == facts(place, "undisturbed")


@pytest.mark.slow
@pytest.mark.timeout(800)
def test_a_ray_of_its_own_is_heard_by_this_machine_alone_and_gives_the_same_bits(place, monkeypatch):
    pytest.importorskip("ray", minversion="2.54")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    before = listening()
    process = start(place, "--engine", "ray")
    wait_for(lambda: has_history(place), 200)
    local = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
    opened = {address for address in listening() - before if address.partition(":")[0] not in local}
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output
    assert opened == set(), f"heard from outside {socket.gethostname()}"
    assert finish(place, results="local")[0] == 0
    assert facts(place) == facts(place, "local")
