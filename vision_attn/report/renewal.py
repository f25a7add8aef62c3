"""Renewal: a report is made again only where something that it rests on has changed."""

import contextlib
import hashlib
from pathlib import Path

from vision_attn.environment import environment
from vision_attn.plan import FILE, Plan
from vision_attn.records import gather
from vision_attn.report.page import PAGE, write
from vision_attn.report.withdrawals import LOG
from vision_attn.spec import canonical
from vision_attn.states import Look
from vision_attn.store import INDEX, signature, write_atomic
from vision_attn.tables import SUMS


def renew(plan: Plan, folder: Path, found: Look) -> tuple[Path, bool]:
    """The page of the plan's report in `folder`, where the plan is written down, and whether it had to be built.

    What a report was last built from is noted beside the index of the pool that was looked through, which may be
    deleted at any time. From a changed checkout it is always built.
    """
    note, mark = found.store.root / INDEX / f"{folder.name}.report", found.mark()
    if (wanted := _evidence(folder, mark)) is not None and _read(note) == wanted:
        return folder / PAGE, False
    page = write(gather(plan, found.store, found.index, committed=folder), folder)
    if (now := _evidence(folder, mark)) is not None:
        with contextlib.suppress(OSError):  # in a pool that cannot be written the next report is built again
            write_atomic(note, now, durable=False)
    return page, True


def _evidence(folder: Path, mark: str) -> bytes | None:
    """What stands for the plan, the runs, the page as it is and the code; None where the code has no name."""
    code = environment("pandas", "matplotlib", "seaborn", "scipy")
    written, log = [signature(str(folder / name)) for name in (PAGE, SUMS, FILE)], signature(str(folder.parent / LOG))
    if None in written or (code["commit"] or "").endswith("-dirty"):
        return None
    return hashlib.sha256(canonical([mark, written, log, code])).hexdigest().encode()


def _read(note: Path) -> bytes | None:
    try:
        return note.read_bytes()
    except OSError:
        return None
