"""Catch-up subscriptions to a stream and to the whole log."""

from kurrentdbclient import StreamState
from kurrentdbclient.events import CaughtUp, Checkpoint, RecordedEvent
from kurrentdbclient.exceptions import GrpcDeadlineExceededError, StreamIsDeletedError

from suite import check, ids, new_event, new_events, new_stream, own_node, raises, same

ANY, NO_STREAM = StreamState.ANY, StreamState.NO_STREAM


def append(place, stream, events):
    return place.client.append_to_stream(stream, current_version=ANY, events=events)


def take(subscription, count):
    """The next events; what is no event is not counted."""
    found = []
    for message in subscription:
        if isinstance(message, RecordedEvent):
            found.append(message)
        if len(found) == count:
            return found
    raise AssertionError(f"the subscription ended after {len(found)} events of {count}")


@check
def a_stream_is_followed_from_its_start(place):
    stream, other = new_stream(), new_stream()
    events = new_events(6)
    append(place, stream, events[:3])
    with place.client.subscribe_to_stream(stream) as subscription:
        same(ids(take(subscription, 3)), ids(events[:3]))
        append(place, other, new_events(3))
        append(place, stream, events[3:])
        same(ids(take(subscription, 3)), ids(events[3:]))


@check
def a_stream_is_followed_after_a_position(place):
    stream, events = new_stream(), new_events(6)
    append(place, stream, events[:4])
    with place.client.subscribe_to_stream(stream, stream_position=1) as subscription:
        append(place, stream, events[4:])
        same(ids(take(subscription, 4)), ids(events[2:]))


@check
def a_stream_is_followed_from_its_end(place):
    stream, events = new_stream(), new_events(6)
    append(place, stream, events[:4])
    with place.client.subscribe_to_stream(stream, from_end=True) as subscription:
        append(place, stream, events[4:])
        same(ids(take(subscription, 2)), ids(events[4:]))


@check
def a_stream_is_followed_before_it_begins(place):
    for options in ({}, {"from_end": True}):
        stream, events = new_stream(), new_events(2)
        with place.client.subscribe_to_stream(stream, **options) as subscription:
            append(place, stream, events)
            same(ids(take(subscription, 2)), ids(events))


@check
def a_stream_is_followed_past_its_end(place):
    stream, events = new_stream(), new_events(6)
    append(place, stream, events[:2])
    with place.client.subscribe_to_stream(stream, stream_position=3) as subscription:
        append(place, stream, events[2:])
        same(ids(take(subscription, 2)), ids(events[4:]))


@check
def the_log_is_followed_from_its_start(place):
    with own_node() as (_, client):
        events = new_events(4)
        client.append_to_stream(new_stream(), current_version=ANY, events=events[:2])
        with client.subscribe_to_all() as subscription:
            same(ids(take(subscription, 2)), ids(events[:2]))
            client.append_to_stream(new_stream(), current_version=ANY, events=events[2:])
            same(ids(take(subscription, 2)), ids(events[2:]))


@check
def the_log_is_followed_from_its_start_before_it_begins(place):
    with own_node() as (_, client), client.subscribe_to_all() as subscription:
        event = new_event()
        client.append_to_stream(new_stream(), current_version=ANY, events=event)
        same(ids(take(subscription, 1)), [event.id])


@check
def the_log_is_followed_after_a_position(place):
    events = new_events(4)
    first = append(place, new_stream(), events[0])
    append(place, new_stream(), events[1:3])
    with place.client.subscribe_to_all(commit_position=first) as subscription:
        append(place, new_stream(), events[3])
        same(ids(take(subscription, 3)), ids(events[1:]))


@check
def the_log_is_followed_from_its_end(place):
    append(place, new_stream(), new_event())
    with place.client.subscribe_to_all(from_end=True) as subscription:
        events = new_events(2)
        append(place, new_stream(), events)
        same(ids(take(subscription, 2)), ids(events))


@check
def a_subscription_has_an_id_of_its_own(place):
    with place.client.subscribe_to_all() as one, place.client.subscribe_to_all() as other:
        assert one.subscription_id and other.subscription_id
        assert one.subscription_id != other.subscription_id


@check
def a_subscription_filters_by_type_stream_and_prefix(place):
    kind, left = new_stream("kind"), new_stream("left")
    start = place.client.get_commit_position(filter_exclude=())
    for filters, picked in (
        ({"filter_include": kind}, 0),
        ({"filter_include": [kind[:20]], "filter_by_prefix": True}, 0),
        ({"filter_include": left, "filter_by_stream_name": True}, 1),
        ({"filter_include": [left], "filter_by_stream_name": True, "filter_by_prefix": True}, 1),
        ({"filter_exclude": ["\\$.+", "Between", kind]}, 1),
    ):
        with place.client.subscribe_to_all(commit_position=start, **filters) as subscription:
            pair = [new_event(kind), new_event("Other")]
            append(place, new_stream(), new_event("Between"))
            append(place, new_stream("right"), pair[0])
            append(place, left, pair[1])
            same(ids(take(subscription, 1)), [pair[picked].id])
        start = place.client.get_commit_position(filter_exclude=())


