//! The fence itself: batches that come twice, late, or from somebody who should be dead.

use domain::{
    codec::DecodeError,
    fact::{AnyEvent, Fact},
    id::{EventId, Owner, VideoId, derived},
    video::{self, Details, Visibility},
    views,
};
use eventlog::{Epoch, Metadata, Recorded};

use crate::{
    Config, announcements, catalogue, owners,
    popularity::{self, Popularity},
    reader::Reader,
    runner::{Applied, Batch, Projection},
    stores,
};

const EPOCH: Epoch = Epoch(7);
const NOON_MS: i64 = 1_767_268_800_000;

#[tokio::test]
async fn a_batch_that_comes_twice_is_applied_once() {
    let (config, _redis) = config().await;
    let reader = Reader::new(&config.postgres_url, &config.redis_url).unwrap();
    let batch = Batch {
        from: None,
        to: Some(9),
        events: vec![requested(3, 1), viewed(5, 1, "one"), viewed(6, 1, "one")],
        caught_up: true,
    };
    applied_once(catalogue::Projection::open(&config, 1).unwrap(), &batch).await;
    applied_once(announcements::Projection::open(&config, 1).unwrap(), &batch).await;
    applied_once(owners::Projection::open(&config, 1).unwrap(), &batch).await;
    applied_once(Popularity::open(&config, 1).unwrap(), &batch).await;

    // The session looked twice and counts once, whatever the log says.
    let views = popularity::views(&reader, &[video(1)]).await.unwrap();
    assert_eq!(views, [1]);
    for standing in reader.standings().await.unwrap() {
        assert_eq!(standing.commit, Some(9), "{}", standing.name);
        assert!(standing.caught_up, "{}", standing.name);
    }
}

async fn applied_once<P: Projection>(mut projection: P, batch: &Batch) {
    let checkpoint = projection.prepare(EPOCH).await.unwrap();
    assert_eq!(checkpoint.commit, None);
    let first = projection.apply(EPOCH, batch).await.unwrap();
    let second = projection.apply(EPOCH, batch).await.unwrap();
    assert_eq!(
        (first, second),
        (Applied::Yes, Applied::Fenced),
        "{}",
        P::NAME
    );
}

#[tokio::test]
async fn a_zombie_with_an_old_checkpoint_writes_nothing() {
    let (config, _redis) = config().await;
    let reader = Reader::new(&config.postgres_url, &config.redis_url).unwrap();
    zombie(
        catalogue::Projection::open(&config, 1).unwrap(),
        catalogue::Projection::open(&config, 1).unwrap(),
    )
    .await;
    zombie(
        Popularity::open(&config, 1).unwrap(),
        Popularity::open(&config, 1).unwrap(),
    )
    .await;
    let seen = catalogue::video(&reader, video(2)).await.unwrap();
    assert_eq!(seen, None, "what the zombie read is not there");
    let views = popularity::views(&reader, &[video(1), video(2)])
        .await
        .unwrap();
    assert_eq!(views, [1, 0]);
}

/// `zombie` stopped to think after it read its checkpoint, while `alive` went on.
async fn zombie<P: Projection>(mut zombie: P, mut alive: P) {
    zombie.prepare(EPOCH).await.unwrap();
    alive.prepare(EPOCH).await.unwrap();
    let batch = Batch {
        from: None,
        to: Some(4),
        events: vec![requested(3, 1), viewed(4, 1, "one")],
        ..Batch::default()
    };
    assert_eq!(alive.apply(EPOCH, &batch).await.unwrap(), Applied::Yes);
    let late = Batch {
        from: None,
        to: Some(8),
        events: vec![requested(7, 2), viewed(8, 2, "one")],
        ..Batch::default()
    };
    assert_eq!(zombie.apply(EPOCH, &late).await.unwrap(), Applied::Fenced);
    // Nor does one that follows another log.
    let next = Batch {
        from: Some(4),
        ..late
    };
    let applied = zombie.apply(Epoch(8), &next).await.unwrap();
    assert_eq!(applied, Applied::Fenced, "{}", P::NAME);
    let stored = zombie.checkpoint().await.unwrap().unwrap();
    assert_eq!(stored.commit, Some(4), "{}", P::NAME);
}

