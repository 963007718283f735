"""Deadlines, cancellation, and clients that go away."""

import threading
import time

from kurrentdbclient import StreamState
from kurrentdbclient.exceptions import CancelledByClientError, GrpcDeadlineExceededError, NotFoundError

from suite import check, connect, ids, new_event, new_events, new_stream, raises, same

ANY, NO_STREAM = StreamState.ANY, StreamState.NO_STREAM


@check
def an_append_whose_deadline_is_over_leaves_nothing(place):
    stream = new_stream()
    events = [new_event(data=b"a" * 10_000)] * 5_000
    with raises(GrpcDeadlineExceededError):
        place.client.append_to_stream(stream, current_version=NO_STREAM, events=events, timeout=0)
    with raises(NotFoundError):
        place.client.get_stream(stream)


@check
def a_read_whose_deadline_is_over_is_an_error(place):
    stream = new_stream()
    events = [new_event(data=b"a" * 10_000)] * 3_000
    place.client.append_to_stream(stream, current_version=NO_STREAM, events=events)
    for follow in (
        lambda: place.client.read_stream(stream, timeout=0.05),
        lambda: place.client.read_all(timeout=0.05),
        lambda: place.client.subscribe_to_stream(stream, timeout=0.05),
    ):
        with raises(GrpcDeadlineExceededError):
            for _ in follow():
                time.sleep(0.001)
    same(place.client.get_current_version(stream), len(events) - 1)


@check
def a_deadline_that_is_met_does_no_harm(place):
    stream = new_stream()
    for version, events in ((NO_STREAM, new_event()), (0, new_events(2))):
        place.client.append_to_stream(stream, current_version=version, events=events, timeout=30)
    same(len(place.client.get_stream(stream, timeout=30)), 3)


@check
def a_subscription_that_waits_is_cancelled_from_elsewhere(place):
    subscription = place.client.subscribe_to_stream(new_stream())
    stopper = threading.Timer(0.2, lambda: subscription.stop(cancel=True))
    stopper.start()
    with raises(CancelledByClientError):
        next(subscription)
    stopper.join()


@check
def a_read_that_is_left_half_way_does_no_harm(place):
    stream, events = new_stream(), new_events(3_000)
    place.client.append_to_stream(stream, current_version=NO_STREAM, events=events)
    for _ in range(50):
        with place.client.read_stream(stream) as response:
            same([next(response).id for _ in range(5)], ids(events[:5]))
    same(len(place.client.get_stream(stream)), 3_000)


@check
def a_client_that_goes_away_takes_only_its_own_along(place):
    stream = new_stream()
    with place.client.subscribe_to_stream(stream) as mine:
        with connect(place.node) as other:
            theirs = other.subscribe_to_stream(stream)
            other.append_to_stream(stream, current_version=ANY, events=new_event())
            next(theirs)
        same(other.is_closed, True)
        next(mine)
        event = new_event()
        place.client.append_to_stream(stream, current_version=ANY, events=event)
        same(next(mine).id, event.id)
