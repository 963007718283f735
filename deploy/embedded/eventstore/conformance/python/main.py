"""Drives a node of the event store with the Python client `kurrentdbclient`."""

import sys

import appends  # noqa: F401
import reads  # noqa: F401
import filters  # noqa: F401
import subscriptions  # noqa: F401
import restarts  # noqa: F401
import deletes  # noqa: F401
import metadata  # noqa: F401
import links  # noqa: F401
import limits  # noqa: F401
import patience  # noqa: F401
import connections  # noqa: F401
import asynchronous  # noqa: F401
import wire  # noqa: F401
import suite

if __name__ == "__main__":
    sys.exit(0 if suite.run() else 1)
