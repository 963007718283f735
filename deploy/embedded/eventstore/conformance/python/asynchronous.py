"""The asynchronous client, which has a connection of another make."""

import asyncio

from kurrentdbclient import AsyncKurrentDBClient, StreamState
from kurrentdbclient.events import CaughtUp
from kurrentdbclient.exceptions import (
    GrpcDeadlineExceededError,
    NotFoundError,
    StreamIsDeletedError,
    WrongCurrentVersionError,
)

from suite import check, ids, new_event, new_events, new_stream, raises, same

ANY, NO_STREAM = StreamState.ANY, StreamState.NO_STREAM


def with_client(place, work):
    async def whole():
        client = AsyncKurrentDBClient(f"esdb://127.0.0.1:{place.node.port}?tls=false")
        await client.connect()
        async with client:
            await work(client)

    asyncio.run(whole())


@check
def the_asynchronous_client_appends_and_reads(place):
    async def work(client):
        stream, events = new_stream(), new_events(5)
        await client.append_to_stream(stream, current_version=NO_STREAM, events=events[0])
        position = await client.append_to_stream(stream, current_version=0, events=events[1:])
        same(ids(await client.get_stream(stream)), ids(events))
        same(await client.get_commit_position(), position)
        same(await client.append_to_stream(stream, current_version=0, events=events[1:]), position)
        with raises(WrongCurrentVersionError):
            await client.append_to_stream(stream, current_version=0, events=[new_event()])
        log = await client.read_all(backwards=True, limit=5)
        same([event.id async for event in log], ids(events)[::-1])

    with_client(place, work)


@check
def the_asynchronous_client_subscribes(place):
    async def work(client):
        stream, events = new_stream(), new_events(4)
        await client.append_to_stream(stream, current_version=ANY, events=events[:2])
        subscription = await client.subscribe_to_stream(stream, include_caught_up=True)
        async with subscription:
            same([(await anext(subscription)).id for _ in range(2)], ids(events[:2]))
            assert isinstance(await anext(subscription), CaughtUp)
            await client.append_to_stream(stream, current_version=ANY, events=events[2:])
            same([(await anext(subscription)).id for _ in range(2)], ids(events[2:]))

    with_client(place, work)


@check
def the_asynchronous_client_deletes(place):
    async def work(client):
        stream = new_stream()
        with raises(NotFoundError):
            await client.delete_stream(stream, current_version=ANY)
        await client.append_to_stream(stream, current_version=ANY, events=new_events(2))
        await client.set_stream_metadata(stream, metadata={"a": 1})
        same(await client.get_stream_metadata(stream), ({"a": 1}, 0))
        await client.delete_stream(stream, current_version=1)
        with raises(NotFoundError):
            await client.get_stream(stream)
        await client.tombstone_stream(stream, current_version=ANY)
        with raises(StreamIsDeletedError):
            await client.append_to_stream(stream, current_version=ANY, events=[new_event()])

    with_client(place, work)


@check
def the_asynchronous_client_does_many_things_at_once(place):
    async def work(client):
        streams = [new_stream() for _ in range(100)]
        await asyncio.gather(
            *(client.append_to_stream(it, current_version=ANY, events=new_events(3)) for it in streams)
        )
        read = await asyncio.gather(*(client.get_stream(it) for it in streams))
        same([len(events) for events in read], [3] * 100)

    with_client(place, work)


@check
def the_asynchronous_client_has_deadlines(place):
    async def work(client):
        subscription = await client.subscribe_to_stream(new_stream(), timeout=0.5)
        with raises(GrpcDeadlineExceededError):
            await anext(subscription)

    with_client(place, work)
