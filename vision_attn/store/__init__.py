"""The run store: one folder a run, one writer a folder, every file written whole or not at all.

A run is done if and only if its folder holds a valid `result.json` and a valid file for every probe asked of it.
Folder names carry hints for people and are never parsed. JSON files are sealed with their own sha256, so a torn or
flipped file is noticed and counts as absent. The lease (POSIX `flock` around short sections, a growing token as
fence) keeps two workers off one folder, also when one of them was paused and wakes up late.
"""

from vision_attn.store.attempts import FAILURES
from vision_attn.store.files import (
    SCHEMA,
    DamagedFile,
    probe_file,
    read_bytes,
    read_json,
    read_rows,
    refusal,
    rows_of,
    sealed,
    write_atomic,
    write_json,
    write_sealed,
)
from vision_attn.store.folder import ATTEMPTS, CHECKPOINT, LOG, OPEN, PROBES, RESULT, WEIGHTS, RunFolder, State
from vision_attn.store.holder import LEASE_SECONDS
from vision_attn.store.lease import LEASE, Lease
from vision_attn.store.leftovers import Leftover, discard, leftovers_of
from vision_attn.store.locks import LeaseLost
from vision_attn.store.pool import INDEX, PLANS, Folders, Store
from vision_attn.store.seen import signature
from vision_attn.store.verification import Fault, left_alone, mend, verify

RUNS = "runs"
"""The folder of all runs in the results."""

WORKERS_LOG = "workers.log"
"""What workers say outside of runs, in the pool."""

__all__ = [
    "ATTEMPTS",
    "CHECKPOINT",
    "FAILURES",
    "INDEX",
    "LEASE",
    "LEASE_SECONDS",
    "LOG",
    "OPEN",
    "PLANS",
    "PROBES",
    "RESULT",
    "RUNS",
    "SCHEMA",
    "WEIGHTS",
    "WORKERS_LOG",
    "DamagedFile",
    "Fault",
    "Folders",
    "Lease",
    "LeaseLost",
    "Leftover",
    "RunFolder",
    "State",
    "Store",
    "discard",
    "left_alone",
    "leftovers_of",
    "mend",
    "probe_file",
    "read_bytes",
    "read_json",
    "read_rows",
    "refusal",
    "rows_of",
    "sealed",
    "signature",
    "verify",
    "write_atomic",
    "write_json",
    "write_sealed",
]
