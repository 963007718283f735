//! One rendition of a ready video is made again: who may ask, what they hear, what is played.

use api::token::Scope;
use domain::{
    code::Code,
    id::{JobId, RenditionId, TaskId},
    job::{self, Lease, Outcome, again::Again},
    video::{Command, Found, Visibility},
};
use projections::announcements;
use serde_json::{Value, json};

use crate::{
    life::{Life, reach},
    platform::{Platform, code, person, test, token, user_code},
};

const RETRY: &str = "mutation($input: RetryRenditionInput!) { retryRendition(input: $input) {
    video { status playable renditionRetry { rendition status } }
    position userErrors { field code message } } }";

const SEEN: &str = "query($id: ID!) { video(id: $id) { status playable failure { code }
    renditions { id } playback { hls dash }
    renditionRetry { rendition status endedAt failure { code message attempts { task outcome } } } } }";

#[test]
fn a_rendition_is_made_again_while_the_old_one_is_played() {
    test(async |platform| {
        let owner = "retries-done";
        let own = person(owner);
        let mut life = finished(platform, owner).await;
        let (old, old_key) = (life.job, shown(platform, &life, "144p").await);
        let input =
            json!({"videoId": life.id.to_string(), "rendition": "144p", "idempotencyKey": "once"});
        let begun = retry(platform, &own, &input).await;
        assert_eq!(begun["userErrors"], json!([]));
        let running = json!({"rendition": "144p", "status": "RUNNING"});
        let expected = json!({"status": "READY", "playable": true, "renditionRetry": running});
        assert_eq!(begun["video"], expected);
        let again = retry(platform, &own, &input).await;
        assert_eq!(again["position"], begun["position"]);
        let other = json!({"videoId": life.id.to_string(), "rendition": "audio"});
        assert_eq!(user_code(&retry(platform, &own, &other).await), "CONFLICT");

        redo(&mut life, old, "144p").await;
        reach(platform, remake(&life, 2).await).await;
        assert_eq!(shown(platform, &life, "144p").await, old_key);
        finish(&life, "finish", Outcome::Checked { playlists: vec![] }).await;
        let commit = life.become_ready().await;
        reach(platform, commit).await;

        let new_key = shown(platform, &life, "144p").await;
        assert!(new_key.starts_with(&life.job.to_string()), "{new_key}");
        let kept = shown(platform, &life, "240p").await;
        assert!(kept.starts_with(&old.to_string()), "{kept}");
        for key in [&old_key, &new_key, &kept] {
            let path = format!("/play/public/{}/{key}", life.id);
            assert_eq!(platform.get(&path).await.status(), 200, "{key}");
        }
        let video = seen(platform, Some(&own), &life).await;
        assert_eq!(video["status"], "READY");
        assert_eq!(video["renditionRetry"]["status"], "DONE");
        assert_ne!(video["playback"]["dash"], Value::Null);
        let ids = ["240p", "144p", "audio"].map(|id| json!({"id": id}));
        assert_eq!(
            video["renditions"],
            json!(ids),
            "in the order of the ladder"
        );
        assert_eq!(
            seen(platform, None, &life).await["renditionRetry"],
            Value::Null
        );
        assert_eq!(told(platform, &life).await, 2, "playable and ready, once");

        // It was done long ago, and is not done again.
        let late = retry(platform, &own, &input).await;
        assert_eq!(late["position"], begun["position"]);
        assert_eq!(late["video"]["renditionRetry"]["status"], "DONE");
    });
}

