"""Soft deletion with re-creation, and tombstones."""

from kurrentdbclient import StreamState
from kurrentdbclient.exceptions import (
    NotFoundError,
    StreamIsDeletedError,
    WrongCurrentVersionError,
)

from suite import check, ids, new_event, new_events, new_stream, raises, same

ANY, EXISTS, NO_STREAM = StreamState.ANY, StreamState.EXISTS, StreamState.NO_STREAM
DELETED = 2**63 - 1


def written(place, count=2):
    stream = new_stream()
    append(place, stream, NO_STREAM, new_events(count))
    return stream


def append(place, stream, version, events):
    return place.client.append_to_stream(stream, current_version=version, events=events)


def gone(place, stream):
    for options in ({}, {"backwards": True}, {"stream_position": 1}, {"limit": 1}):
        with raises(NotFoundError):
            place.client.get_stream(stream, **options)
    same(place.client.get_current_version(stream), NO_STREAM)


@check
def a_stream_is_deleted_at_its_revision_and_may_be_again(place):
    stream = written(place)
    for version in (0, 2, 100):
        with raises(WrongCurrentVersionError) as caught:
            place.client.delete_stream(stream, current_version=version)
        same(caught.error.actual_version, 1)
        same(caught.error.expected_version, version)
    same(place.client.get_current_version(stream), 1)
    for _ in range(2):
        place.client.delete_stream(stream, current_version=1)
        gone(place, stream)
        with raises(WrongCurrentVersionError):
            place.client.delete_stream(stream, current_version=0)


@check
def a_stream_is_deleted_at_any_revision_and_may_be_again(place):
    stream = written(place)
    for _ in range(2):
        place.client.delete_stream(stream, current_version=ANY)
        gone(place, stream)


@check
def a_stream_that_exists_is_deleted_once(place):
    stream = written(place)
    place.client.delete_stream(stream, current_version=EXISTS)
    gone(place, stream)
    with raises(StreamIsDeletedError):
        place.client.delete_stream(stream, current_version=EXISTS)


@check
def what_never_was_is_not_found_when_it_is_deleted(place):
    for version in (ANY, EXISTS, NO_STREAM):
        with raises(NotFoundError):
            place.client.delete_stream(new_stream(), current_version=version)


@check
def a_deleted_stream_goes_on_with_its_numbering(place):
    for version in (NO_STREAM, ANY, 1):
        stream = written(place)
        place.client.delete_stream(stream, current_version=1)
        with raises(WrongCurrentVersionError):
            append(place, stream, 0, new_event())
        events = new_events(2)
        append(place, stream, version, events[0])
        same(place.client.get_current_version(stream), 2)
        append(place, stream, 2, events[1])
        read = place.client.get_stream(stream)
        same(ids(read), ids(events))
        same([event.stream_position for event in read], [2, 3])
        same(ids(place.client.get_stream(stream, backwards=True)), ids(events)[::-1])


@check
def a_deleted_stream_does_not_exist(place):
    stream = written(place)
    place.client.delete_stream(stream, current_version=ANY)
    with raises(StreamIsDeletedError):
        append(place, stream, EXISTS, [new_event()])


@check
def the_first_append_to_a_deleted_stream_may_be_retried(place):
    stream = written(place)
    place.client.delete_stream(stream, current_version=1)
    events = new_events(2)
    position = append(place, stream, NO_STREAM, events)
    for version in (NO_STREAM, 1, ANY):
        same(append(place, stream, version, events), position)
    same(ids(place.client.get_stream(stream)), ids(events))


@check
def a_stream_is_deleted_and_begun_again_and_again(place):
    stream = new_stream()
    for life in range(4):
        event = new_event()
        append(place, stream, NO_STREAM, event)
        [read] = place.client.get_stream(stream)
        same((read.id, read.stream_position), (event.id, life))
        place.client.delete_stream(stream, current_version=life)
        gone(place, stream)


