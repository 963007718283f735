"""Clients and subscriptions through a node that stops, dies and comes back."""

import time

from kurrentdbclient import StreamState
from kurrentdbclient.events import Checkpoint
from kurrentdbclient.exceptions import ServiceUnavailableError

from suite import check, ids, new_event, new_events, new_stream, own_node, raises, same

ANY, NO_STREAM = StreamState.ANY, StreamState.NO_STREAM

SECONDS_TO_CONNECT_MAX = 20
ENDINGS = ("stop", "kill")


@check
def everything_acknowledged_is_there_after_a_restart(place):
    with own_node() as (node, client):
        stream, events = new_stream(), new_events(30)
        positions = []
        for ending in (*ENDINGS, *ENDINGS):
            for _ in range(5):
                event = events[len(positions)]
                positions.append(client.append_to_stream(stream, current_version=ANY, events=event))
            getattr(node, ending)()
            node.start()
            read = client.get_stream(stream)
            same(ids(read), ids(events[: len(positions)]))
            same([event.commit_position for event in read], positions)


@check
def a_retry_is_recognised_after_a_restart(place):
    with own_node() as (node, client):
        stream, events = new_stream(), new_events(3)
        position = client.append_to_stream(stream, current_version=NO_STREAM, events=events)
        for ending in ENDINGS:
            getattr(node, ending)()
            node.start()
            for version in (NO_STREAM, ANY):
                again = client.append_to_stream(stream, current_version=version, events=events)
                same(again, position)
        same(len(client.get_stream(stream)), 3)


@check
def deletions_and_metadata_hold_after_a_restart(place):
    with own_node() as (node, client):
        gone, cut = new_stream(), new_stream()
        for stream in (gone, cut):
            client.append_to_stream(stream, current_version=NO_STREAM, events=new_events(4))
        client.delete_stream(gone, current_version=3)
        client.set_stream_metadata(cut, metadata={"$tb": 3, "mine": [1]})
        node.kill()
        node.start()
        same(client.get_current_version(gone), NO_STREAM)
        same([event.stream_position for event in client.get_stream(cut)], [3])
        same(client.get_stream_metadata(cut), ({"$tb": 3, "mine": [1]}, 0))
        client.append_to_stream(gone, current_version=3, events=new_event())
        same(client.get_current_version(gone), 4)


@check
def a_subscription_ends_with_an_error_when_its_node_goes(place):
    for ending in ENDINGS:
        with own_node() as (node, client):
            stream = new_stream()
            client.append_to_stream(stream, current_version=NO_STREAM, events=new_event())
            for follow in (lambda: client.subscribe_to_stream(stream), client.subscribe_to_all):
                subscription = follow()
                next(subscription)
                getattr(node, ending)()
                with raises(ServiceUnavailableError):
                    next(subscription)
                node.start()


@check
def a_stream_is_followed_through_restarts_without_gap_or_repetition(place):
    with own_node() as (node, client):
        stream, events, seen = new_stream(), new_events(40), []
        for round_, ending in enumerate((*ENDINGS, *ENDINGS)):
            after = len(seen) - 1 if seen else None
            subscription = client.subscribe_to_stream(stream, stream_position=after)
            batch = events[round_ * 10 : round_ * 10 + 10]
            client.append_to_stream(stream, current_version=ANY, events=batch)
            seen += [next(subscription).id for _ in range(7)]
            getattr(node, ending)()
            node.start()
        rest = client.subscribe_to_stream(stream, stream_position=len(seen) - 1)
        seen += [next(rest).id for _ in range(40 - len(seen))]
        rest.stop()
        same(seen, ids(events))


@check
def the_log_is_followed_through_restarts_from_events_and_checkpoints(place):
    with own_node() as (node, client):
        events, seen, at = new_events(40, "Wanted"), [], None
        for round_, ending in enumerate((*ENDINGS, *ENDINGS)):
            subscription = client.subscribe_to_all(
                commit_position=at,
                filter_include="Wanted",
                include_checkpoints=True,
                window_size=2,
                checkpoint_interval_multiplier=2,
            )
            batch = events[round_ * 10 : round_ * 10 + 10]
            client.append_to_stream(new_stream(), current_version=ANY, events=batch)
            client.append_to_stream(new_stream(), current_version=ANY, events=new_events(9, "Not"))
            while len(seen) < round_ * 10 + 10 or not isinstance(message, Checkpoint):
                message = next(subscription)
                at = message.commit_position
                if not isinstance(message, Checkpoint):
                    seen.append(message.id)
            getattr(node, ending)()
            node.start()
        same(seen, ids(events))


def found_again(client, stream):
    """The client waits between attempts to connect, and says so meanwhile."""
    deadline = time.monotonic() + SECONDS_TO_CONNECT_MAX
    while True:
        try:
            return client.get_stream(stream)
        except ServiceUnavailableError:
            if time.monotonic() > deadline:
                raise


@check
def a_client_finds_its_node_again(place):
    with own_node() as (node, client):
        stream = new_stream()
        for number, ending in enumerate(ENDINGS):
            client.append_to_stream(stream, current_version=ANY, events=new_event())
            getattr(node, ending)()
            with raises(ServiceUnavailableError):
                client.get_stream(stream)
            node.start()
            same(len(found_again(client, stream)), number + 1)