#[test]
fn a_failed_retry_says_why_and_the_video_plays_on() {
    test(async |platform| {
        let owner = "retries-failed";
        let own = person(owner);
        let mut life = finished(platform, owner).await;
        let (old, old_key) = (life.job, shown(platform, &life, "144p").await);
        let input = json!({"videoId": life.id.to_string(), "rendition": "144p"});
        retry(platform, &own, &input).await;
        redo(&mut life, old, "144p").await;
        let lease = life.start("encode").await;
        life.publish(&lease, "144p", 0).await;
        life.fail_attempt(lease).await;
        let commit = life.fail().await;
        reach(platform, commit).await;

        let video = seen(platform, Some(&own), &life).await;
        assert_eq!(video["status"], "READY");
        assert_eq!(
            (&video["playable"], &video["failure"]),
            (&json!(true), &Value::Null)
        );
        let retried = &video["renditionRetry"];
        assert_eq!(retried["status"], "FAILED");
        assert_eq!(retried["failure"]["code"], Code::SourceCorrupt.as_str());
        let attempts = retried["failure"]["attempts"].as_array().unwrap();
        let failed = json!({"task": "encode", "outcome": "FAILED"});
        assert!(attempts.contains(&failed), "{attempts:?}");
        assert_eq!(shown(platform, &life, "144p").await, old_key);
        assert_eq!(told(platform, &life).await, 2, "playable and ready, once");
        let once_more = retry(platform, &own, &input).await;
        assert_eq!(once_more["userErrors"], json!([]));
    });
}

#[test]
fn what_cannot_be_made_again_is_refused_with_a_reason() {
    test(async |platform| {
        let owner = "retries-refused";
        let own = person(owner);
        let life = finished(platform, owner).await;
        let id = life.id.to_string();
        let unknown = json!({"videoId": id, "rendition": "2160p"});
        let refused = retry(platform, &own, &unknown).await;
        assert_eq!(user_code(&refused), "NOT_FOUND");
        assert_eq!(refused["userErrors"][0]["field"], "rendition");
        let message = refused["userErrors"][0]["message"].as_str().unwrap();
        assert!(message.contains("240p"), "{message}");

        let input = json!({"videoId": id, "rendition": "240p"});
        let read_only = token(owner, &[Scope::VideosRead]);
        let answer = platform.ask(Some(&read_only), RETRY, json!({"input": input}));
        assert_eq!(code(&answer.await), "FORBIDDEN");
        let answer = platform.ask(None, RETRY, json!({"input": input}));
        assert_eq!(code(&answer.await), "UNAUTHENTICATED");
        let other = person("retries-other");
        assert_eq!(
            user_code(&retry(platform, &other, &input).await),
            "FORBIDDEN"
        );
        let nowhere = json!({"videoId": uuid::Uuid::new_v4().to_string(), "rendition": "240p"});
        assert_eq!(
            user_code(&retry(platform, &own, &nowhere).await),
            "NOT_FOUND"
        );

        platform.objects.delete(&source(&life)).await.unwrap();
        let refused = retry(platform, &own, &input).await;
        assert_eq!(user_code(&refused), "SOURCE_GONE");
        assert_eq!(refused["video"], Value::Null);

        let mut young = Life::begin(platform, owner, "young", Visibility::Public).await;
        young.playable().await;
        let input = json!({"videoId": young.id.to_string(), "rendition": "240p"});
        assert_eq!(user_code(&retry(platform, &own, &input).await), "CONFLICT");
    });
}

#[test]
fn an_operator_has_others_renditions_made_again() {
    test(async |platform| {
        let life = finished(platform, "retries-operated").await;
        let operator = token("retries-operator", &[Scope::Operate]);
        let input = json!({"videoId": life.id.to_string(), "rendition": "audio"});
        let begun = retry(platform, &operator, &input).await;
        assert_eq!(begun["video"]["renditionRetry"]["status"], "RUNNING");
    });
}

