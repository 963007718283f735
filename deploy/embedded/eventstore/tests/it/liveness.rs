//! What a subscription says of itself, message by message.

use std::time::Duration;

use tonic::{Code, Request, Status, Streaming};

use crate::node::{Node, SOON, add, folder};
use crate::wire;
use crate::wire::streams::read_req::Options;
use crate::wire::streams::read_req::options::filter_options::{Expression, Filter, Window};
use crate::wire::streams::read_req::options::{
    AllOptions, ControlOption, CountOption, FilterOption, FilterOptions, StreamOption,
    StreamOptions, SubscriptionOptions, UuidOption, all_options, stream_options, uuid_option,
};
use crate::wire::streams::read_resp::{CaughtUp, Content, FellBehind};
use crate::wire::streams::streams_client::StreamsClient;
use crate::wire::streams::{ReadReq, ReadResp};

#[tokio::test]
async fn a_subscription_says_where_it_is_in_the_terms_of_what_it_follows() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let head = add(&node.client, "a", "x", 3).await.position.commit;
    let mut stream = follow(&node, stream_of("a", 0)).await;
    let told = caught_up(&mut stream).await;
    assert_eq!((told.stream_revision, told.position), (Some(2), None));
    assert!(told.timestamp.is_some());
    let mut none = follow(&node, stream_of("nothing", 0)).await;
    let told = caught_up(&mut none).await;
    assert_eq!((told.stream_revision, told.position), (None, None));
    let mut all = follow(&node, all_of(0)).await;
    let told = caught_up(&mut all).await;
    assert_eq!(told.stream_revision, None);
    assert_eq!(told.position.unwrap().commit_position, head);
    node.stop().await;

    let dir = folder();
    let node = Node::start(dir.path()).await;
    let mut empty = follow(&node, all_of(0)).await;
    let told = caught_up(&mut empty).await;
    assert_eq!((told.stream_revision, told.position), (None, None));
    node.stop().await;
}

#[tokio::test]
async fn more_news_than_a_live_subscription_takes_is_caught_up_with() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    add(&node.client, "a", "x", 1).await;
    for (options, told) in [
        (stream_of("a", 1), 0),
        (all_of(1), 0),
        (stream_of("a", 2), 1),
        (all_of(2), 1),
    ] {
        let mut answers = follow(&node, options).await;
        caught_up(&mut answers).await;
        add(&node.client, "a", "few", 5).await;
        let (behind, events) = until_caught_up_or(&mut answers, 5).await;
        assert_eq!((behind.len(), events), (0, 5));
        // At once, so that no subscription sees only some of them.
        let last = add(&node.client, "a", "many", 500).await;
        let (behind, events) = until_caught_up_or(&mut answers, usize::MAX).await;
        assert_eq!((behind.len(), events), (told, 500));
        if let [behind] = behind.as_slice() {
            let before = last.next_expected_version - 500;
            let revision = behind.stream_revision.map(i64::cast_unsigned);
            let position = behind.position.map(|it| it.commit_position);
            assert!(revision == Some(before) || position == Some(last.position.commit - 500));
        }
    }
    node.stop().await;
}

#[tokio::test]
async fn a_follower_of_a_stream_that_is_gone_for_ever_is_refused() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let options = Default::default();
    node.client.tombstone_stream("a", &options).await.unwrap();
    let refused = begin(&node, stream_of("a", 0), None).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let trailer = |name| refused.metadata().get(name).map(|it| it.to_str().unwrap());
    assert_eq!(trailer("exception"), Some("stream-deleted"));
    assert_eq!(trailer("stream-name"), Some("a"));
    node.stop().await;
}

#[tokio::test]
async fn a_stream_of_answers_ends_at_its_deadline() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    add(&node.client, "a", "x", 1).await;
    let soon = Some(Duration::from_millis(300));
    let mut answers = begin(&node, stream_of("a", 0), soon).await.unwrap();
    let ended = loop {
        match answers.message().await {
            Ok(answer) => assert!(answer.is_some(), "it ended with success"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended:?}");
    node.stop().await;
}

#[tokio::test]
async fn a_read_with_a_filter_needs_no_checkpoint_interval_and_a_subscription_does() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    add(&node.client, "a", "video.began", 2).await;
    add(&node.client, "a", "noise", 2).await;
    let mut options = all_of_videos(Window::Count(()), 0);
    let refused = begin(&node, options.clone(), None).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    options.count_option = Some(CountOption::Count(10));
    let mut answers = begin(&node, options, None).await.unwrap();
    let mut found = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        assert!(matches!(answer.content, Some(Content::Event(_))));
        found += 1;
    }
    assert_eq!(found, 2);
    node.stop().await;
}

