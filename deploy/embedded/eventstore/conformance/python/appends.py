"""Appends with every expected revision, by `Append` (one event) and `BatchAppend` (a list)."""

import concurrent.futures
import datetime
import uuid

from kurrentdbclient import StreamState
from kurrentdbclient.exceptions import NotFoundError, WrongCurrentVersionError

from suite import check, ids, new_event, new_events, new_stream, raises, same

ANY, EXISTS, NO_STREAM = StreamState.ANY, StreamState.EXISTS, StreamState.NO_STREAM


def both_ways(event):
    """The same event as the client's two kinds of append want it."""
    return [event, [event]]


def append(place, stream, version, events):
    return place.client.append_to_stream(stream, current_version=version, events=events)


def refused(place, stream, version, actual):
    """By both ways, and with what is there in the error."""
    for events in both_ways(new_event()):
        with raises(WrongCurrentVersionError) as caught:
            append(place, stream, version, events)
        same(caught.error.stream_name, stream)
        same(caught.error.expected_version, version)
        same(caught.error.actual_version, actual)


@check
def a_stream_begins_with_no_stream(place):
    for events in both_ways(new_event()):
        stream = new_stream()
        position = append(place, stream, NO_STREAM, events)
        [read] = place.client.get_stream(stream)
        same(read.stream_position, 0)
        same(read.commit_position, position)
        same(place.client.get_current_version(stream), 0)


@check
def an_append_at_the_exact_revision_follows_what_is_there(place):
    stream = new_stream()
    positions = [append(place, stream, NO_STREAM, new_event())]
    positions.append(append(place, stream, 0, new_event()))
    positions.append(append(place, stream, 1, new_events(3)))
    positions.append(append(place, stream, 4, new_event()))
    same(positions, sorted(set(positions)))
    read = place.client.get_stream(stream)
    same([event.stream_position for event in read], list(range(6)))
    same([read[at].commit_position for at in (0, 1, 4, 5)], positions)


@check
def an_append_at_another_revision_is_refused_and_says_what_is_there(place):
    stream = new_stream()
    append(place, stream, NO_STREAM, new_events(3))
    for version in (0, 1, 3, 100, 2**62):
        refused(place, stream, version, 2)
    same(len(place.client.get_stream(stream)), 3)


@check
def an_append_at_a_revision_of_a_stream_that_is_not_there_is_refused(place):
    stream = new_stream()
    refused(place, stream, 0, NO_STREAM)
    refused(place, stream, 7, NO_STREAM)
    with raises(NotFoundError):
        place.client.get_stream(stream)


@check
def no_stream_is_refused_where_there_is_one(place):
    stream = new_stream()
    append(place, stream, NO_STREAM, new_events(2))
    refused(place, stream, NO_STREAM, 1)


@check
def any_revision_begins_a_stream_and_goes_on(place):
    for one, other in zip(both_ways(new_event()), both_ways(new_event())):
        stream = new_stream()
        first = append(place, stream, ANY, one)
        second = append(place, stream, ANY, other)
        assert second > first
        same(len(place.client.get_stream(stream)), 2)


@check
def stream_exists_is_refused_where_there_is_none(place):
    refused(place, new_stream(), EXISTS, NO_STREAM)


@check
def stream_exists_goes_on_where_there_is_one(place):
    stream = new_stream()
    append(place, stream, NO_STREAM, new_event())
    append(place, stream, EXISTS, new_event())
    append(place, stream, EXISTS, new_events(2))
    same(place.client.get_current_version(stream), 3)


@check
def metadata_alone_makes_a_stream_exist(place):
    stream = new_stream()
    place.client.set_stream_metadata(stream, metadata={"color": "blue"})
    append(place, stream, EXISTS, new_event())
    same(place.client.get_current_version(stream), 0)


@check
def a_retry_at_its_own_revision_is_answered_as_the_first_time(place):
    stream = new_stream()
    events = new_events(4)
    positions = [append(place, stream, NO_STREAM, events[0])]
    positions += [append(place, stream, at, events[at + 1]) for at in range(3)]
    for at, version in enumerate((NO_STREAM, 0, 1, 2)):
        for again in both_ways(events[at]):
            same(append(place, stream, version, again), positions[at])
    same(append(place, stream, NO_STREAM, events), positions[3])
    same(append(place, stream, NO_STREAM, events[:2]), positions[1])
    same(append(place, stream, 0, events[1:3]), positions[2])
    same(ids(place.client.get_stream(stream)), ids(events))