@check
def caught_up_comes_after_history_and_before_news(place):
    def following(stream, last):
        client, wants = place.client, {"include_caught_up": True}
        yield 2, client.subscribe_to_stream(stream, **wants)
        yield 1, client.subscribe_to_stream(stream, stream_position=0, **wants)
        yield 0, client.subscribe_to_stream(stream, from_end=True, **wants)
        yield 1, client.subscribe_to_all(commit_position=last - 1, **wants)
        yield 0, client.subscribe_to_all(commit_position=last, **wants)
        yield 0, client.subscribe_to_all(from_end=True, **wants)

    stream, events = new_stream(), new_events(2)
    last = append(place, stream, events)
    subscriptions = list(following(stream, last))
    for history, subscription in subscriptions:
        same(ids([next(subscription) for _ in range(history)]), ids(events[2 - history :]))
        message = next(subscription)
        assert isinstance(message, CaughtUp), message
    event = new_event()
    append(place, stream, event)
    for _, subscription in subscriptions:
        same(next(subscription).id, event.id)
        subscription.stop()


@check
def an_excluding_subscription_is_told_how_far_it_is(place):
    start = append(place, new_stream(), new_event())
    end = append(place, new_stream(), new_events(10))
    with place.client.subscribe_to_all(
        commit_position=start,
        filter_exclude=".*",
        include_checkpoints=True,
        window_size=1,
        checkpoint_interval_multiplier=1,
    ) as subscription:
        reached = start
        while reached < end:
            message = next(subscription)
            assert isinstance(message, Checkpoint), message
            assert message.commit_position > reached
            reached = message.commit_position
        same(reached, end)


@check
def a_checkpoint_comes_every_window_times_multiplier_events(place):
    start = place.client.get_commit_position(filter_exclude=())
    append(place, new_stream(), new_events(60, "Unwanted"))
    with place.client.subscribe_to_all(
        commit_position=start,
        filter_include="NothingHasThisType",
        include_checkpoints=True,
        include_caught_up=True,
        window_size=5,
        checkpoint_interval_multiplier=4,
    ) as subscription:
        checkpoints = []
        for message in subscription:
            if isinstance(message, CaughtUp):
                break
            checkpoints.append(message.commit_position)
    assert len(checkpoints) >= 3, checkpoints
    log = place.client.read_all(commit_position=start + 1, filter_exclude=())
    positions = [event.commit_position for event in log]
    same(checkpoints[:3], [positions[at] for at in (19, 39, 59)])


@check
def nothing_is_missed_or_repeated_after_a_checkpoint(place):
    start = place.client.get_commit_position(filter_exclude=())
    wanted = new_stream("Wanted")
    with place.client.subscribe_to_all(
        commit_position=start,
        filter_include=wanted,
        include_checkpoints=True,
        window_size=2,
        checkpoint_interval_multiplier=1,
    ) as subscription:
        append(place, new_stream(), new_events(20, "Unwanted"))
        checkpoint = next(subscription)
        assert isinstance(checkpoint, Checkpoint), checkpoint
    event = new_event(wanted)
    append(place, new_stream(), event)
    with place.client.subscribe_to_all(
        commit_position=checkpoint.commit_position, filter_include=wanted
    ) as subscription:
        same(ids(take(subscription, 1)), [event.id])


@check
def a_live_filtered_subscription_that_gets_nothing_is_told_how_far_it_is(place):
    with place.client.subscribe_to_all(
        from_end=True, filter_include="NothingHasThisType", include_checkpoints=True
    ) as subscription:
        end = append(place, new_stream(), new_events(10))
        for message in subscription:
            if message.commit_position >= end:
                break


@check
def a_subscription_that_is_stopped_ends(place):
    stream = new_stream()
    append(place, stream, new_events(3))
    for subscription in (
        place.client.subscribe_to_stream(stream),
        place.client.subscribe_to_all(),
        place.client.subscribe_to_stream(new_stream()),
    ):
        subscription.stop()
        same(list(subscription), [])


@check
def a_subscription_ends_at_its_deadline(place):
    stream = new_stream()
    append(place, stream, new_events(3))
    subscription = place.client.subscribe_to_stream(stream, timeout=1)
    same(len(take(subscription, 3)), 3)
    with raises(GrpcDeadlineExceededError):
        next(subscription)


@check
def a_tombstone_ends_the_subscriptions_of_its_stream(place):
    stream = new_stream()
    append(place, stream, new_event())
    with place.client.subscribe_to_stream(stream) as subscription:
        take(subscription, 1)
        place.client.tombstone_stream(stream, current_version=ANY)
        with raises(StreamIsDeletedError):
            next(subscription)
    with raises(StreamIsDeletedError):
        next(place.client.subscribe_to_stream(stream))


@check
def a_stream_is_followed_through_its_deletion_and_rebirth(place):
    stream, events = new_stream(), new_events(4)
    append(place, stream, events[:2])
    with place.client.subscribe_to_stream(stream) as subscription:
        same(ids(take(subscription, 2)), ids(events[:2]))
        place.client.delete_stream(stream, current_version=1)
        append(place, stream, events[2:])
        found = take(subscription, 2)
        same(ids(found), ids(events[2:]))
        same([event.stream_position for event in found], [2, 3])


@check
def many_subscriptions_get_the_same(place):
    stream, events = new_stream(), new_events(20)
    subscriptions = [place.client.subscribe_to_stream(stream) for _ in range(50)]
    append(place, stream, events)
    for subscription in subscriptions:
        with subscription:
            same(ids(take(subscription, 20)), ids(events))


@check
def a_slow_consumer_gets_everything_in_order_and_holds_up_nobody(place):
    stream = new_stream()
    with place.client.subscribe_to_stream(stream) as slow:
        wanted = []
        for _ in range(20):
            events = [new_event(data=b"x" * 8_000) for _ in range(100)]
            append(place, stream, events)
            wanted += ids(events)
        with place.client.subscribe_to_stream(stream) as quick:
            same(ids(take(quick, 2_000)), wanted)
        same(ids(take(slow, 2_000)), wanted)
