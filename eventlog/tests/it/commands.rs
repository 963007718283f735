use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use domain::{
    decider::Decider,
    fact::AnyEvent,
    id::{CommandId, EventId, VideoId},
    video::{self, By, Command, Status, Video},
    views,
};
use eventlog::{AppendError, ExecuteError, Log, LogError, Revision};
use eventstore::EventData;
use uuid::Uuid;

use crate::{
    node::{Node, in_time},
    stories::{VIDEO, by, owner, rename, request},
};

const STREAM: &str = "video-00000000-0000-0000-0000-00000000000a";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_recorded_with_its_cause() {
    let node = Node::start().await;
    let log = node.log();
    let done = in_time(log.execute::<Video>(VIDEO, &by(1), request()))
        .await
        .unwrap();
    assert_eq!(done.state.status, Status::Uploading);
    assert_eq!(done.events.len(), 1);

    let recorded = log.read_stream(STREAM, None, 10).await.unwrap();
    assert_eq!(recorded.len(), 1);
    let event = &recorded[0];
    assert_eq!(event.commit, done.position);
    assert_eq!(event.revision, 0);
    assert_eq!(event.stream, STREAM);
    assert_eq!(event.type_name, "video.upload-requested.v1");
    assert_eq!(event.id, EventId::of(by(1).command, 0));
    assert_eq!(event.metadata.command, by(1).command);
    assert_eq!(event.metadata.actor, "ada");
    let Ok(AnyEvent::Video(fact)) = &event.event else {
        panic!("{event:?}")
    };
    assert_eq!(*fact, done.events[0]);

    let loaded = log.load::<Video>(VIDEO).await.unwrap();
    assert_eq!(loaded.state, done.state);
    assert_eq!(loaded.revision, Revision::Exact(0));
    assert_eq!(loaded.position, Some(done.position));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_not_there_is_the_beginning() {
    let node = Node::start().await;
    let loaded = in_time(node.log().load::<Video>(VIDEO)).await.unwrap();
    assert_eq!(loaded.state, Video::default());
    assert_eq!(loaded.revision, Revision::NoStream);
    assert_eq!(loaded.position, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_sent_again_gets_the_same_answer_and_records_nothing() {
    let node = Node::start().await;
    let log = node.log();
    let first = in_time(log.execute::<Video>(VIDEO, &by(1), request()))
        .await
        .unwrap();
    log.execute::<Video>(VIDEO, &by(2), rename("a run"))
        .await
        .unwrap();
    // By now it would be refused: it is not decided again.
    log.execute::<Video>(VIDEO, &by(3), delete()).await.unwrap();
    let again = node
        .log()
        .execute::<Video>(VIDEO, &by(2), rename("a run"))
        .await
        .unwrap();
    let first_again = node
        .log()
        .execute::<Video>(VIDEO, &by(1), request())
        .await
        .unwrap();

    assert_eq!(first_again.position, first.position);
    assert_eq!(first_again.events, first.events);
    assert_eq!(again.state.status, Status::Deleted);
    assert_eq!(again.events.len(), 1);
    assert_eq!(log.read_stream(STREAM, None, 10).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn already_so_is_answered_with_the_position_of_the_last_event() {
    let node = Node::start().await;
    let log = node.log();
    in_time(log.execute::<Video>(VIDEO, &by(1), request()))
        .await
        .unwrap();
    let renamed = log
        .execute::<Video>(VIDEO, &by(2), rename("a run"))
        .await
        .unwrap();
    let already = log
        .execute::<Video>(VIDEO, &by(3), rename("a run"))
        .await
        .unwrap();
    assert_eq!(already.position, renamed.position);
    assert_eq!(already.events, []);
    assert_eq!(log.read_stream(STREAM, None, 10).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_command_records_nothing() {
    let node = Node::start().await;
    let log = node.log();
    let refused = in_time(log.execute::<Video>(VIDEO, &by(1), rename("a run"))).await;
    assert!(matches!(
        refused,
        Err(ExecuteError::Rejected(video::Rejection::Unknown))
    ));
    assert!(log.read_stream(STREAM, None, 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_writers_are_recorded_one_after_the_other() {
    let node = Node::start().await;
    let log = node.log();
    in_time(log.execute::<Video>(VIDEO, &by(1), request()))
        .await
        .unwrap();
    // As many as even the unluckiest can let pass.
    let writers: Vec<_> = (10..15)
        .map(|command| {
            let log = node.log();
            tokio::spawn(async move {
                let title = format!("title {command}");
                log.execute::<Video>(VIDEO, &by(command), rename(&title))
                    .await
            })
        })
        .collect();
    let mut positions = vec![];
    for writer in writers {
        positions.push(in_time(writer).await.unwrap().unwrap().position);
    }
    positions.sort_unstable();
    let recorded = log.read_stream(STREAM, Some(1), 10).await.unwrap();
    let in_log: Vec<u64> = recorded.iter().map(|event| event.commit).collect();
    assert_eq!(in_log, positions);
}

/// While it decides, somebody else is faster, each time.
#[derive(Clone, Default)]
struct Outrun(Video);

static RIVAL: Mutex<Option<(tokio::runtime::Handle, Log)>> = Mutex::new(None);
static DECIDED: AtomicUsize = AtomicUsize::new(0);

impl Decider for Outrun {
    const CATEGORY: &'static str = "video";

    type Id = VideoId;
    type Command = Command;
    type Event = video::Event;
    type Rejection = video::Rejection;

    fn decide(&self, command: Command) -> Result<Vec<video::Event>, video::Rejection> {
        let turn = DECIDED.fetch_add(1, Ordering::SeqCst);
        let (runtime, log) = RIVAL.lock().unwrap().clone().unwrap();
        let title = format!("rival {turn}");
        tokio::task::block_in_place(|| {
            let rival = by(100 + turn as u128);
            runtime
                .block_on(log.execute::<Video>(VIDEO, &rival, rename(&title)))
                .unwrap();
        });
        self.0.decide(command)
    }

    fn evolve(self, event: &video::Event) -> Self {
        Self(self.0.evolve(event))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_outrun_six_times_gives_up() {
    let node = Node::start().await;
    let log = node.log();
    in_time(log.execute::<Video>(VIDEO, &by(1), request()))
        .await
        .unwrap();
    *RIVAL.lock().unwrap() = Some((tokio::runtime::Handle::current(), node.log()));
    let outrun = in_time(log.execute::<Outrun>(VIDEO, &by(2), rename("mine"))).await;
    assert!(matches!(outrun, Err(ExecuteError::Conflict)));
    assert_eq!(DECIDED.load(Ordering::SeqCst), 6);
    let recorded = log.read_stream(STREAM, None, 20).await.unwrap();
    assert_eq!(recorded.len(), 7);
    assert!(
        recorded
            .iter()
            .all(|event| event.metadata.command != by(2).command)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_at_the_wrong_revision_says_where_the_stream_is() {
    let node = Node::start().await;
    let log = node.log();
    let events = Video::default().decide(request()).unwrap();
    let appended = in_time(log.append::<Video>(VIDEO, Revision::NoStream, &by(1), &events))
        .await
        .unwrap();
    assert_eq!(appended.revision, 0);

    let stale = log
        .append::<Video>(VIDEO, Revision::NoStream, &by(2), &events)
        .await;
    assert!(matches!(
        stale,
        Err(AppendError::WrongRevision {
            current: Revision::Exact(0)
        })
    ));
    let ahead = log
        .append::<Video>(VIDEO, Revision::Exact(7), &by(2), &events)
        .await;
    assert!(matches!(ahead, Err(AppendError::WrongRevision { .. })));
    // The same command again is no conflict.
    let again = log
        .append::<Video>(VIDEO, Revision::NoStream, &by(1), &events)
        .await
        .unwrap();
    assert_eq!(again, appended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_counts_once_per_session_and_day() {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    let node = Node::start().await;
    let log = node.log();
    let view = |session: &str, at_ms| views::Event {
        video: VIDEO,
        owner: owner(),
        at_ms,
        event: views::Kind::Recorded {
            session: session.to_owned(),
        },
    };
    let first = in_time(log.record_view(&view("s", 5))).await.unwrap();
    let again = log.record_view(&view("s", 6)).await.unwrap();
    let other = log.record_view(&view("t", 7)).await.unwrap();
    let tomorrow = log.record_view(&view("s", DAY_MS + 5)).await.unwrap();
    assert_eq!(first, again);
    assert!(other.commit > first.commit && tomorrow.commit > other.commit);
    let today = format!("views-{VIDEO}-1970-01-01");
    assert_eq!(log.read_stream(&today, None, 10).await.unwrap().len(), 2);
    assert_eq!(first.epoch, log.epoch().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_read_in_pages() {
    let node = Node::start().await;
    let log = node.log();
    in_time(log.execute::<Video>(VIDEO, &by(1), request()))
        .await
        .unwrap();
    for command in 2..6 {
        let title = format!("title {command}");
        log.execute::<Video>(VIDEO, &by(command), rename(&title))
            .await
            .unwrap();
    }
    let page = log.read_stream(STREAM, Some(1), 2).await.unwrap();
    let revisions: Vec<u64> = page.iter().map(|event| event.revision).collect();
    assert_eq!(revisions, [1, 2]);
    assert!(
        log.read_stream(STREAM, Some(5), 2)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_truncated_goes_on_after_what_is_left() {
    let node = Node::start().await;
    let log = node.log();
    in_time(log.execute::<Video>(VIDEO, &by(1), request()))
        .await
        .unwrap();
    log.execute::<Video>(VIDEO, &by(2), delete()).await.unwrap();
    let metadata = eventstore::StreamMetadataBuilder::new()
        .truncate_before(1)
        .build();
    node.client()
        .set_stream_metadata(STREAM, &Default::default(), &metadata)
        .await
        .unwrap();

    let loaded = log.load::<Video>(VIDEO).await.unwrap();
    assert_eq!(loaded.state.status, Status::Deleted);
    assert_eq!(loaded.state.owner, owner());
    assert_eq!(loaded.revision, Revision::Exact(1));
    let already = log.execute::<Video>(VIDEO, &by(3), delete()).await.unwrap();
    assert_eq!(Some(already.position), loaded.position);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_with_an_event_newer_than_this_program_is_not_folded() {
    let node = Node::start().await;
    let log = node.log();
    in_time(log.execute::<Video>(VIDEO, &by(1), request()))
        .await
        .unwrap();
    let newer = EventData::json("video.upload-requested.v2", &serde_json::json!({})).unwrap();
    node.client()
        .append_to_stream(STREAM, &Default::default(), newer)
        .await
        .unwrap();
    let corrupt = log.load::<Video>(VIDEO).await.unwrap_err();
    assert!(
        matches!(&corrupt, LogError::Corrupt { revision: 1, stream, .. } if stream == STREAM),
        "{corrupt:?}"
    );
    let refused = log.execute::<Video>(VIDEO, &by(2), rename("a run")).await;
    assert!(matches!(
        refused,
        Err(ExecuteError::Log(LogError::Corrupt { .. }))
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_epoch_stays_over_restarts_and_differs_between_logs() {
    let mut node = Node::start().await;
    // Two programs that start at once agree.
    let (one, other) = (node.log(), node.log());
    let (one, other) = in_time(async { tokio::join!(one.epoch(), other.epoch()) }).await;
    let epoch = one.unwrap();
    assert_eq!(epoch, other.unwrap());

    let recorded = node.log().read_stream("platform", None, 10).await.unwrap();
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0].type_name, "platform.log-began.v1");
    assert!(recorded[0].id.0.to_string().starts_with(&epoch.to_string()));

    node.stop().await;
    node.start_again().await;
    assert_eq!(in_time(node.log().epoch()).await.unwrap(), epoch);
    let elsewhere = Node::start().await;
    assert_ne!(in_time(elsewhere.log().epoch()).await.unwrap(), epoch);
}

fn delete() -> Command {
    Command::Delete {
        by: By::Owner(owner()),
        at_ms: 3,
    }
}

#[test]
fn the_metadata_is_what_other_clients_expect() {
    let metadata = eventlog::Metadata {
        correlation: Uuid::from_u128(1),
        causation: Uuid::from_u128(2),
        actor: "ada".to_owned(),
        command: CommandId(Uuid::from_u128(3)),
    };
    let id = |last: u32| format!("00000000-0000-0000-0000-{last:012}");
    assert_eq!(
        serde_json::to_value(metadata).unwrap(),
        serde_json::json!({
            "$correlationId": id(1), "$causationId": id(2), "actor": "ada", "commandId": id(3),
        })
    );
}