@check
def a_retry_with_any_or_stream_exists_is_answered_as_the_first_time(place):
    stream = new_stream()
    events = new_events(5)
    first = append(place, stream, ANY, events[:3])
    second = append(place, stream, EXISTS, events[3:])
    for version in (ANY, EXISTS):
        same(append(place, stream, version, events[:3]), first)
        same(append(place, stream, version, events[3:]), second)
        same(append(place, stream, version, events[4]), second)
    same(ids(place.client.get_stream(stream)), ids(events))


@check
def a_retry_that_brings_something_new_is_refused(place):
    stream = new_stream()
    events = new_events(3)
    append(place, stream, NO_STREAM, events)
    for version in (NO_STREAM, 0, ANY, EXISTS):
        first = 1 if version == 0 else 0
        with raises(WrongCurrentVersionError):
            append(place, stream, version, [*events[first:], new_event()])
    same(ids(place.client.get_stream(stream)), ids(events))


@check
def a_retry_at_another_revision_is_refused(place):
    stream = new_stream()
    events = new_events(3)
    append(place, stream, NO_STREAM, events)
    with raises(WrongCurrentVersionError):
        append(place, stream, 1, events[1])
    with raises(WrongCurrentVersionError):
        append(place, stream, NO_STREAM, events[1])


@check
def one_id_may_stand_in_two_streams(place):
    event = new_event()
    streams = [new_stream(), new_stream()]
    positions = [append(place, stream, NO_STREAM, event) for stream in streams]
    assert positions[0] != positions[1]
    for stream in streams:
        same(ids(place.client.get_stream(stream)), [event.id])


@check
def a_refused_batch_leaves_nothing(place):
    stream = new_stream()
    append(place, stream, NO_STREAM, new_event())
    with raises(WrongCurrentVersionError):
        append(place, stream, 5, new_events(100))
    same(place.client.get_current_version(stream), 0)


@check
def a_batch_of_ten_thousand_events_is_appended_whole(place):
    stream = new_stream()
    events = new_events(10_000)
    position = append(place, stream, NO_STREAM, events)
    read = place.client.get_stream(stream)
    same(ids(read), ids(events))
    same(read[-1].commit_position, position)


@check
def an_event_comes_back_as_it_was_sent(place):
    stream = new_stream()
    before = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=1)
    sent = [
        new_event("Json", b'{"a": "\\u00e9"}', metadata=b'{"$correlationId": "1"}'),
        new_event("Binary", bytes(range(256)), metadata=bytes(range(255, -1, -1)),
                  content_type="application/octet-stream"),
        new_event("Empty", b"", metadata=b"", content_type="application/octet-stream"),
        new_event("Ünïcødé 事件 🎬", "текст".encode(), id=uuid.UUID(int=2**128 - 1)),
        new_event("T" * 1024, b"{}"),
    ]
    append(place, stream, NO_STREAM, sent)
    for event, read in zip(sent, place.client.get_stream(stream), strict=True):
        for field in ("id", "type", "data", "metadata", "content_type"):
            same(getattr(read, field), getattr(event, field))
        same(read.stream_name, stream)
        assert before < read.recorded_at <= datetime.datetime.now(datetime.timezone.utc)


@check
def a_streams_name_may_be_anything(place):
    for name in ("поток 🎞 ", "a b/c?d=e&f#g", "\"quoted\" 'twice'", "x" * 900, "with@at", "-", "$own"):
        stream = new_stream(name)
        append(place, stream, NO_STREAM, new_event())
        [read] = place.client.get_stream(stream)
        same(read.stream_name, stream)
        with raises(WrongCurrentVersionError):
            append(place, stream, 9, new_event())


@check
def of_many_writers_at_one_revision_one_wins(place):
    stream = new_stream()
    append(place, stream, NO_STREAM, new_event())

    def attempt(_):
        try:
            return append(place, stream, 0, new_events(2))
        except WrongCurrentVersionError as error:
            same(error.actual_version, 2)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        won = [position for position in pool.map(attempt, range(16)) if position]
    same(len(won), 1)
    same(place.client.get_stream(stream)[-1].commit_position, won[0])


@check
def what_many_writers_append_at_once_is_all_there(place):
    stream = new_stream()
    batches = [new_events(5) for _ in range(60)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        positions = list(pool.map(lambda events: append(place, stream, ANY, events), batches))
    same(len(set(positions)), 60)
    read = place.client.get_stream(stream)
    same([event.stream_position for event in read], list(range(300)))
    by_position = {event.commit_position: at for at, event in enumerate(read)}
    for position, events in zip(positions, batches):
        last = by_position[position]
        same(ids(read[last - 4 : last + 1]), ids(events))
