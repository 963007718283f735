"""Filters of the whole log: by type and by stream, expressions and prefixes, the defaults."""

from kurrentdbclient import KDB_SYSTEM_EVENTS_REGEX, StreamState
from kurrentdbclient.exceptions import GrpcError

from suite import check, ids, new_event, new_events, new_stream, raises, same

NO_STREAM = StreamState.NO_STREAM
KINDS = [f"{what}{how}" for what in ("Order", "Invoice") for how in ("Made", "Changed", "Dropped")]


def one_of_each(place):
    """The position of the first of a new stream's events, one of each kind."""
    stream = new_stream()
    first = place.client.append_to_stream(
        stream, current_version=NO_STREAM, events=new_event("Begun")
    )
    events = [new_event(kind) for kind in KINDS]
    place.client.append_to_stream(stream, current_version=0, events=events)
    return first


def kinds(place, first, **filters):
    return [event.type for event in place.client.read_all(commit_position=first, **filters)]


@check
def a_type_is_included_by_its_whole_name_or_an_expression(place):
    first = one_of_each(place)
    for include, wanted in (
        ("OrderMade", ["OrderMade"]),
        (["OrderMade", "InvoiceMade"], ["OrderMade", "InvoiceMade"]),
        ("Order", []),
        ("Order.*", KINDS[:3]),
        (".*Made", ["OrderMade", "InvoiceMade"]),
        (r"(Order|Invoice)(?!Made).+", [kind for kind in KINDS if not kind.endswith("Made")]),
        (r"\w+Made", ["OrderMade", "InvoiceMade"]),
    ):
        same(kinds(place, first, filter_include=include), wanted)


@check
def a_type_is_excluded_by_its_whole_name_or_an_expression(place):
    first = one_of_each(place)
    for exclude, wanted in (
        ("OrderMade", KINDS[1:]),
        ("Order", KINDS),
        ("Order.*", KINDS[3:]),
        (".*Made", [kind for kind in KINDS if not kind.endswith("Made")]),
        (".*", []),
    ):
        found = kinds(place, first, filter_exclude=[KDB_SYSTEM_EVENTS_REGEX, "Begun", exclude])
        same(found, wanted)


@check
def the_default_filter_leaves_out_what_the_system_wrote(place):
    first = one_of_each(place)
    stream = new_stream()
    place.client.set_stream_metadata(stream, metadata={"$maxCount": 3})
    place.client.append_to_stream(stream, current_version=NO_STREAM, events=new_event("$own"))
    place.client.append_to_stream(stream, current_version=0, events=new_event("Last"))
    same(kinds(place, first), ["Begun", *KINDS, "Last"])
    everything = kinds(place, first, filter_exclude=())
    same(everything, ["Begun", *KINDS, "$metadata", "$own", "Last"])


@check
def inclusion_wins_over_exclusion(place):
    first = one_of_each(place)
    found = kinds(place, first, filter_include=["OrderMade"], filter_exclude=["OrderMade"])
    same(found, ["OrderMade"])


@check
def a_type_is_included_by_its_prefix(place):
    first = one_of_each(place)
    for prefixes, wanted in (
        (["Order"], KINDS[:3]),
        (["OrderM", "InvoiceD"], ["OrderMade", "InvoiceDropped"]),
        (["Order.*"], []),
        (["rder"], []),
    ):
        same(kinds(place, first, filter_include=prefixes, filter_by_prefix=True), wanted)


@check
def a_stream_is_included_by_name_expression_or_prefix(place):
    names = [new_stream("left"), new_stream("left"), new_stream("right")]
    first = None
    for name in names:
        position = place.client.append_to_stream(
            name, current_version=NO_STREAM, events=new_event()
        )
        first = first or position

    def streams(**filters):
        read = place.client.read_all(
            commit_position=first, filter_by_stream_name=True, **filters
        )
        return [event.stream_name for event in read]

    same(streams(filter_include=names[:2]), names[:2])
    same(streams(filter_include="left-.*"), names[:2])
    same(streams(filter_include="left"), [])
    same(streams(filter_include=["left-"], filter_by_prefix=True), names[:2])
    same(streams(filter_include=["left-", "right"], filter_by_prefix=True), names)
    same(streams(filter_exclude=["left.*"]), names[2:])
    same(streams(filter_exclude=["left"]), names)


@check
def a_filtered_read_goes_backwards_and_stops_at_its_limit(place):
    kind = new_stream("kind")
    wanted = []
    for _ in range(4):
        event = new_event(kind)
        wanted.append(event.id)
        events = [*new_events(700, "Between"), event]
        place.client.append_to_stream(new_stream(), current_version=NO_STREAM, events=events)
    filters = {"filter_include": kind}
    same(ids(place.client.read_all(**filters)), wanted)
    same(ids(place.client.read_all(backwards=True, **filters)), wanted[::-1])
    same(ids(place.client.read_all(limit=2, **filters)), wanted[:2])
    same(ids(place.client.read_all(backwards=True, limit=3, **filters)), wanted[:0:-1])
    found = list(place.client.read_all(limit=2, **filters))
    rest = place.client.read_all(commit_position=found[1].commit_position, **filters)
    same(ids(rest), wanted[1:])


@check
def a_filter_that_is_no_expression_is_refused_and_nothing_breaks(place):
    with raises(GrpcError) as caught:
        list(place.client.read_all(filter_include="(never closed"))
    assert "INVALID_ARGUMENT" in str(caught.error), caught.error
    assert kinds(place, one_of_each(place))
