//! What the api reads, as a video goes through its life.

use std::time::Duration;

use domain::{
    code::Code,
    id::{Owner, VideoId},
    video::{Changes, Command, Found, Status, Visibility},
};
use projections::{
    announcements::{self, Kind},
    catalogue::{self, AttemptOutcome, Failure},
    popularity::{self, Window},
    reader::{Model, Wake},
};

use crate::{
    lists,
    platform::{DAWN_MS, PATIENCE, PICTURE, Platform, story},
};

#[tokio::test]
async fn a_video_is_seen_through_its_life() {
    let platform = Platform::new().await;
    let projecting = platform.project();
    let reader = &platform.reader;
    let story = story(1, "the first");

    platform.reach(platform.request(&story).await).await;
    let video = catalogue::video(reader, story.id).await.unwrap().unwrap();
    assert_eq!(video.status, Status::Uploading);
    assert_eq!((video.created_ms, video.job), (story.at_ms, None));
    assert_eq!(video.details.title, "the first");
    let open = catalogue::open_uploads(reader, i64::MAX, None, 10)
        .await
        .unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].key, format!("sources/{}/original", story.id));

    let job = platform.complete(&story).await;
    let planned = platform.plan(&story, job).await;
    let encode = platform.start(&story, job, "encode").await;
    let rendition = planned
        .renditions
        .keys()
        .find(|id| id.0 != "audio")
        .unwrap();
    let position = platform
        .publish(&story, job, &encode, rendition, 0, 2)
        .await;
    platform.reach(position).await;
    let video = catalogue::video(reader, story.id).await.unwrap().unwrap();
    assert_eq!((video.status, video.job), (Status::Processing, Some(job)));
    assert_eq!(video.segments_planned, 2 * planned.renditions.len() as u64);
    assert_eq!(video.segments_published, 2);
    assert!(video.progress() > 0.0 && video.progress() < 1.0);
    assert!(!video.playable);
    assert_eq!(video.commit, position);
    assert!(
        catalogue::open_uploads(reader, i64::MAX, None, 10)
            .await
            .unwrap()
            .is_empty()
    );

    let at_ms = story.at_ms + 6;
    let picture = PICTURE;
    let playable = platform
        .video(
            story.id,
            Command::Playable {
                job,
                picture,
                at_ms,
            },
        )
        .await
        .position;
    let picture = PICTURE;
    let ready = platform
        .video(
            story.id,
            Command::Ready {
                job,
                picture,
                at_ms,
            },
        )
        .await
        .position;
    platform.reach(ready).await;
    let video = catalogue::video(reader, story.id).await.unwrap().unwrap();
    assert_eq!((video.status, video.playable), (Status::Ready, true));
    assert_eq!(video.ready_ms, Some(at_ms));
    assert_eq!(video.duration_ms, Some(4000));
    assert_eq!((video.width, video.height), (Some(320), Some(240)));

    let announced = announcements::after(reader, None, 10).await.unwrap();
    let told: Vec<(Kind, u64)> = announced.iter().map(|a| (a.kind, a.commit)).collect();
    assert_eq!(told, [(Kind::Playable, playable), (Kind::Ready, ready)]);
    assert_eq!(announced[1].title, "the first");
    assert_eq!(announced[1].duration_ms, Some(4000));
    assert_eq!(announcements::newest(reader).await.unwrap(), Some(ready));
    assert_eq!(
        announcements::after(reader, Some(playable), 10)
            .await
            .unwrap(),
        announced[1..]
    );

    let history = catalogue::history(reader, story.id).await.unwrap();
    let tried: Vec<(&str, AttemptOutcome)> = history
        .iter()
        .map(|a| (a.task.as_str(), a.outcome))
        .collect();
    let expected = [
        ("encode", AttemptOutcome::Running),
        ("probe", AttemptOutcome::Finished),
    ];
    assert_eq!(tried, expected);
    projecting.stop().await;
    platform.stop().await;
}