#[tokio::test]
async fn who_was_taken_over_writes_nothing_even_where_it_stands_right() {
    let (config, _redis) = config().await;
    taken_over(
        catalogue::Projection::open(&config, 1).unwrap(),
        catalogue::Projection::open(&config, 1).unwrap(),
    )
    .await;
    taken_over(
        Popularity::open(&config, 1).unwrap(),
        Popularity::open(&config, 1).unwrap(),
    )
    .await;
}

async fn taken_over<P: Projection>(mut frozen: P, mut next: P) {
    frozen.prepare(EPOCH).await.unwrap();
    next.prepare(EPOCH).await.unwrap();
    let batch = Batch {
        from: None,
        to: Some(4),
        events: vec![requested(3, 1), viewed(4, 1, "one")],
        ..Batch::default()
    };
    assert_eq!(frozen.apply(EPOCH, &batch).await.unwrap(), Applied::Fenced);
    assert_eq!(next.apply(EPOCH, &batch).await.unwrap(), Applied::Yes);
    // Another log's program takes nothing over.
    let foreign = frozen.prepare(Epoch(8)).await.unwrap();
    assert_eq!(foreign.epoch, EPOCH.to_string(), "{}", P::NAME);
    let next_batch = Batch {
        from: Some(4),
        to: Some(5),
        ..Batch::default()
    };
    assert_eq!(next.apply(EPOCH, &next_batch).await.unwrap(), Applied::Yes);
}

#[tokio::test]
async fn an_unreadable_view_stops_the_counting_of_its_video_only() {
    let (config, _redis) = config().await;
    let reader = Reader::new(&config.postgres_url, &config.redis_url).unwrap();
    let mut unreadable = viewed(2, 1, "two");
    unreadable.event = Err(DecodeError::UnknownType("views.recorded.v9".to_owned()));
    let batch = Batch {
        from: None,
        to: Some(4),
        events: vec![
            viewed(1, 1, "one"),
            unreadable,
            viewed(3, 1, "three"),
            viewed(4, 2, "one"),
        ],
        ..Batch::default()
    };
    let mut popularity = Popularity::open(&config, 1).unwrap();
    popularity.prepare(EPOCH).await.unwrap();
    popularity.apply(EPOCH, &batch).await.unwrap();
    let views = popularity::views(&reader, &[video(1), video(2)])
        .await
        .unwrap();
    assert_eq!(views, [1, 1]);
}

async fn config() -> (Config, stores::Redis) {
    let redis = stores::Redis::new().await;
    let config = Config {
        postgres_url: stores::database().await,
        redis_url: redis.url.clone(),
    };
    crate::migrate(&config.postgres_url).await.unwrap();
    (config, redis)
}

fn video(number: u8) -> VideoId {
    VideoId(derived(&[&[number]]))
}

fn requested(commit: u64, number: u8) -> Recorded {
    let event = video::Kind::UploadRequested {
        details: Details {
            title: "clip".to_owned(),
            visibility: Visibility::Public,
            ..Details::default()
        },
        declared: video::Declared::default(),
        key: "key".to_owned(),
        expires_at_ms: NOON_MS,
        priority: video::Priority::Normal,
    };
    let name = "video.upload-requested.v1";
    let stream = format!("video-{}", video(number));
    recorded(commit, stream, name, AnyEvent::Video(fact(number, event)))
}

fn viewed(commit: u64, number: u8, session: &str) -> Recorded {
    let event = views::Kind::Recorded {
        session: session.to_owned(),
    };
    let (stream, _) = views::stream_and_id(video(number), session, NOON_MS);
    let event = AnyEvent::Views(fact(number, event));
    recorded(commit, stream, "views.recorded.v1", event)
}

fn fact<E>(number: u8, event: E) -> Fact<E> {
    Fact {
        video: video(number),
        owner: Owner("ada".to_owned()),
        at_ms: NOON_MS,
        event,
    }
}

fn recorded(commit: u64, stream: String, type_name: &str, event: AnyEvent) -> Recorded {
    Recorded {
        commit,
        stream,
        revision: 0,
        id: EventId(derived(&[&commit.to_be_bytes()])),
        type_name: type_name.to_owned(),
        event: Ok(event),
        metadata: Metadata::default(),
    }
}
