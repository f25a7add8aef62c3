"""A Slurm of one node on the loopback, without systemd and without accounting, to try things on.

    python tests/slurm_node.py COMMAND...   # runs the command with SLURM_CONF set, then takes the node down

Needs slurmctld, slurmd, slurm-client and munge (of Debian or Ubuntu) and root. Two partitions: `low`, whose jobs are
requeued when those of `high` want the node, with some seconds of grace. A requeued job may begin again after 5 seconds.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
CPUS = 2
CONFIG = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
MinJobAge=60
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1 GraceTime=30 OverTimeLimit=0 MaxTime=60 State=UP
PartitionName=high Nodes={host} PriorityTier=2 PreemptMode=OFF MaxTime=60 State=UP
"""


def missing():
    """What a node needs and this machine lacks."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    found = [name for name in NEEDED if shutil.which(name, path=path) is None]
    return found + ([] if os.geteuid() == 0 else ["root"])


class Node:
    """The node: `start`, `stop`, and `restart_controller` in the middle; `environment` is that of its clients."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self.environment["PATH"] += os.pathsep + "/usr/sbin"
        self.processes = {}

    def start(self):
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            two.bind(("127.0.0.1", 0))
            ports = one.getsockname()[1], two.getsockname()[1]
        host = socket.gethostname().split(".")[0]
        (self.folder / "slurm.conf").write_text(CONFIG.format(host=host, ports=ports, folder=self.folder, cpus=CPUS))
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        files = {"socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log", "seed-file": "munge.seed"}
        options = [f"--{name}={self.folder / file}" for name, file in files.items()]
        self._spawn("munged", "--foreground", "--force", f"--key-file={key}", *options)
        self._wait("munge", lambda: (self.folder / "munge.socket").exists())
        self._spawn("slurmctld", "-D", "-i")
        self._spawn("slurmd", "-D")
        self._wait("node", lambda: "idle" in self.ask("sinfo", "--noheader", "--format=%t"))

    def ask(self, *command):
        """What a client of Slurm prints."""
        asked = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=60)
        return asked.stdout

    def kill_controller(self):
        self.processes["slurmctld"].kill()
        self.processes.pop("slurmctld").wait()

    def start_controller(self):
        self._spawn("slurmctld", "-D")
        self._wait("controller", lambda: "UP" in self.ask("scontrol", "ping"))

    def stop(self):
        if "slurmctld" in self.processes:
            self.ask("scancel", "--full", "--signal=KILL", "--user=root")
            self.ask("scancel", "--user=root")
        for process in reversed(self.processes.values()):
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _spawn(self, *command):
        with open(self.folder / f"{command[0]}.out", "ab") as out:
            self.processes[command[0]] = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def _wait(self, what, condition):
        limit = time.monotonic() + 60
        while not condition():
            dead = [name for name, process in self.processes.items() if process.poll() is not None]
            logs = "".join(path.read_text()[-2000:] for path in self.folder.glob("*.out"))
            assert not dead, f"{dead} ended while the {what} started: {logs}"
            assert time.monotonic() < limit, f"the {what} did not start: {logs}"
            time.sleep(0.2)


if __name__ == "__main__":
    if missing():
        sys.exit(f"not here: {', '.join(missing())}")
    with tempfile.TemporaryDirectory(prefix="slurm-node-") as place:
        node = Node(Path(place))
        try:
            node.start()
            code = subprocess.run(sys.argv[1:] or ["sinfo"], env=node.environment, check=False).returncode
        finally:
            node.stop()
    sys.exit(code)
