//! Events that stand for others.

use bytes::Bytes;

use super::api::{
    self, Client, EventData, Expected, ReadAllOptions, ReadStreamOptions, StreamMetadataBuilder,
    StreamPosition, SubscribeToStreamOptions, SubscriptionEvent,
};
use super::words::{add, append, at, connect, next, read, read_all, whole};
use crate::checks;
use crate::world::World;

checks![
    a_link_is_read_as_what_it_stands_for,
    a_link_is_itself_to_whoever_does_not_ask,
    a_link_to_nothing_is_a_link_alone,
    a_link_to_what_is_hidden_is_a_link_alone,
    a_link_in_the_log_is_read_as_what_it_stands_for,
    a_link_is_followed_as_what_it_stands_for,
];

async fn link(client: &Client, from: &str, to: &str) {
    let data = Bytes::from(to.to_owned());
    let event = EventData::binary("$>", data);
    append(client, from, Expected::Any, vec![event])
        .await
        .expect("anybody may");
}

async fn resolved(client: &Client, stream: &str) -> Vec<api::ResolvedEvent> {
    let options = ReadStreamOptions::default().resolve_link_tos();
    read(client, stream, &options).await.expect("it is there")
}

async fn a_link_is_read_as_what_it_stands_for(world: World) {
    let client = connect(&world);
    let (target, stream) = (world.name("target"), world.name("links"));
    add(&client, &target, "zero", 1).await;
    add(&client, &target, "one", 1).await;
    link(&client, &stream, &format!("1@{target}")).await;
    add(&client, &stream, "plain", 1).await;
    let found = resolved(&client, &stream).await;
    let [link, plain] = found.as_slice() else {
        panic!("{found:?}");
    };
    let event = link.event.as_ref().expect("it is there");
    assert_eq!((event.event_type.as_str(), event.revision), ("one", 1));
    assert_eq!(api::stream_of(event), target);
    let link = link.link.as_ref().expect("it was found through one");
    assert_eq!((link.event_type.as_str(), link.revision), ("$>", 0));
    assert_eq!(api::stream_of(link), stream);
    assert!(plain.link.is_none() && plain.event.is_some());
}

async fn a_link_is_itself_to_whoever_does_not_ask(world: World) {
    let client = connect(&world);
    let (target, stream) = (world.name("target"), world.name("links"));
    add(&client, &target, "zero", 1).await;
    link(&client, &stream, &format!("0@{target}")).await;
    let found = whole(&client, &stream).await;
    let event = found[0].event.as_ref().expect("it is there");
    assert_eq!(event.event_type, "$>");
    assert_eq!(event.data, format!("0@{target}"));
    assert!(found[0].link.is_none());
}

async fn a_link_to_nothing_is_a_link_alone(world: World) {
    let client = connect(&world);
    let (target, stream) = (world.name("target"), world.name("links"));
    add(&client, &target, "zero", 1).await;
    for to in [format!("7@{target}"), "0@nowhere".into(), "nonsense".into()] {
        link(&client, &stream, &to).await;
    }
    let found = resolved(&client, &stream).await;
    assert_eq!(found.len(), 3);
    assert!(
        found
            .iter()
            .all(|it| it.event.is_none() && it.link.is_some())
    );
}

async fn a_link_to_what_is_hidden_is_a_link_alone(world: World) {
    let client = connect(&world);
    let (target, gone, stream) = (
        world.name("target"),
        world.name("gone"),
        world.name("links"),
    );
    add(&client, &target, "x", 3).await;
    add(&client, &gone, "x", 1).await;
    for to in [
        format!("0@{target}"),
        format!("2@{target}"),
        format!("0@{gone}"),
    ] {
        link(&client, &stream, &to).await;
    }
    let metadata = StreamMetadataBuilder::new().truncate_before(1).build();
    client
        .set_stream_metadata(target.as_str(), &Default::default(), &metadata)
        .await
        .expect("anybody may");
    let for_ever = api::tombstoning(Expected::Any);
    client
        .tombstone_stream(gone.as_str(), &for_ever)
        .await
        .expect("it is there");
    let found = resolved(&client, &stream).await;
    let there: Vec<bool> = found.iter().map(|it| it.event.is_some()).collect();
    assert_eq!(there, [false, true, false]);
}

async fn a_link_in_the_log_is_read_as_what_it_stands_for(world: World) {
    let client = connect(&world);
    let (target, stream) = (world.name("target"), world.name("links"));
    let position = add(&client, &target, "zero", 1).await;
    link(&client, &stream, &format!("0@{target}")).await;
    let options = ReadAllOptions::default()
        .position(at(position))
        .max_count(2);
    let found = read_all(&client, &options.resolve_link_tos()).await;
    let found = found.expect("it is there");
    let [original, linked] = found.as_slice() else {
        panic!("{found:?}");
    };
    let id = |it: &api::ResolvedEvent| it.event.as_ref().map(|event| event.id);
    assert!(original.link.is_none() && linked.link.is_some());
    assert_eq!(id(original), id(linked));
    // Where it was found, not what it stands for.
    assert!(linked.commit_position > original.commit_position);
}

async fn a_link_is_followed_as_what_it_stands_for(world: World) {
    let client = connect(&world);
    let (target, stream) = (world.name("target"), world.name("links"));
    add(&client, &target, "zero", 1).await;
    let options = SubscribeToStreamOptions::default()
        .start_from(StreamPosition::Start)
        .resolve_link_tos();
    let mut follower = client.subscribe_to_stream(stream.as_str(), &options).await;
    link(&client, &stream, &format!("0@{target}")).await;
    loop {
        if let SubscriptionEvent::EventAppeared(event) =
            next(&mut follower).await.expect("it goes on")
        {
            assert_eq!(event.event.expect("it is there").event_type, "zero");
            assert!(event.link.is_some());
            return;
        }
    }
}
