"""Verbs beside a pool of many runs: a table of CPU seconds, opened files and memory."""

import many_runs
import pytest


@pytest.mark.benchmark
@pytest.mark.timeout(900)
def test_a_run_that_has_nothing_to_do_opens_at_most_three_files_a_known_run(tmp_path):
    count = 500
    many_runs.fabricate(tmp_path, count, flat=False)
    opens = {name: found for name, _, found, _ in many_runs.verbs(tmp_path, count)}
    assert opens["run: nothing to do"] <= 3 * count
    assert opens["status of the folder"] <= count