@check
def deletion_is_in_the_streams_metadata_beside_what_was_there(place):
    stream = written(place)
    place.client.set_stream_metadata(stream, metadata={"mine": {"a": 1}, "$maxCount": 9})
    place.client.delete_stream(stream, current_version=1)
    found, version = place.client.get_stream_metadata(stream)
    same((found["$tb"], found["mine"], version), (DELETED, {"a": 1}, 1))
    append(place, stream, NO_STREAM, new_event())
    found, version = place.client.get_stream_metadata(stream)
    same(found, {"$tb": 2, "mine": {"a": 1}, "$maxCount": 9})
    same(version, 2)


@check
def the_log_keeps_what_a_deleted_stream_had(place):
    stream = new_stream()
    events = new_events(2)
    first = append(place, stream, NO_STREAM, events[0])
    append(place, stream, 0, events[1])
    place.client.delete_stream(stream, current_version=1)
    same(ids(place.client.read_all(commit_position=first)), ids(events))


@check
def a_stream_is_tombstoned_at_its_revision_for_ever(place):
    stream = written(place)
    with raises(WrongCurrentVersionError):
        place.client.tombstone_stream(stream, current_version=0)
    place.client.tombstone_stream(stream, current_version=1)
    for version in (0, 1, 2, ANY, EXISTS, NO_STREAM):
        with raises(StreamIsDeletedError):
            place.client.tombstone_stream(stream, current_version=version)
        with raises(StreamIsDeletedError):
            place.client.delete_stream(stream, current_version=version)
        with raises(StreamIsDeletedError):
            append(place, stream, version, new_events(2))
    for options in ({}, {"backwards": True}, {"stream_position": 1}, {"limit": 1}):
        with raises(StreamIsDeletedError):
            place.client.get_stream(stream, **options)
    with raises(StreamIsDeletedError):
        place.client.get_current_version(stream)


@check
def the_metadata_of_a_tombstoned_stream_may_be_set_and_not_read(place):
    stream = written(place)
    put = place.client.set_stream_metadata
    put(stream, metadata={"mine": 1}, current_version=NO_STREAM)
    place.client.tombstone_stream(stream, current_version=ANY)
    for version in (0, ANY):
        with raises(StreamIsDeletedError):
            place.client.get_stream_metadata(stream)
        put(stream, metadata={"mine": 2}, current_version=version)
    with raises(StreamIsDeletedError):
        place.client.get_stream_metadata(stream)


@check
def what_never_was_may_be_tombstoned(place):
    for version in (ANY, NO_STREAM):
        stream = new_stream()
        place.client.tombstone_stream(stream, current_version=version)
        with raises(StreamIsDeletedError):
            append(place, stream, NO_STREAM, [new_event()])


@check
def what_never_was_does_not_exist_for_a_tombstone(place):
    for version in (EXISTS, 3):
        with raises(NotFoundError):
            place.client.tombstone_stream(new_stream(), current_version=version)


@check
def a_stream_that_exists_is_tombstoned(place):
    stream = written(place)
    place.client.tombstone_stream(stream, current_version=EXISTS)
    with raises(StreamIsDeletedError):
        place.client.get_stream(stream)


@check
def a_deleted_stream_may_be_tombstoned(place):
    stream = written(place)
    place.client.delete_stream(stream, current_version=1)
    place.client.tombstone_stream(stream, current_version=ANY)
    with raises(StreamIsDeletedError):
        append(place, stream, ANY, [new_event()])


@check
def a_tombstone_stands_in_the_log(place):
    stream = new_stream()
    first = append(place, stream, NO_STREAM, new_event())
    place.client.tombstone_stream(stream, current_version=0)
    log = place.client.read_all(commit_position=first, filter_exclude=())
    kinds = [event.type for event in log if event.stream_name == stream]
    same(kinds, ["Happened", "$streamDeleted"])
