"""Ways to connect, gossip, and what is not served."""

import grpc
from kurrentdbclient import StreamState
from kurrentdbclient.exceptions import (
    DiscoveryFailedError,
    FollowerNotFoundError,
    GrpcError,
    ReadOnlyReplicaNotFoundError,
)

from node import free_port
from suite import KurrentDBClient, check, connect, new_event, new_stream, raises, same

ANY = StreamState.ANY


def works(client):
    """It appends and reads; it is closed then."""
    stream = new_stream()
    with client:
        client.append_to_stream(stream, current_version=ANY, events=new_event())
        same(len(client.get_stream(stream)), 1)


@check
def every_scheme_connects(place):
    for scheme in ("esdb", "kdb", "kurrentdb"):
        works(connect(place.node, scheme))
        works(connect(place.node, f"{scheme}+discover"))


@check
def the_node_is_found_among_seeds_that_do_not_answer(place):
    seeds = f"127.0.0.1:{free_port()},127.0.0.1:{place.node.port}"
    works(KurrentDBClient(f"esdb://{seeds}?tls=false"))


@check
def seeds_of_which_none_answers_are_an_error(place):
    seeds = f"127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
    with raises(DiscoveryFailedError):
        KurrentDBClient(f"esdb://{seeds}?tls=false&MaxDiscoverAttempts=2&GossipTimeout=1")


@check
def the_only_node_leads(place):
    for preference in ("leader", "random"):
        works(connect(place.node, "esdb+discover", f"&NodePreference={preference}"))
    for preference, error in (
        ("follower", FollowerNotFoundError),
        ("readonlyreplica", ReadOnlyReplicaNotFoundError),
    ):
        options = f"&NodePreference={preference}&MaxDiscoverAttempts=1"
        with raises(error):
            connect(place.node, "esdb+discover", options)


@check
def gossip_has_one_member_that_leads(place):
    for host in ("127.0.0.1", "localhost"):
        with KurrentDBClient(f"esdb://{host}:{place.node.port}?tls=false") as client:
            [member] = client.read_gossip()
            same((member.state, member.address), ("NODE_STATE_LEADER", host))
            same(member.port, place.node.port)
            works(client)


@check
def options_and_names_do_no_harm(place):
    options = "&ConnectionName=me&KeepAliveInterval=1000&KeepAliveTimeout=1000&DefaultDeadline=30"
    works(connect(place.node, "esdb", options))


@check
def credentials_are_taken_and_not_looked_at(place):
    works(KurrentDBClient(f"esdb://admin:changeit@127.0.0.1:{place.node.port}?tls=false"))


@check
def what_is_not_served_says_so_and_breaks_nothing(place):
    client = place.client
    for call in (
        lambda: client.create_subscription_to_all("group"),
        lambda: client.create_subscription_to_stream("group", new_stream()),
        lambda: next(client.read_subscription_to_all("group")),
        lambda: client.get_subscription_info("group"),
        lambda: client.delete_subscription("group"),
        lambda: client.replay_parked_events("group"),
        lambda: client.create_projection(name="p", query="fromAll()"),
        lambda: client.get_projection_statistics(name="p"),
        client.restart_projections_subsystem,
    ):
        with raises(GrpcError) as caught:
            call()
        assert grpc.StatusCode.UNIMPLEMENTED.name in str(caught.error), caught.error
    same(client.list_subscriptions(), [])
    same(client.list_subscriptions_to_stream(new_stream()), [])
    works(connect(place.node))
    stream = new_stream()
    client.append_to_stream(stream, current_version=ANY, events=new_event())
    same(client.get_current_version(stream), 0)
