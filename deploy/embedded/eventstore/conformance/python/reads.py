"""Reads of a stream and of the whole log, in both directions, from every kind of position."""

from kurrentdbclient import StreamState
from kurrentdbclient.exceptions import CancelledByClientError, NotFoundError

from suite import check, ids, new_event, new_events, new_stream, own_node, raises, same

NO_STREAM = StreamState.NO_STREAM


def written(place, count):
    stream, events = new_stream(), new_events(count)
    place.client.append_to_stream(stream, current_version=NO_STREAM, events=events)
    return stream, ids(events)


@check
def a_stream_is_read_forwards_from_every_position(place):
    stream, wanted = written(place, 5)
    same(ids(place.client.get_stream(stream)), wanted)
    for at in range(5):
        same(ids(place.client.get_stream(stream, stream_position=at)), wanted[at:])
        for limit in range(1, 6):
            read = place.client.get_stream(stream, stream_position=at, limit=limit)
            same(ids(read), wanted[at : at + limit])


@check
def a_stream_is_read_backwards_from_every_position(place):
    stream, wanted = written(place, 5)
    same(ids(place.client.get_stream(stream, backwards=True)), wanted[::-1])
    same(ids(place.client.get_stream(stream, backwards=True, limit=2)), wanted[:2:-1])
    for at in range(5):
        read = place.client.get_stream(stream, stream_position=at, backwards=True)
        same(ids(read), wanted[at::-1])
        read = place.client.get_stream(stream, stream_position=at, backwards=True, limit=2)
        same(ids(read), wanted[at::-1][:2])


@check
def past_the_end_of_a_stream_is_nothing_forwards_and_all_of_it_backwards(place):
    stream, wanted = written(place, 3)
    for at in (3, 4, 1000, 2**63 - 1):
        same(ids(place.client.get_stream(stream, stream_position=at)), [])
        read = place.client.get_stream(stream, stream_position=at, backwards=True)
        same(ids(read), wanted[::-1])


@check
def a_stream_that_is_not_there_is_not_found_from_anywhere(place):
    stream = new_stream()
    for position in (None, 0, 1, 100):
        for backwards in (False, True):
            for limit in (1, 10):
                with raises(NotFoundError):
                    place.client.get_stream(
                        stream, stream_position=position, backwards=backwards, limit=limit
                    )
    same(place.client.get_current_version(stream), NO_STREAM)


@check
def a_long_stream_is_read_in_order(place):
    stream, wanted = written(place, 5_000)
    same(ids(place.client.get_stream(stream)), wanted)
    same(ids(place.client.get_stream(stream, backwards=True)), wanted[::-1])
    same(ids(place.client.get_stream(stream, stream_position=1234, limit=2345)), wanted[1234:3579])


@check
def the_log_is_read_forwards_from_a_position_that_it_includes(place):
    stream, wanted = written(place, 6)
    positions = [event.commit_position for event in place.client.get_stream(stream)]
    same(positions, sorted(set(positions)))
    for at, position in enumerate(positions):
        same(ids(place.client.read_all(commit_position=position)), wanted[at:])
        same(ids(place.client.read_all(commit_position=position, limit=2)), wanted[at : at + 2])


@check
def the_log_is_read_backwards_from_a_position_that_it_excludes(place):
    stream, wanted = written(place, 6)
    positions = [event.commit_position for event in place.client.get_stream(stream)]
    for at, position in enumerate(positions):
        read = place.client.read_all(commit_position=position, backwards=True, limit=at + 1)
        same(ids(read)[:at], wanted[:at][::-1])
    same(ids(place.client.read_all(backwards=True, limit=6)), wanted[::-1])


@check
def the_log_forwards_is_the_log_backwards_reversed(place):
    written(place, 1_500)
    for filters in ({}, {"filter_exclude": ()}):
        forwards = list(place.client.read_all(**filters))
        backwards = list(place.client.read_all(backwards=True, **filters))
        same(ids(forwards), ids(backwards)[::-1])
        positions = [event.commit_position for event in forwards]
        same(positions, sorted(set(positions)))


@check
def before_the_first_and_past_the_last_event_of_the_log_is_nothing(place):
    written(place, 2)
    same(list(place.client.read_all(commit_position=0, backwards=True)), [])
    last = place.client.get_commit_position(filter_exclude=())
    same(list(place.client.read_all(commit_position=last + 1)), [])
    first = next(iter(place.client.read_all(filter_exclude=())))
    same(list(place.client.read_all(commit_position=first.commit_position, backwards=True)), [])


@check
def a_position_between_two_events_is_as_good_as_the_next(place):
    with own_node() as (_, client):
        events = new_events(3)
        client.append_to_stream(new_stream(), current_version=NO_STREAM, events=events)
        positions = [event.commit_position for event in client.read_all()]
        for at in range(2):
            for between in range(positions[at] + 1, positions[at + 1]):
                same(ids(client.read_all(commit_position=between)), ids(events)[at + 1 :])


@check
def the_end_of_the_log_is_the_position_of_the_last_append(place):
    stream = new_stream()
    position = place.client.append_to_stream(
        stream, current_version=NO_STREAM, events=new_events(3)
    )
    same(place.client.get_commit_position(), position)
    same(place.client.get_commit_position(filter_exclude=[".*"]), 0)


@check
def a_new_log_has_nothing_but_what_the_system_wrote(place):
    with own_node() as (_, client):
        same(list(client.read_all()), [])
        same(list(client.read_all(backwards=True)), [])
        same(client.get_commit_position(), 0)
        [first] = client.read_all(filter_exclude=())
        assert first.type.startswith("$") and first.stream_name.startswith("$")
        with client.subscribe_to_all(filter_exclude=()) as subscription:
            same(next(subscription).id, first.id)


@check
def a_read_that_is_stopped_ends(place):
    written(place, 10)
    response = place.client.read_all()
    response.stop()
    same(list(response), [])
    with place.client.read_all() as response:
        next(response)
    response = place.client.read_all()
    response.stop(cancel=True)
    with raises(CancelledByClientError):
        next(response)


@check
def a_metadata_stream_is_read_like_any_other(place):
    stream, _ = written(place, 1)
    for count in (7, 8, 9):
        place.client.set_stream_metadata(stream, metadata={"$maxCount": count})
    [last] = place.client.get_stream(f"$${stream}", backwards=True, limit=1)
    same((last.type, last.stream_position), ("$metadata", 2))
    same(last.data, b'{"$maxCount": 9}')


@check
def a_read_sees_every_append_that_was_answered_before_it(place):
    stream = new_stream()
    for revision in range(50):
        version = revision - 1 if revision else NO_STREAM
        place.client.append_to_stream(stream, current_version=version, events=new_event())
        same(place.client.get_current_version(stream), revision)
