"""A node of the event store as a process, in a folder of its own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

SECONDS_TO_START = 20
SECONDS_TO_STOP = 20
# What a node says is no TAP.
STANDARD_ERROR = 2

class Node:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="kinolog-conformance-")
        self.port = free_port()
        self.process = None
        self.start()

    def start(self):
        """Starts it on the same folder and port as before. It dies with us."""
        command = ["setpriv", "--pdeathsig", "KILL", os.environ["KINOLOG_EVENTSTORE_BIN"]]
        command += ["serve", "--dir", self.folder, "--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=STANDARD_ERROR)
        deadline = time.monotonic() + SECONDS_TO_START
        while not answers(self.port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the node does not answer")
            time.sleep(0.01)

    def stop(self):
        self.end(signal.SIGTERM)

    def kill(self):
        self.end(signal.SIGKILL)

    def end(self, how):
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait(SECONDS_TO_STOP)

    def remove(self):
        self.kill()
        shutil.rmtree(self.folder)

def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]

def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
