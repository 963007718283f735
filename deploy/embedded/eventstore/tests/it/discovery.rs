//! What a client asks before anything else: who leads, and what is served.

use eventstore::operations::VNodeState;
use eventstore::{Client, ReadStreamOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;
use tonic::codec::ProstCodec;
use tonic::transport::{Channel, Endpoint};

use crate::node::{Node, add, folder, read};
use crate::wire;
use crate::wire::gossip::gossip_client::GossipClient;
use crate::wire::gossip::member_info;
use crate::wire::server_features::server_features_client::ServerFeaturesClient;

#[tokio::test]
async fn gossip_names_one_living_leader_and_its_address() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let mut gossip = GossipClient::new(wire::connect(node.port).await);
    let members = gossip.read(()).await.unwrap().into_inner().members;
    let [member] = members.as_slice() else {
        panic!("{members:?}");
    };
    assert!(member.is_alive);
    assert_eq!(member.state(), member_info::VNodeState::Leader);
    assert_eq!(member.state, VNodeState::Leader as i32);
    let address = member.http_end_point.clone().unwrap();
    assert_eq!(address.address, "127.0.0.1");
    assert_eq!(address.port, u32::from(node.port));
    assert!(member.instance_id.is_some());
    node.stop().await;
}

#[tokio::test]
async fn gossip_names_the_host_and_port_it_was_called_by() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    for (origin, host, port) in [
        ("http://localhost:2113", "localhost", 2113),
        ("http://[::1]:5", "::1", 5),
        ("http://log.internal", "log.internal", node.port),
    ] {
        let endpoint = Endpoint::try_from(format!("http://127.0.0.1:{}", node.port)).unwrap();
        let channel = endpoint.origin(origin.parse().unwrap()).connect().await;
        let mut gossip = GossipClient::new(channel.unwrap());
        let members = gossip.read(()).await.unwrap().into_inner().members;
        let address = members[0].http_end_point.clone().unwrap();
        assert_eq!(
            (address.address.as_str(), address.port),
            (host, port.into())
        );
    }
    node.stop().await;
}

#[tokio::test]
async fn a_client_that_looks_for_a_leader_finds_this_node() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    add(&node.client, "a", "x", 1).await;
    let port = node.port;
    let cluster = format!(
        "esdb://127.0.0.1:{port},127.0.0.1:{port}?tls=false&nodePreference=leader&discoveryInterval=1"
    );
    let client = Client::new(cluster.parse().unwrap()).unwrap();
    let found = read(&client, "a", &ReadStreamOptions::default()).await;
    assert_eq!(found.unwrap().len(), 1);
    node.stop().await;
}

#[tokio::test]
async fn every_method_that_is_listed_is_served_and_no_other() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let channel = wire::connect(node.port).await;
    let mut features = ServerFeaturesClient::new(channel.clone());
    let supported = features.get_supported_methods(()).await.unwrap();
    let supported = supported.into_inner();
    assert_eq!(supported.event_store_server_version, "24.10.0");
    let mut listed: Vec<String> = supported
        .methods
        .iter()
        .map(|method| format!("{}/{}", method.service_name, method.method_name))
        .collect();
    listed.sort();

    let mut served = vec![];
    for method in METHODS {
        if ask(&channel, method).await != Code::Unimplemented {
            served.push(format!("event_store.client.{method}").to_lowercase());
        }
    }
    // Asked last: it answers by stopping.
    let shutdown = "operations.Operations/Shutdown";
    assert_ne!(ask(&channel, shutdown).await, Code::Unimplemented);
    served.push(format!("event_store.client.{shutdown}").to_lowercase());
    served.sort();
    assert_eq!(listed, served);
    node.serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn who_asks_without_grpc_hears_that_the_node_lives_and_leads() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let head = add(&node.client, "a", "x", 2).await.position.commit;
    let alive = plain(node.port, "/health/live").await;
    assert!(alive.starts_with("HTTP/1.1 204 "), "{alive}");

    let operator: eventstore::operations::Client = node.client.clone().into();
    let members = operator.read_gossip().await.unwrap();
    let [member] = members.as_slice() else {
        panic!("{members:?}");
    };
    assert_eq!(member.state, VNodeState::Leader);
    assert!(member.is_alive);
    assert_eq!(member.http_end_point.host, "127.0.0.1");
    assert_eq!(member.http_end_point.port, u32::from(node.port));
    assert_eq!(u64::try_from(member.last_commit_position), Ok(head));
    node.stop().await;
}

/// What is answered over HTTP/1.1.
async fn plain(port: u16, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Every other method of the protocol.
const METHODS: [&str; 46] = [
    "gossip.Gossip/Read",
    "monitoring.Monitoring/Stats",
    "operations.Operations/MergeIndexes",
    "operations.Operations/ResignNode",
    "operations.Operations/RestartPersistentSubscriptions",
    "operations.Operations/SetNodePriority",
    "operations.Operations/StartScavenge",
    "operations.Operations/StopScavenge",
    "persistent_subscriptions.PersistentSubscriptions/Create",
    "persistent_subscriptions.PersistentSubscriptions/Delete",
    "persistent_subscriptions.PersistentSubscriptions/GetInfo",
    "persistent_subscriptions.PersistentSubscriptions/List",
    "persistent_subscriptions.PersistentSubscriptions/Read",
    "persistent_subscriptions.PersistentSubscriptions/ReplayParked",
    "persistent_subscriptions.PersistentSubscriptions/RestartSubsystem",
    "persistent_subscriptions.PersistentSubscriptions/Update",
    "projections.Projections/Create",
    "projections.Projections/Delete",
    "projections.Projections/Disable",
    "projections.Projections/Enable",
    "projections.Projections/Reset",
    "projections.Projections/RestartSubsystem",
    "projections.Projections/Result",
    "projections.Projections/State",
    "projections.Projections/Statistics",
    "projections.Projections/Update",
    "redaction.Redaction/AcquireChunksLock",
    "redaction.Redaction/GetEventPositions",
    "redaction.Redaction/ReleaseChunksLock",
    "redaction.Redaction/SwitchChunks",
    "server_features.ServerFeatures/GetSupportedMethods",
    "streams.Streams/Append",
    "streams.Streams/BatchAppend",
    "streams.Streams/Delete",
    "streams.Streams/Read",
    "streams.Streams/Tombstone",
    "users.Users/ChangePassword",
    "users.Users/Create",
    "users.Users/Delete",
    "users.Users/Details",
    "users.Users/Disable",
    "users.Users/Enable",
    "users.Users/ResetPassword",
    "users.Users/Update",
    "no_such_service.NoSuchService/Method",
    "streams.Streams/NoSuchMethod",
];

/// How the method answers an empty message; as all go over one connection, an answer
/// that broke it would fail those after it.
async fn ask(channel: &Channel, method: &str) -> Code {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = format!("/event_store.client.{method}").parse().unwrap();
    let codec = ProstCodec::<(), ()>::default();
    let asked = client.server_streaming(tonic::Request::new(()), path, codec);
    match asked.await {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    }
}