/// A public video with a source, whose job did all that it had to.
async fn finished<'p>(platform: &'p Platform, owner: &str) -> Life<'p> {
    let mut life = Life::begin(platform, owner, "made in full", Visibility::Public).await;
    life.put(&source(&life), vec![7; 1000]).await;
    let head = platform
        .objects
        .head(&source(&life))
        .await
        .unwrap()
        .unwrap();
    let found = Found {
        size_bytes: head.size_bytes,
        etag: head.etag,
        checksum_sha256: None,
    };
    let at_ms = life.at_ms;
    life.video(Command::CompleteUpload { found, at_ms }).await;
    life.plan().await;
    for (task, renditions) in [("encode", &["240p", "144p"][..]), ("audio", &["audio"][..])] {
        let lease = life.start(task).await;
        for rendition in renditions {
            for number in 0..2 {
                life.publish(&lease, rendition, number).await;
            }
        }
        end(&life, lease, encoded()).await;
    }
    let poster = Outcome::Poster {
        key: format!("videos/{}/{}/poster/1/poster.jpg", life.id, life.job),
        width: 320,
        height: 240,
        size_bytes: 9,
    };
    finish(&life, "poster", poster).await;
    finish(&life, "finish", Outcome::Checked { playlists: vec![] }).await;
    life.become_playable().await;
    let commit = life.become_ready().await;
    reach(platform, commit).await;
    life
}

fn source(life: &Life<'_>) -> String {
    format!("elsewhere/{}", life.id)
}

fn encoded() -> Outcome {
    Outcome::Encoded {
        duration_ms: 4_000,
        samples: 120,
    }
}

/// Begins the job that the last event asked for.
async fn redo(life: &mut Life<'_>, old: JobId, rendition: &str) {
    let log = life.log();
    let stream = format!("video-{}", life.id);
    let events = log.read_stream(&stream, None, 1000).await;
    let asked = events.unwrap().pop().unwrap().id;
    let made = log.load::<job::Job>(old).await.unwrap().state;
    life.job = JobId::caused_by(asked);
    life.job(job::Command::Redo {
        job: life.job,
        video: life.id,
        owner: life.owner.clone(),
        source: made.source.clone(),
        again: Again::of(&made, &RenditionId(rendition.to_owned())),
        slots: 1,
        at_ms: life.at_ms,
    })
    .await;
}

async fn remake(life: &Life<'_>, segments: u32) -> u64 {
    let lease = life.start("encode").await;
    for number in 0..segments {
        life.publish(&lease, "144p", number).await;
    }
    end(life, lease, encoded()).await
}

async fn finish(life: &Life<'_>, task: &str, outcome: Outcome) {
    life.start(task).await;
    let lease = Lease {
        task: TaskId(task.to_owned()),
        attempt: 1,
    };
    end(life, lease, outcome).await;
}

async fn end(life: &Life<'_>, lease: Lease, outcome: Outcome) -> u64 {
    let finish = job::Command::Finish {
        lease,
        outcome,
        slots: 1,
        at_ms: life.at_ms,
    };
    life.job(finish).await.position
}

async fn retry(platform: &Platform, token: &str, input: &Value) -> Value {
    let variables = json!({"input": input});
    platform.data(Some(token), RETRY, variables).await["retryRendition"].clone()
}

async fn seen(platform: &Platform, token: Option<&str>, life: &Life<'_>) -> Value {
    let variables = json!({"id": life.id.to_string()});
    platform.data(token, SEEN, variables).await["video"].clone()
}

/// The first segment that the playlist of a rendition names, after `/play/public/{video}/`.
async fn shown(platform: &Platform, life: &Life<'_>, rendition: &str) -> String {
    let path = format!("/play/public/{}/{rendition}.m3u8", life.id);
    let text = platform.get(&path).await.text().await.unwrap();
    let mut lines = text.lines();
    let segment = lines.find(|line| line.ends_with("-0.m4s"));
    segment.unwrap_or_else(|| panic!("{text}")).to_owned()
}

/// How often subscribers were told of a video.
async fn told(platform: &Platform, life: &Life<'_>) -> usize {
    let mut after = None;
    let mut told = 0;
    loop {
        let page = announcements::after(&platform.reader, after, 100).await;
        let page = page.unwrap();
        let Some(last) = page.last() else { return told };
        after = Some(last.commit);
        told += page.iter().filter(|it| it.video == life.id).count();
    }
}