#[tokio::test]
async fn a_player_gets_exactly_what_is_published() {
    let platform = Platform::new().await;
    let story = story(1, "clip");
    let (job, position) = platform.make_playable(&story).await;
    platform.project_up_to(position).await;
    let reader = &platform.reader;

    let playback = catalogue::playback(reader, story.id)
        .await
        .unwrap()
        .unwrap();
    assert!(playback.playable && !playback.complete);
    let planned = platform.log.load::<domain::job::Job>(job).await.unwrap();
    let mut expected: Vec<_> = planned.state.renditions.values().cloned().collect();
    let mut published = playback.renditions.clone();
    // The ladder's order is the job's; its map has the alphabet's.
    expected.sort_by(|a, b| a.rendition.id.cmp(&b.rendition.id));
    published.sort_by(|a, b| a.rendition.id.cmp(&b.rendition.id));
    assert_eq!(published, expected);
    assert_eq!(playback.renditions.last().unwrap().rendition.id.0, "audio");
    let states = catalogue::renditions(reader, &[job]).await.unwrap();
    assert!(states.iter().all(|state| state.size_bytes == 110));
    assert!(states.iter().all(|state| state.segments_published == 1));

    let failed = platform.fail(&story, job).await;
    platform.project_up_to(failed).await;
    let playback = catalogue::playback(reader, story.id)
        .await
        .unwrap()
        .unwrap();
    assert!(!playback.playable, "what was playable is withdrawn");
    let video = catalogue::video(reader, story.id).await.unwrap().unwrap();
    let failure = Failure {
        code: Code::SourceCorrupt,
        message: "the file is damaged".to_owned(),
    };
    assert_eq!(video.failure, Some(failure.clone()));
    let told = announcements::after(reader, Some(position), 10)
        .await
        .unwrap();
    assert_eq!(told[0].failure, Some(failure));
    platform.stop().await;
}

#[tokio::test]
async fn a_deleted_video_leaves_nothing_that_can_be_read() {
    let platform = Platform::new().await;
    let story = story(1, "gone");
    let (job, _) = platform.make_ready(&story).await;
    platform.view(story.id, "someone", DAWN_MS).await;
    platform.project_up_to(platform.delete(&story).await).await;
    // A late report of a worker and a late view bring nothing back.
    let at_ms = story.at_ms + 20;
    platform
        .job(job, domain::job::Command::Cancel { at_ms })
        .await;
    let late = platform.view(story.id, "late", DAWN_MS).await;
    platform.project_up_to(late).await;

    let reader = &platform.reader;
    assert_eq!(catalogue::video(reader, story.id).await.unwrap(), None);
    assert_eq!(catalogue::playback(reader, story.id).await.unwrap(), None);
    assert!(lists::owned(reader, &story.owner.0).await.is_empty());
    assert!(
        catalogue::renditions(reader, &[job])
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        catalogue::history(reader, story.id)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        announcements::after(reader, None, 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(popularity::views(reader, &[story.id]).await.unwrap(), [0]);
    platform.stop().await;
}

#[tokio::test]
async fn a_list_is_read_page_by_page_and_shows_only_what_its_reader_may_see() {
    let platform = Platform::new().await;
    let mut last = 0;
    for number in 1..=5 {
        last = platform.make_playable(&story(number, "public")).await.1;
    }
    let mut private = story(6, "private");
    private.visibility = Visibility::Private;
    let mut unlisted = story(7, "unlisted");
    unlisted.visibility = Visibility::Unlisted;
    for story in [&private, &unlisted] {
        last = platform.make_playable(story).await.1;
    }
    // Public, but not playable.
    last = platform.request(&story(8, "uploading")).await.max(last);
    platform.project_up_to(last).await;
    let reader = &platform.reader;

    let seen = lists::public(reader).await;
    let expected: Vec<VideoId> = (1..=5).rev().map(|n| story(n, "").id).collect();
    assert_eq!(seen, expected, "newest first, each once");

    assert_eq!(lists::owned(reader, "ada").await.len(), 8);
    assert!(lists::owned(reader, "bob").await.is_empty());

    let private = catalogue::video(reader, private.id).await.unwrap().unwrap();
    assert!(!private.visible_to(None) && !private.visible_to(Some(&Owner("bob".to_owned()))));
    assert!(private.visible_to(Some(&Owner("ada".to_owned()))));
    platform.stop().await;
}

#[tokio::test]
async fn an_upload_that_is_not_as_declared_and_one_that_never_came_are_announced_as_failed() {
    let platform = Platform::new().await;
    let (wrong, late) = (story(1, "wrong"), story(2, "late"));
    platform.request(&wrong).await;
    let found = Found {
        size_bytes: 999,
        etag: "etag".to_owned(),
        checksum_sha256: None,
    };
    let at_ms = DAWN_MS + 5000;
    platform
        .video(wrong.id, Command::CompleteUpload { found, at_ms })
        .await;
    platform.request(&late).await;
    let at_ms = late.at_ms + 3_600_000;
    let position = platform
        .video(late.id, Command::ExpireUpload { at_ms })
        .await
        .position;
    platform.project_up_to(position).await;

    let told = announcements::after(&platform.reader, None, 10)
        .await
        .unwrap();
    let told: Vec<_> = told
        .iter()
        .map(|a| (a.video, a.kind, a.status, a.failure.as_ref().unwrap().code))
        .collect();
    assert_eq!(
        told,
        [
            (wrong.id, Kind::Failed, Status::Failed, Code::UploadMismatch),
            (late.id, Kind::Failed, Status::Expired, Code::UploadExpired),
        ]
    );
    platform.stop().await;
}

#[tokio::test]
async fn announcements_are_let_go_after_thirty_days_of_events() {
    let platform = Platform::new().await;
    let (old, new) = (story(1, "old"), story(31 * 24 * 3600, "31 days later"));
    let (_, first) = platform.make_playable(&old).await;
    platform.project_up_to(first).await;
    assert_eq!(
        announcements::pruned_to(&platform.reader).await.unwrap(),
        None
    );
    let (_, last) = platform.make_playable(&new).await;
    platform.project_up_to(last).await;

    let kept = announcements::after(&platform.reader, None, 10)
        .await
        .unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].commit, last);
    let pruned_to = announcements::pruned_to(&platform.reader).await.unwrap();
    assert_eq!(pruned_to, Some(first));
    platform.stop().await;
}

