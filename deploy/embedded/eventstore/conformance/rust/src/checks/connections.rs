//! Finding a node and asking what it can do.

use super::api::{Error, Expected, ReadStreamOptions};
use super::words::{add, append, connect, connect_with, event, read, whole};
use crate::checks;
use crate::world::World;

checks![
    the_server_is_named_with_a_version_and_knows_batches,
    a_leader_is_found_among_several_addresses,
    gossip_names_one_living_leader_and_how_far_it_is,
    credentials_are_taken_and_not_needed,
    a_node_that_must_lead_does,
    what_is_not_served_is_unsupported_and_the_connection_goes_on,
];

async fn the_server_is_named_with_a_version_and_knows_batches(world: World) {
    let client = connect(&world);
    let info = client.server_info().await.expect("it answers");
    assert!(info.version() >= (24, 10), "{}", info.version());
    use super::api::operations::Features;
    assert!(info.contains_features(Features::BATCH_APPEND));
    let unserved = Features::PERSISTENT_SUBSCRIPTION_MANAGEMENT;
    assert!(!info.contains_features(unserved));
}

async fn a_leader_is_found_among_several_addresses(world: World) {
    let port = world.port;
    let client = connect_with(&format!(
        "esdb://localhost:{port},127.0.0.1:{port}?tls=false&nodePreference=leader&discoveryInterval=1"
    ));
    add(&client, &world.name("a"), "x", 1).await;
    let operator: super::api::operations::Client = client.into();
    let selected = operator.current_selected_node().await.expect("it leads");
    assert_eq!(selected.port, u32::from(port));
}

async fn gossip_names_one_living_leader_and_how_far_it_is(world: World) {
    let client = connect(&world);
    let before = add(&client, &world.name("a"), "x", 1).await;
    let operator: super::api::operations::Client = client.into();
    let members = operator.read_gossip().await.expect("it answers");
    let [member] = members.as_slice() else {
        panic!("{members:?}");
    };
    assert!(member.is_alive);
    assert_eq!(format!("{:?}", member.state), "Leader");
    assert_eq!(member.http_end_point.port, u32::from(world.port));
    assert!(u64::try_from(member.last_commit_position).is_ok_and(|last| last >= before));
}

async fn credentials_are_taken_and_not_needed(world: World) {
    let port = world.port;
    let settings = format!("esdb://admin:changeit@127.0.0.1:{port}?tls=false&discoveryInterval=1");
    let stream = world.name("a");
    add(&connect_with(&settings), &stream, "x", 1).await;
    let other = super::api::Credentials::new("nobody", "nothing");
    let options = ReadStreamOptions::default().authenticated(other);
    let found = read(&connect(&world), &stream, &options).await;
    assert_eq!(found.expect("anybody may read").len(), 1);
}

async fn a_node_that_must_lead_does(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let options = super::api::appending(Expected::NoStream).requires_leader(true);
    let written = client.append_to_stream(stream.as_str(), &options, event("x"));
    written.await.expect("it leads");
    let options = ReadStreamOptions::default().requires_leader(true);
    let found = read(&client, &stream, &options).await.expect("it leads");
    assert_eq!(found.len(), 1);
}

async fn what_is_not_served_is_unsupported_and_the_connection_goes_on(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 1).await;
    let group = Default::default();
    let group = client.create_persistent_subscription(stream.as_str(), "group", &group);
    unsupported(group.await);
    let operator: super::api::operations::Client = client.clone().into();
    let user = Default::default();
    unsupported(
        operator
            .create_user("ada", "secret", "Ada", vec![], &user)
            .await,
    );
    let projections: super::api::ProjectionClient = client.clone().into();
    let projection = Default::default();
    let projection = projections.create("p", "fromAll()".to_owned(), &projection);
    unsupported(projection.await);

    append(&client, &stream, super::api::exact(0), vec![event("x")])
        .await
        .expect("the connection is as good as before");
    assert_eq!(whole(&client, &stream).await.len(), 2);
}

fn unsupported(result: super::api::Result<()>) {
    assert!(
        matches!(result, Err(Error::UnsupportedFeature)),
        "{result:?}"
    );
}
