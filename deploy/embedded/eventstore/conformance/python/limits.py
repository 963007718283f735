"""Events and appends at and past their limits; the node lives on."""

from kurrentdbclient import StreamState
from kurrentdbclient.exceptions import GrpcError, MaximumAppendSizeExceededError, NotFoundError

from suite import check, new_event, new_stream, raises, same

NO_STREAM = StreamState.NO_STREAM
EVENT_BYTES_MAX = 16 * 1024 * 1024


def append(place, stream, events):
    return place.client.append_to_stream(stream, current_version=NO_STREAM, events=events)


def new_events_of(count, size):
    return [new_event(data=b"x" * size) for _ in range(count)]


def lives_on(place):
    stream = new_stream()
    append(place, stream, new_event())
    same(place.client.get_current_version(stream), 0)


def refused_as_argument(place, stream, event):
    with raises(GrpcError) as caught:
        append(place, stream, event)
    assert "INVALID_ARGUMENT" in str(caught.error), caught.error


@check
def an_event_of_sixteen_mebibytes_is_kept(place):
    stream = new_stream()
    data = bytes(range(256)) * (EVENT_BYTES_MAX // 256)
    for version, events in enumerate((new_event(data=data), [new_event(data=data)])):
        place.client.append_to_stream(
            stream, current_version=version - 1 if version else NO_STREAM, events=events
        )
    for read in place.client.get_stream(stream):
        assert read.data == data
    lives_on(place)


@check
def an_event_past_sixteen_mebibytes_is_refused(place):
    stream = new_stream()
    data = b"x" * EVENT_BYTES_MAX
    for event in (new_event(data=data + b"x"), new_event(data=data, metadata=b"x")):
        refused_as_argument(place, stream, event)
        with raises(MaximumAppendSizeExceededError) as caught:
            append(place, stream, [event])
        same(str(caught.error), f"Max size is {EVENT_BYTES_MAX}")
    with raises(NotFoundError):
        place.client.get_stream(stream)
    lives_on(place)


@check
def an_append_past_its_limit_is_refused_whole(place):
    stream = new_stream()
    events = new_events_of(64, 1024 * 1024)
    with raises(MaximumAppendSizeExceededError):
        append(place, stream, events)
    refused_as_argument(place, stream, [*events, *new_events_of(6, 1024 * 1024)])
    with raises(NotFoundError):
        place.client.get_stream(stream)
    lives_on(place)


@check
def an_append_of_forty_mebibytes_is_kept(place):
    stream = new_stream()
    append(place, stream, new_events_of(40, 1024 * 1024))
    same(len(place.client.get_stream(stream)), 40)


@check
def a_streams_name_past_its_limit_is_refused(place):
    refused_as_argument(place, "x" * 1025, new_event())
    refused_as_argument(place, "", new_event())
    append(place, new_stream("x" * (1024 - 37)), new_event())
    lives_on(place)


@check
def a_type_past_its_limit_or_none_is_refused(place):
    refused_as_argument(place, new_stream(), new_event("T" * 1025))
    refused_as_argument(place, new_stream(), new_event(""))
    lives_on(place)


@check
def two_hundred_open_subscriptions_do_no_harm(place):
    subscriptions = [place.client.subscribe_to_stream(new_stream()) for _ in range(200)]
    lives_on(place)
    for subscription in subscriptions:
        subscription.stop()
    lives_on(place)
