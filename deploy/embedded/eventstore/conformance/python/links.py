"""Links: events of type `$>` that stand for `revision@stream`."""

from kurrentdbclient import NewEvent, StreamState

from suite import check, ids, new_event, new_events, new_stream, same

ANY, NO_STREAM = StreamState.ANY, StreamState.NO_STREAM


def link(target):
    return NewEvent(type="$>", data=target.encode(), content_type="application/octet-stream")


def linked(place, count=4):
    """A stream of links to every second event of another, and those events."""
    target, stream = new_stream("with@at"), new_stream("links")
    events = new_events(count)
    place.client.append_to_stream(target, current_version=NO_STREAM, events=events)
    wanted = list(range(0, count, 2))
    links = [link(f"{revision}@{target}") for revision in wanted]
    place.client.append_to_stream(stream, current_version=NO_STREAM, events=links)
    return target, stream, links, [events[at] for at in wanted]


@check
def a_link_is_an_event_like_any_other_until_it_is_resolved(place):
    target, stream, links, _ = linked(place)
    read = place.client.get_stream(stream)
    same(ids(read), ids(links))
    same([event.type for event in read], ["$>", "$>"])
    same(read[1].data, f"2@{target}".encode())


@check
def a_resolved_link_is_the_event_it_stands_for_and_itself(place):
    target, stream, links, events = linked(place)
    for backwards in (False, True):
        read = place.client.get_stream(stream, resolve_links=True, backwards=backwards)
        read = read[::-1] if backwards else read
        same(ids(read), ids(events))
        same([event.stream_name for event in read], [target] * 2)
        same([event.stream_position for event in read], [0, 2])
        same([event.link.id for event in read], ids(links))
        same([event.link.stream_name for event in read], [stream] * 2)
        same([event.link.stream_position for event in read], [0, 1])


@check
def links_are_resolved_in_the_log(place):
    start = place.client.get_commit_position(filter_exclude=())
    target, stream, links, events = linked(place)
    everything = {"commit_position": start + 1, "filter_exclude": ()}
    plain = place.client.read_all(**everything)
    same(ids(plain)[4:], ids(links))
    resolved = place.client.read_all(resolve_links=True, **everything)
    same(ids(resolved)[4:], ids(events))


@check
def a_link_to_what_is_gone_is_left_out_by_the_client(place):
    target, stream, links, _ = linked(place)
    place.client.delete_stream(target, current_version=ANY)
    more = [link(f"7@{new_stream()}"), link("no link at all"), new_event()]
    place.client.append_to_stream(stream, current_version=1, events=more)
    same(ids(place.client.get_stream(stream, resolve_links=True)), [more[2].id])
    same(ids(place.client.get_stream(stream)), ids([*links, *more]))


@check
def links_are_resolved_in_subscriptions(place):
    target, stream, links, events = linked(place)
    start = place.client.get_stream(stream)[0].commit_position - 1
    everything = {"commit_position": start, "filter_exclude": ()}
    for subscription in (
        place.client.subscribe_to_stream(stream, resolve_links=True),
        place.client.subscribe_to_all(resolve_links=True, **everything),
    ):
        with subscription:
            found = [next(subscription) for _ in range(2)]
            same(ids(found), ids(events))
            same([event.link.id for event in found], ids(links))
    with place.client.subscribe_to_stream(
        stream, resolve_links=True, from_end=True
    ) as subscription:
        place.client.append_to_stream(
            stream, current_version=1, events=link(f"3@{target}")
        )
        same(next(subscription).stream_position, 3)


@check
def a_link_to_a_link_is_resolved_once(place):
    _, stream, links, _ = linked(place)
    over = new_stream("over")
    place.client.append_to_stream(over, current_version=NO_STREAM, events=link(f"0@{stream}"))
    [read] = place.client.get_stream(over, resolve_links=True)
    same((read.id, read.type), (links[0].id, "$>"))


@check
def resolving_leaves_other_events_alone(place):
    stream, event = new_stream(), new_event(data=b"0@somewhere")
    place.client.append_to_stream(stream, current_version=NO_STREAM, events=event)
    [read] = place.client.get_stream(stream, resolve_links=True)
    same((read.id, read.link), (event.id, None))
