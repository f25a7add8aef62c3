"""Signals: once, twice, held back, ignored."""

import os
import signal
import subprocess
import sys
import time

import pytest

from vision_attn import signals
from vision_attn.cli import command


@pytest.fixture(autouse=True)
def hangups_count():
    """Under nohup, as a suite may run, a hangup is ignored by this process and its children."""
    earlier = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, earlier)


@pytest.fixture
def now(monkeypatch):
    """A clock that goes on as told."""
    times = [100.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: times[0])
    return times


@pytest.mark.parametrize("number", signals.ASKING)
def test_every_signal_that_asks_to_stop_is_heard_and_none_ends_the_process(number):
    with signals.heard() as asked:
        os.kill(os.getpid(), number)
    assert (asked.times, asked.name) == (1, signal.Signals(number).name)


def test_what_comes_within_a_second_is_one_and_a_later_one_means_at_once(now):
    asked = signals.Asked()
    for seconds, times in ((0, 1), (0.2, 1), (0.7, 1), (0.2, 2)):
        now[0] += seconds
        asked.hear(signal.SIGTERM)
        assert asked.times == times
    assert asked.name == "SIGTERM"


def test_handlers_are_put_back_and_a_hangup_that_is_ignored_stays_ignored():
    before = {number: signal.getsignal(number) for number in signals.ASKING}
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.heard() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
        assert asked.times == 0
    finally:
        signal.signal(signal.SIGHUP, earlier)
    assert {number: signal.getsignal(number) for number in signals.ASKING} == before


def test_signals_to_a_process_that_is_being_started_wait_until_it_listens():
    code = (
        "import time; time.sleep(0.3); from vision_attn.signals import heard\nwith heard() as asked: print(asked.name)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with signals.held_back():
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    child.send_signal(signal.SIGHUP)
    assert child.communicate()[0].strip() == "SIGHUP"
    assert child.returncode == 0


@pytest.mark.parametrize("number", signals.ASKING)
def test_where_nothing_can_be_stopped_cleanly_a_signal_raises_and_the_command_says_so(number, monkeypatch, capsys):
    monkeypatch.setattr(command, "app", lambda **options: os.kill(os.getpid(), number))
    monkeypatch.setattr(command.os, "_exit", sys.exit)
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 75
    name = signal.Signals(number).name
    assert f"Stopped by {name}. What was finished is kept" in " ".join(capsys.readouterr().err.split())


STARTS = """import atexit, os, sys
atexit.register(os.abort)  # as a library may end that is half imported
class Sends:
    def find_spec(self, name, *more):
        if name == sys.argv[1]:
            os.kill(os.getpid(), int(sys.argv[2]))
sys.meta_path.insert(0, Sends())
from vision_attn.cli import main
if sys.argv[1] == "only_a_verb_imports_this":
    from vision_attn.cli import command
    command.app = lambda **options: __import__(sys.argv[1])
main()"""


@pytest.mark.parametrize("number", signals.ASKING)
@pytest.mark.parametrize(
    ("name", "kept"),
    [("vision_attn.cli.command", "The"), ("only_a_verb_imports_this", "What was finished is kept; the")],
)
def test_a_signal_in_the_middle_of_an_import_is_told_in_a_sentence_and_ends_the_process_at_once(number, name, kept):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command_line = [sys.executable, "-c", STARTS, name, str(int(number))]
    ended = subprocess.run(command_line, capture_output=True, text=True, env=environment, check=False)
    sentence = f"Error: Stopped by {signal.Signals(number).name}. {kept} same command continues.\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (75, "", sentence)


def test_signals_that_come_together_break_into_nothing_that_is_said_and_a_later_one_ends_at_once(now, monkeypatch):
    said, codes = [], []

    def complain(sentence):
        os.kill(os.getpid(), signal.SIGINT)  # as where a shell ends a job: the group is told, then the process
        said.append(sentence)
        now[0] += 5
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(command, "app", lambda **options: os.kill(os.getpid(), signal.SIGHUP))
    monkeypatch.setattr(command, "complain", complain)
    monkeypatch.setattr(signals.os, "_exit", codes.append)
    assert command.execute(["status"]) == 75
    assert said == ["Stopped by SIGHUP. What was finished is kept; the same command continues."]
    assert codes == [75]


def test_a_signal_while_a_mistake_is_told_leaves_no_traceback(monkeypatch):
    monkeypatch.setattr(command, "complain", lambda sentence: os.kill(os.getpid(), signal.SIGTERM))
    assert command.execute(["status", "nowhere"]) == 75


def test_a_signal_whose_exception_is_lost_in_a_destructor_comes_again(capsys):
    class Loses:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)

    def work():
        with signals.raised():
            Loses()
            time.sleep(20)

    with pytest.raises(signals.Interrupted, match="SIGTERM"):
        work()
    assert capsys.readouterr().err == ""


def test_an_inner_block_that_listens_goes_before_one_that_raises():
    with signals.raised(), signals.heard() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
    assert asked.name == "SIGTERM"
