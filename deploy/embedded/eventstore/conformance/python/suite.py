"""The checks of this client, spoken as TAP on standard output.

A check is a function whose name is a sentence. It fails by raising. Checks run one after the
other, in the order they are defined, and share one node unless they start their own.
"""

import contextlib
import signal
import sys
import traceback
import uuid

from kurrentdbclient import KurrentDBClient, NewEvent

from node import Node

# No check waits longer than this.
SECONDS_MAX = 60

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


class Place:
    """The node that checks share, and a client of it."""

    def __init__(self):
        self.node = Node()
        self.client = connect(self.node)

    def close(self):
        self.client.close()
        self.node.remove()


def connect(node, scheme="kurrentdb", options=""):
    return KurrentDBClient(f"{scheme}://127.0.0.1:{node.port}?tls=false{options}")


@contextlib.contextmanager
def own_node():
    """A node of the check's own, and a client of it."""
    node = Node()
    try:
        with connect(node) as client:
            yield node, client
    finally:
        node.remove()


def new_stream(prefix="stream"):
    return f"{prefix}-{uuid.uuid4()}"


def new_event(kind="Happened", data=b"{}", **rest):
    return NewEvent(type=kind, data=data, **rest)


def new_events(count, kind="Happened"):
    return [new_event(kind, b'{"n":%d}' % number) for number in range(count)]


def ids(events):
    return [event.id for event in events]


def same(found, wanted):
    if found != wanted:
        raise AssertionError(f"found {shown(found)}, wanted {shown(wanted)}")


def shown(value):
    text = repr(value)
    return text if len(text) < 400 else f"{text[:400]}…"


@contextlib.contextmanager
def raises(kind):
    """The block must raise exactly this kind; it is handed on as `.error`."""

    class Caught:
        error = None

    caught = Caught()
    try:
        yield caught
    except Exception as error:
        if type(error) is not kind:
            raise AssertionError(f"raised {error!r}, wanted {kind.__name__}") from error
        caught.error = error
        return
    raise AssertionError(f"raised nothing, wanted {kind.__name__}")


def run():
    """Runs all checks; whether all passed."""
    signal.signal(signal.SIGALRM, too_long)
    print(f"1..{len(CHECKS)}", flush=True)
    place = Place()
    passed = True
    try:
        for number, function in enumerate(CHECKS, 1):
            passed &= one(place, number, function)
    finally:
        place.close()
    return passed


def one(place, number, function):
    sentence = function.__name__.replace("_", " ")
    signal.alarm(SECONDS_MAX)
    try:
        function(place)
    except BaseException as error:
        print(f"not ok {number} - {sentence}")
        for line in reasons(error):
            print(f"# {line}", flush=True)
        if isinstance(error, KeyboardInterrupt):
            sys.exit(1)
        return False
    finally:
        signal.alarm(0)
    print(f"ok {number} - {sentence}", flush=True)
    return True


def reasons(error):
    """What went wrong, and the lines of ours that led there."""
    yield from f"{type(error).__name__}: {error}".splitlines()
    for frame in traceback.extract_tb(error.__traceback__):
        if "conformance" in frame.filename and frame.name != "one":
            yield f"at {frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}: {frame.line}"


def too_long(_signal, _frame):
    raise TimeoutError(f"the check took longer than {SECONDS_MAX} s")
