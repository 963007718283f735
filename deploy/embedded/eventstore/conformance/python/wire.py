"""What older and other clients say and see on the wire, said with the client's own messages."""

import uuid

import grpc
from kurrentdbclient import StreamState
from kurrentdbclient.protos.v1 import shared_pb2, streams_pb2, streams_pb2_grpc

from suite import check, new_events, new_stream, same

EMPTY = shared_pb2.Empty()


def name(stream):
    return shared_pb2.StreamIdentifier(stream_name=stream.encode())


class Wire:
    """The `Streams` service without a client in between."""

    def __init__(self, place):
        self.channel = grpc.insecure_channel(f"127.0.0.1:{place.node.port}")
        self.stub = streams_pb2_grpc.StreamsStub(self.channel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def read(self, headers=(), **options):
        request = streams_pb2.ReadReq(options=streams_pb2.ReadReq.Options(**options))
        return list(self.stub.Read(request, metadata=headers, timeout=20))

    def refused(self, **options):
        try:
            self.read(**options)
        except grpc.RpcError as error:
            return error.code().name
        raise AssertionError("it was not refused")


def whole(of, **more):
    Options = streams_pb2.ReadReq.Options
    wanted = {
        "stream": Options.StreamOptions(stream_identifier=name(of), start=EMPTY),
        "count": 100,
        "no_filter": EMPTY,
        "uuid_option": Options.UUIDOption(string=EMPTY),
    }
    return {**wanted, **more}


def written(place, count):
    stream, events = new_stream(), new_events(count)
    place.client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events)
    return stream, events


@check
def ids_are_written_as_the_reader_asks(place):
    stream, [event] = written(place, 1)
    with Wire(place) as wire:
        [text] = wire.read(**whole(stream))
        same(text.event.event.id.string, str(event.id))
        structured = streams_pb2.ReadReq.Options.UUIDOption(structured=EMPTY)
        [parts] = wire.read(**whole(stream, uuid_option=structured))
        found = parts.event.event.id.structured
        mask = 2**64 - 1
        high, low = found.most_significant_bits & mask, found.least_significant_bits & mask
        same(uuid.UUID(int=high << 64 | low), event.id)


@check
def a_client_that_knows_them_is_told_the_first_and_last_revision(place):
    # Of the first, only when the page it asks for is gone.
    stream, _ = written(place, 40)
    place.client.set_stream_metadata(stream, metadata={"$tb": 37})
    control = streams_pb2.ReadReq.Options.ControlOption(compatibility=1)
    with Wire(place) as wire:
        kinds = [it.WhichOneof("content") for it in wire.read(**whole(stream))]
        same(kinds, ["event"] * 3)
        found = wire.read(**whole(stream, control_option=control))
        ends = {it.WhichOneof("content"): it for it in found}
        same(ends["first_stream_position"].first_stream_position, 37)
        same(ends["last_stream_position"].last_stream_position, 39)


@check
def a_read_that_makes_no_sense_is_refused(place):
    Options = streams_pb2.ReadReq.Options
    stream, _ = written(place, 1)
    named = Options.FilterOptions.Expression(regex="x")
    both = Options.FilterOptions(stream_identifier=named, count=EMPTY, checkpointIntervalMultiplier=1)
    subscription = Options.SubscriptionOptions()
    everything = {"all": Options.AllOptions(start=EMPTY), "stream": None}
    with Wire(place) as wire:
        for more in (
            {"no_filter": None, "filter": both},
            {"count": None, "subscription": subscription, "read_direction": Options.Backwards},
            {**everything, "count": None, "subscription": subscription,
             "read_direction": Options.Backwards},
            {"count": None},
            {"stream": None},
        ):
            same(wire.refused(**whole(stream, **more)), "INVALID_ARGUMENT")


@check
def headers_that_ask_for_a_leader_or_name_a_user_are_taken(place):
    stream, _ = written(place, 1)
    headers = (
        ("requires-leader", "true"),
        ("authorization", "Basic YWRtaW46Y2hhbmdlaXQ="),
        ("connection-name", "me"),
    )
    with Wire(place) as wire:
        same(len(wire.read(headers, **whole(stream))), 1)


@check
def one_call_takes_many_batches_in_parts_and_answers_each(place):
    Batch = streams_pb2.BatchAppendReq
    streams = [new_stream() for _ in range(3)]
    correlations = [shared_pb2.UUID(string=str(uuid.uuid4())) for _ in streams]

    def proposed():
        properties = {"type": "Happened", "content-type": "application/json"}
        one = shared_pb2.UUID(string=str(uuid.uuid4()))
        return Batch.ProposedMessage(id=one, metadata=properties, data=b"{}")

    def parts():
        for stream, correlation in zip(streams, correlations):
            options = Batch.Options(stream_identifier=name(stream))
            options.no_stream.SetInParent()
            yield Batch(correlation_id=correlation, options=options, is_final=False)
        for final in (False, True):
            for correlation in correlations:
                messages = [proposed(), proposed()]
                yield Batch(
                    correlation_id=correlation, proposed_messages=messages, is_final=final
                )

    with Wire(place) as wire:
        answers = list(wire.stub.BatchAppend(parts(), timeout=20))
    same([it.WhichOneof("result") for it in answers], ["success"] * 3)
    same({it.stream_identifier.stream_name.decode() for it in answers}, set(streams))
    for stream in streams:
        same(place.client.get_current_version(stream), 3)


@check
def a_refused_delete_says_which_exception_it_was(place):
    stream, _ = written(place, 2)
    options = streams_pb2.DeleteReq.Options(stream_identifier=name(stream), revision=7)
    with Wire(place) as wire:
        try:
            wire.stub.Delete(streams_pb2.DeleteReq(options=options), timeout=20)
        except grpc.RpcError as error:
            same(error.code(), grpc.StatusCode.FAILED_PRECONDITION)
            trailers = dict(error.trailing_metadata())
            same(trailers["exception"], "wrong-expected-version")
            same(trailers["stream-name"], stream)
            same((trailers["expected-version"], trailers["actual-version"]), ("7", "1"))
            return
    raise AssertionError("it was not refused")


@check
def a_wrong_version_is_told_to_clients_of_every_age(place):
    stream, _ = written(place, 2)

    def messages():
        options = streams_pb2.AppendReq.Options(stream_identifier=name(stream), revision=7)
        yield streams_pb2.AppendReq(options=options)
        message = streams_pb2.AppendReq.ProposedMessage(
            id=shared_pb2.UUID(string=str(uuid.uuid4())),
            metadata={"type": "Happened", "content-type": "application/json"},
        )
        yield streams_pb2.AppendReq(proposed_message=message)

    with Wire(place) as wire:
        wrong = wire.stub.Append(messages(), timeout=20).wrong_expected_version
    same((wrong.current_revision, wrong.expected_revision), (1, 7))
    same((wrong.current_revision_20_6_0, wrong.expected_revision_20_6_0), (1, 7))
