"""Stream metadata: kept, returned, versioned, and what of it hides events."""

import time

from kurrentdbclient import StreamState
from kurrentdbclient.exceptions import NotFoundError, WrongCurrentVersionError

from suite import check, ids, new_event, new_events, new_stream, raises, same

ANY, EXISTS, NO_STREAM = StreamState.ANY, StreamState.EXISTS, StreamState.NO_STREAM

# How long an event with `$maxAge` 1 may still be seen.
SECONDS_TO_EXPIRE_MAX = 10


def written(place, count):
    stream, events = new_stream(), new_events(count)
    place.client.append_to_stream(stream, current_version=NO_STREAM, events=events)
    return stream, ids(events)


def revisions(place, stream, **options):
    return [event.stream_position for event in place.client.get_stream(stream, **options)]


@check
def a_stream_without_metadata_has_none(place):
    stream, _ = written(place, 1)
    same(place.client.get_stream_metadata(stream), ({}, NO_STREAM))
    same(place.client.get_stream_metadata(new_stream()), ({}, NO_STREAM))


@check
def metadata_may_come_before_its_stream(place):
    stream = new_stream()
    place.client.set_stream_metadata(stream, metadata={"color": "blue"}, current_version=NO_STREAM)
    same(place.client.get_stream_metadata(stream), ({"color": "blue"}, 0))
    with raises(NotFoundError):
        place.client.get_stream(stream)
    place.client.append_to_stream(stream, current_version=NO_STREAM, events=new_event())
    same(revisions(place, stream), [0])


@check
def metadata_is_set_at_the_version_it_expects(place):
    stream, _ = written(place, 1)
    put = place.client.set_stream_metadata
    put(stream, metadata={"at": 0}, current_version=NO_STREAM)
    put(stream, metadata={"at": 1}, current_version=0)
    put(stream, metadata={"at": 2}, current_version=EXISTS)
    put(stream, metadata={"at": 3})
    for version, actual in ((NO_STREAM, 3), (0, 3), (4, 3)):
        with raises(WrongCurrentVersionError) as caught:
            put(stream, metadata={"at": 9}, current_version=version)
        same(caught.error.actual_version, actual)
    same(place.client.get_stream_metadata(stream), ({"at": 3}, 3))


@check
def all_of_the_metadata_is_kept_and_returned(place):
    stream, _ = written(place, 3)
    metadata = {
        "$maxAge": 86_400,
        "$maxCount": 1_000,
        "$tb": 1,
        "$cacheControl": 60,
        "$acl": {"$r": ["$all"], "$w": "writer", "$d": [], "$mr": "$admins", "$mw": "$admins"},
        "mine": {"größe": [1, 2.5, None, True, "x"]},
    }
    place.client.set_stream_metadata(stream, metadata=metadata)
    same(place.client.get_stream_metadata(stream), (metadata, 0))
    same(revisions(place, stream), [1, 2])


@check
def of_a_stream_with_a_maximal_count_the_last_are_there(place):
    stream, wanted = written(place, 10)
    place.client.set_stream_metadata(stream, metadata={"$maxCount": 3})
    same(ids(place.client.get_stream(stream)), wanted[7:])
    same(ids(place.client.get_stream(stream, backwards=True)), wanted[:6:-1])
    same(revisions(place, stream, stream_position=0, limit=1), [7])
    same(revisions(place, stream, stream_position=8), [8, 9])
    same(revisions(place, stream, stream_position=2, backwards=True), [])
    place.client.append_to_stream(stream, current_version=9, events=new_events(2))
    same(revisions(place, stream), [9, 10, 11])
    place.client.set_stream_metadata(stream, metadata={"$maxCount": 5})
    same(revisions(place, stream), [7, 8, 9, 10, 11])


@check
def of_a_truncated_stream_the_rest_is_there(place):
    stream, wanted = written(place, 10)
    for before in (0, 4, 9):
        place.client.set_stream_metadata(stream, metadata={"$tb": before})
        same(ids(place.client.get_stream(stream)), wanted[before:])
        backwards = place.client.get_stream(stream, backwards=True)
        same(ids(backwards), wanted[before:][::-1])
    same(revisions(place, stream, stream_position=1, limit=5), [9])
    same(place.client.get_current_version(stream), 9)
    place.client.append_to_stream(stream, current_version=9, events=new_event())
    same(revisions(place, stream), [9, 10])


@check
def a_stream_truncated_past_its_end_is_empty_and_goes_on(place):
    stream, _ = written(place, 3)
    place.client.set_stream_metadata(stream, metadata={"$tb": 100})
    same(revisions(place, stream), [])
    place.client.append_to_stream(stream, current_version=2, events=new_event())
    place.client.set_stream_metadata(stream, metadata={})
    same(revisions(place, stream), [0, 1, 2, 3])


@check
def events_older_than_the_maximal_age_are_gone(place):
    stream, _ = written(place, 3)
    place.client.set_stream_metadata(stream, metadata={"$maxAge": 3_600})
    same(revisions(place, stream), [0, 1, 2])
    place.client.set_stream_metadata(stream, metadata={"$maxAge": 1})
    deadline = time.monotonic() + SECONDS_TO_EXPIRE_MAX
    while revisions(place, stream):
        assert time.monotonic() < deadline, "nothing expired"
        time.sleep(0.05)
    place.client.set_stream_metadata(stream, metadata={"$maxAge": 3_600})
    place.client.append_to_stream(stream, current_version=2, events=new_event())
    same(revisions(place, stream), [0, 1, 2, 3])


@check
def the_strictest_rule_holds(place):
    stream, _ = written(place, 10)
    place.client.set_stream_metadata(stream, metadata={"$tb": 4, "$maxCount": 3})
    same(revisions(place, stream), [7, 8, 9])
    place.client.set_stream_metadata(stream, metadata={"$tb": 8, "$maxCount": 3})
    same(revisions(place, stream), [8, 9])


@check
def a_subscription_skips_what_metadata_hides(place):
    stream, wanted = written(place, 6)
    place.client.set_stream_metadata(stream, metadata={"$tb": 4})
    with place.client.subscribe_to_stream(stream) as subscription:
        same([next(subscription).id for _ in range(2)], wanted[4:])


@check
def the_log_keeps_what_metadata_hides(place):
    stream, wanted = written(place, 4)
    first = place.client.get_stream(stream)[0].commit_position
    place.client.set_stream_metadata(stream, metadata={"$maxCount": 1})
    same(ids(place.client.read_all(commit_position=first)), wanted)


@check
def of_the_metadata_itself_only_the_last_is_there(place):
    stream, _ = written(place, 1)
    for count in range(1, 5):
        place.client.set_stream_metadata(stream, metadata={"$maxCount": count})
    same(revisions(place, f"$${stream}"), [3])