#[tokio::test]
async fn a_session_counts_once_a_day_and_newer_views_trend() {
    const DAY_MS: i64 = 24 * 3_600_000;
    let platform = Platform::new().await;
    let (a, b) = (story(1, "a"), story(2, "b"));
    let mut hidden = story(3, "hidden");
    hidden.visibility = Visibility::Unlisted;
    for story in [&a, &b, &hidden] {
        platform.make_playable(story).await;
    }
    let now = DAWN_MS + 3 * DAY_MS;
    for session in ["one", "two", "three"] {
        platform.view(a.id, session, DAWN_MS).await;
        platform.view(a.id, session, DAWN_MS + 1).await;
    }
    platform.view(a.id, "one", DAWN_MS + DAY_MS).await;
    platform.view(hidden.id, "one", now).await;
    platform.view(b.id, "one", now).await;
    let last = platform.view(b.id, "two", now).await;
    platform.project_up_to(last).await;

    let views = popularity::views(&platform.reader, &[a.id, b.id])
        .await
        .unwrap();
    assert_eq!(views, [4, 2]);
    let trending = popularity::trending(&platform.reader, Window::Week, now, 10)
        .await
        .unwrap();
    let trending: Vec<VideoId> = trending.iter().map(|video| video.id).collect();
    assert_eq!(
        trending,
        [b.id, a.id],
        "newer before more, and nothing unlisted"
    );
    platform.stop().await;
}

#[tokio::test]
async fn a_waiting_reader_is_woken_and_never_waits_for_ever() {
    let platform = Platform::new().await;
    let projecting = platform.project();
    let reader = platform.reader.clone();
    let listening = crate::platform::running({
        let reader = reader.clone();
        |stop| async move {
            reader.listen(stop).await;
            Ok(())
        }
    });
    let mut wakes = reader.wakes();
    let woken = async |wakes: &mut tokio::sync::broadcast::Receiver<Wake>, by: Wake| {
        tokio::time::timeout(PATIENCE, async {
            while wakes.recv().await.unwrap() != by {}
        })
        .await
        .unwrap_or_else(|_| panic!("nobody was told of {by:?}"));
    };
    woken(&mut wakes, Wake::Anything).await;
    let story = story(1, "news");
    let (_, position) = platform.make_playable(&story).await;
    woken(&mut wakes, Wake::Announced(position)).await;

    let changes = Changes {
        title: Some("new title".to_owned()),
        ..Changes::default()
    };
    let mut wakes = reader.wakes();
    let changed = platform.change(&story, changes).await;
    woken(&mut wakes, Wake::Video(story.id)).await;
    assert!(
        reader
            .wait_for(Model::Catalogue, changed, PATIENCE)
            .await
            .unwrap()
    );
    let never = changed + 1_000_000;
    let short = Duration::from_millis(10);
    assert!(
        !reader
            .wait_for(Model::Catalogue, never, short)
            .await
            .unwrap()
    );
    listening.stop().await;
    projecting.stop().await;
    platform.stop().await;
}