#[tokio::test]
async fn a_subscription_that_caught_up_again_is_not_told_twice_where_it_is() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let begun = add(&node.client, "a", "video.began", 1).await;
    let mut answers = follow(&node, all_of_videos(Window::Max(1_000), 1_000)).await;
    assert!(matches!(next(&mut answers).await, Content::Event(_)));
    checkpoint(&mut answers, begun.position.commit).await;
    caught_up(&mut answers).await;

    add(&node.client, "a", "video.many", 500).await;
    // Any other answer than these fails here: no checkpoint comes between.
    caught_up(&mut answers).await;

    let last = add(&node.client, "a", "noise", 1).await;
    checkpoint(&mut answers, last.position.commit).await;
    node.stop().await;
}

fn stream_of(stream: &str, compatibility: u32) -> Options {
    options(
        StreamOption::Stream(StreamOptions {
            stream_identifier: wire::named(stream),
            revision_option: Some(stream_options::RevisionOption::Start(())),
        }),
        compatibility,
    )
}

fn all_of(compatibility: u32) -> Options {
    options(
        StreamOption::All(AllOptions {
            all_option: Some(all_options::AllOption::Start(())),
        }),
        compatibility,
    )
}

fn all_of_videos(window: Window, checkpoint_interval_multiplier: u32) -> Options {
    let expression = Expression {
        regex: String::new(),
        prefix: vec!["video.".into()],
    };
    let mut options = all_of(0);
    options.filter_option = Some(FilterOption::Filter(FilterOptions {
        filter: Some(Filter::EventType(expression)),
        window: Some(window),
        checkpoint_interval_multiplier,
    }));
    options
}

fn options(what: StreamOption, compatibility: u32) -> Options {
    Options {
        stream_option: Some(what),
        read_direction: 0,
        resolve_links: false,
        count_option: Some(CountOption::Subscription(SubscriptionOptions {})),
        filter_option: Some(FilterOption::NoFilter(())),
        uuid_option: Some(UuidOption {
            content: Some(uuid_option::Content::String(())),
        }),
        control_option: Some(ControlOption { compatibility }),
    }
}

async fn begin(
    node: &Node,
    options: Options,
    deadline: Option<Duration>,
) -> Result<Streaming<ReadResp>, Status> {
    let mut client = StreamsClient::new(wire::connect(node.port).await);
    let mut request = Request::new(ReadReq {
        options: Some(options),
    });
    if let Some(deadline) = deadline {
        // Not `set_timeout`: with that this side would not wait for what the node says.
        let header = format!("{}m", deadline.as_millis());
        let metadata = request.metadata_mut();
        metadata.insert("grpc-timeout", header.parse().unwrap());
    }
    Ok(client.read(request).await?.into_inner())
}

async fn follow(node: &Node, options: Options) -> Streaming<ReadResp> {
    let mut answers = begin(node, options, None).await.unwrap();
    let first = next(&mut answers).await;
    assert!(matches!(first, Content::Confirmation(_)), "{first:?}");
    answers
}

async fn next(answers: &mut Streaming<ReadResp>) -> Content {
    let answer = tokio::time::timeout(SOON, answers.message()).await;
    let answer = answer.expect("something comes in time").unwrap();
    answer.unwrap().content.unwrap()
}

async fn checkpoint(answers: &mut Streaming<ReadResp>, position: u64) {
    let Content::Checkpoint(checkpoint) = next(answers).await else {
        panic!("no checkpoint");
    };
    assert_eq!(checkpoint.commit_position, position);
}

async fn caught_up(answers: &mut Streaming<ReadResp>) -> CaughtUp {
    loop {
        match next(answers).await {
            Content::CaughtUp(told) => return told,
            Content::Event(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// How often it fell behind and how many events came, until it caught up or has so many.
async fn until_caught_up_or(
    answers: &mut Streaming<ReadResp>,
    enough: usize,
) -> (Vec<FellBehind>, usize) {
    let (mut behind, mut events) = (vec![], 0);
    while events < enough {
        match next(answers).await {
            Content::Event(_) => events += 1,
            Content::FellBehind(told) => behind.push(told),
            Content::CaughtUp(_) => break,
            other => panic!("{other:?}"),
        }
    }
    (behind, events)
}
