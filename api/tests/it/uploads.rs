//! From the promise of a file to its acceptance, or not.

use std::time::Duration;

use api::token::Scope;
use domain::{
    id::{CommandId, Owner, VideoId},
    video::{Command, Declared, Details, Status, Video},
};
use eventlog::Envelope;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::platform::{HOOK_TOKEN, PATIENCE, Platform, code, person, test, token, user_code};

const CREATE: &str = "mutation($input: CreateUploadInput!) { createUpload(input: $input) {
    upload { id method url headers { name value } expiresAt }
    video { id title status visibility createdAt } position userErrors { field message code } } }";
const COMPLETE: &str = "mutation($input: CompleteUploadInput!) { completeUpload(input: $input) {
    video { id status failure { code message } } position userErrors { field message code } } }";

async fn create(platform: &Platform, token: &str, input: Value) -> Value {
    let mut all = json!({"title": "a clip", "fileName": "clip.mp4", "contentType": "video/mp4"});
    for (name, value) in input.as_object().unwrap() {
        all[name] = value.clone();
    }
    let data = platform
        .data(Some(token), CREATE, json!({"input": all}))
        .await;
    data["createUpload"].clone()
}

async fn complete(platform: &Platform, token: &str, video: &str) -> Value {
    let input = json!({"input": {"videoId": video}});
    platform.data(Some(token), COMPLETE, input).await["completeUpload"].clone()
}

async fn put(platform: &Platform, upload: &Value, body: &'static [u8]) -> u16 {
    assert_eq!(upload["method"], "PUT");
    let mut request = platform.http.put(upload["url"].as_str().unwrap());
    let headers = upload["headers"].as_array().unwrap();
    // The client counts the body's bytes itself, as every client does.
    for header in headers
        .iter()
        .filter(|header| header["name"] != "content-length")
    {
        request = request.header(
            header["name"].as_str().unwrap(),
            header["value"].as_str().unwrap(),
        );
    }
    request.body(body).send().await.unwrap().status().as_u16()
}

fn id(payload: &Value) -> &str {
    payload["video"]["id"].as_str().expect("a video")
}

/// The types of a video's events.
async fn history(platform: &Platform, video: &str) -> Vec<String> {
    let stream = format!("video-{video}");
    let events = platform.log.read_stream(&stream, None, 100).await.unwrap();
    events.into_iter().map(|event| event.type_name).collect()
}

/// Waits until the video's stream ends with an event of this type.
async fn becomes(platform: &Platform, video: &str, type_name: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while history(platform, video).await.last().map(String::as_str) != Some(type_name) {
        assert!(tokio::time::Instant::now() < deadline, "no {type_name}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const REQUESTED: &str = "video.upload-requested.v1";
const COMPLETED: &str = "video.upload-completed.v1";
const REJECTED: &str = "video.upload-rejected.v1";
const DELETED: &str = "video.deleted.v1";

#[test]
fn a_file_that_arrives_is_accepted_once_whoever_says_so() {
    test(async |platform| {
        let ada = person("uploads-ada");
        let created = create(
            platform,
            &ada,
            json!({"sizeBytes": 5, "visibility": "UNLISTED"}),
        )
        .await;
        assert_eq!(created["video"]["status"], "UPLOADING");
        assert_eq!(created["video"]["visibility"], "UNLISTED");
        assert_eq!(created["upload"]["id"], created["video"]["id"]);
        let video = id(&created);

        let early = complete(platform, &ada, video).await;
        assert_eq!(user_code(&early), "CONFLICT");
        assert_eq!(history(platform, video).await, [REQUESTED]);

        assert_eq!(put(platform, &created["upload"], b"hello").await, 200);
        // The store's notification alone.
        becomes(platform, video, COMPLETED).await;
        let first = complete(platform, &ada, video).await;
        let second = complete(platform, &ada, video).await;
        assert_eq!(first["video"]["status"], "PROCESSING");
        assert_eq!(first, second);
        assert_eq!(history(platform, video).await, [REQUESTED, COMPLETED]);

        // The store refuses to take another file in its place.
        assert_eq!(put(platform, &created["upload"], b"other").await, 412);
        assert_eq!(complete(platform, &ada, video).await, first);
    });
}

#[test]
fn a_file_that_arrives_after_its_video_was_deleted_is_erased() {
    test(async |platform| {
        let ada = person("uploads-deleted");
        let created = create(platform, &ada, json!({"sizeBytes": 5})).await;
        let video = id(&created);
        let delete = "mutation($input: DeleteVideoInput!) { deleteVideo(input: $input) { userErrors { code } } }";
        let input = json!({"input": {"videoId": video}});
        let deleted = platform.data(Some(&ada), delete, input).await["deleteVideo"].clone();
        assert_eq!(deleted["userErrors"], json!([]));

        // The address still works.
        assert_eq!(put(platform, &created["upload"], b"hello").await, 200);
        let key = format!("sources/{video}/original");
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while platform.objects.head(&key).await.unwrap().is_some() {
            assert!(tokio::time::Instant::now() < deadline, "it stays");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(history(platform, video).await, [REQUESTED, DELETED]);
    });
}

#[test]
fn a_file_of_another_size_cannot_be_put() {
    test(async |platform| {
        let created = create(platform, &person("uploads-size"), json!({"sizeBytes": 5})).await;
        assert!(put(platform, &created["upload"], b"longer").await >= 400);
        assert_eq!(history(platform, id(&created)).await, [REQUESTED]);
    });
}

#[test]
fn a_file_of_another_size_in_the_store_is_a_mismatch() {
    test(async |platform| {
        let ada = person("uploads-size-2");
        let created = create(platform, &ada, json!({"sizeBytes": 5})).await;
        let video = id(&created);
        let key = format!("sources/{video}/original");
        // Through a door that the api did not open.
        let objects = &platform.objects;
        objects
            .create(&key, "video/mp4", "longer".into())
            .await
            .unwrap();
        let completed = complete(platform, &ada, video).await;
        assert_eq!(user_code(&completed), "UPLOAD_MISMATCH");
        assert_eq!(completed["video"]["status"], "FAILED");
        assert_eq!(completed["video"]["failure"]["code"], "UPLOAD_MISMATCH");
        assert_eq!(history(platform, video).await, [REQUESTED, REJECTED]);
        assert_eq!(
            complete(platform, &ada, video).await["userErrors"],
            completed["userErrors"]
        );
    });
}

#[test]
fn a_file_with_another_checksum_is_a_mismatch() {
    test(async |platform| {
        let ada = person("uploads-sum");
        let right = hex::encode(Sha256::digest(b"hello"));
        let wrong = hex::encode(Sha256::digest(b"other"));
        let input = json!({"sizeBytes": 5, "checksumSha256": right});
        let created = create(platform, &ada, input).await;
        put(platform, &created["upload"], b"hello").await;
        assert_eq!(
            complete(platform, &ada, id(&created)).await["userErrors"],
            json!([])
        );

        let input = json!({"sizeBytes": 5, "checksumSha256": wrong});
        let created = create(platform, &ada, input).await;
        put(platform, &created["upload"], b"hello").await;
        let completed = complete(platform, &ada, id(&created)).await;
        assert_eq!(user_code(&completed), "UPLOAD_MISMATCH");
        assert_eq!(history(platform, id(&created)).await, [REQUESTED, REJECTED]);
    });
}

#[test]
fn an_idempotency_key_names_one_video() {
    test(async |platform| {
        let ada = person("uploads-key");
        let input = json!({"sizeBytes": 5, "idempotencyKey": "one"});
        let first = create(platform, &ada, input.clone()).await;
        let again = create(platform, &ada, input.clone()).await;
        assert_eq!(first["video"], again["video"]);
        assert_eq!(first["position"], again["position"]);
        assert_eq!(history(platform, id(&first)).await, [REQUESTED]);

        for other in [
            json!({"sizeBytes": 6}),
            json!({"title": "another"}),
            json!({"tags": ["x"]}),
        ] {
            let mut changed = input.clone();
            changed
                .as_object_mut()
                .unwrap()
                .extend(other.as_object().unwrap().clone());
            let refused = create(platform, &ada, changed).await;
            assert_eq!(user_code(&refused), "CONFLICT", "{other}");
        }
        let bob = create(platform, &person("uploads-key-2"), input.clone()).await;
        assert_ne!(bob["video"]["id"], first["video"]["id"]);

        // The fresh place works, and once the file is there none is needed.
        assert_eq!(put(platform, &again["upload"], b"hello").await, 200);
        becomes(platform, id(&first), COMPLETED).await;
        let later = create(platform, &ada, input).await;
        assert_eq!(later["upload"], Value::Null);
        assert_eq!(later["video"]["id"], first["video"]["id"]);
        assert_eq!(later["userErrors"], json!([]));
    });
}

#[test]
fn what_cannot_be_uploaded_is_refused_and_leaves_nothing() {
    test(async |platform| {
        let ada = person("uploads-bad");
        for (input, expected, field) in [
            (json!({"sizeBytes": 0}), "UPLOAD_EMPTY", "sizeBytes"),
            (json!({"sizeBytes": -1}), "UPLOAD_EMPTY", "sizeBytes"),
            (
                json!({"sizeBytes": 5_368_709_121_i64}),
                "UPLOAD_TOO_LARGE",
                "sizeBytes",
            ),
            (
                json!({"sizeBytes": 60_000_000_000_i64}),
                "UPLOAD_TOO_LARGE",
                "sizeBytes",
            ),
            (
                json!({"sizeBytes": 1, "checksumSha256": "abc"}),
                "INVALID",
                "checksumSha256",
            ),
            (
                json!({"sizeBytes": 1, "contentType": "a\r\nb"}),
                "INVALID",
                "contentType",
            ),
            (
                json!({"sizeBytes": 1, "idempotencyKey": ""}),
                "INVALID",
                "idempotencyKey",
            ),
            (json!({"sizeBytes": 1, "title": " "}), "INVALID", "title"),
            (
                json!({"sizeBytes": 1, "title": "x".repeat(201)}),
                "INVALID",
                "title",
            ),
            (
                json!({"sizeBytes": 1, "tags": vec!["t"; 31]}),
                "INVALID",
                "tags",
            ),
        ] {
            let refused = create(platform, &ada, input.clone()).await;
            assert_eq!(user_code(&refused), expected, "{input}");
            assert_eq!(refused["userErrors"][0]["field"], field, "{input}");
            assert_eq!(refused["video"], Value::Null);
            assert_eq!(refused["upload"], Value::Null);
        }
    });
}

#[test]
fn uploads_need_the_scope_for_it() {
    test(async |platform| {
        let input = json!({"input": {"title": "t", "fileName": "f", "sizeBytes": 1}});
        let nobody = platform.ask(None, CREATE, input.clone()).await;
        assert_eq!(code(&nobody), "UNAUTHENTICATED");
        let reader = token("uploads-reader", &[Scope::VideosRead, Scope::AnalyticsRead]);
        assert_eq!(
            code(&platform.ask(Some(&reader), CREATE, input).await),
            "FORBIDDEN"
        );
    });
}

#[test]
fn only_its_owner_completes_an_upload() {
    test(async |platform| {
        let ada = person("uploads-mine");
        let created = create(platform, &ada, json!({"sizeBytes": 5})).await;
        let bob = person("uploads-not-mine");
        let refused = complete(platform, &bob, id(&created)).await;
        assert_eq!(user_code(&refused), "NOT_FOUND");
        let nothing = complete(platform, &bob, "no-id").await;
        assert_eq!(user_code(&nothing), "NOT_FOUND");
        let input = json!({"sizeBytes": 5, "visibility": "PUBLIC"});
        let public = create(platform, &ada, input).await;
        let refused = complete(platform, &bob, id(&public)).await;
        assert_eq!(user_code(&refused), "FORBIDDEN");
        let operator = token("uploads-operator", &[Scope::Operate]);
        let early = complete(platform, &operator, id(&created)).await;
        assert_eq!(user_code(&early), "CONFLICT");
    });
}

async fn hook(platform: &Platform, token: Option<&str>, body: String) -> u16 {
    let url = format!("{}/hooks/object-created", platform.api.url);
    let mut request = platform.http.post(url).body(body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.unwrap().status().as_u16()
}

fn event(key: &str) -> String {
    let record = json!({"eventName": "ObjectCreated:Put", "s3": {"object": {"key": key}}});
    json!({"Records": [record]}).to_string()
}

#[test]
fn the_hook_believes_nothing_it_is_told() {
    test(async |platform| {
        let created = create(platform, &person("uploads-hook"), json!({"sizeBytes": 5})).await;
        let video = id(&created);
        let key = format!("sources/{video}/original");
        for wrong in [None, Some("wrong"), Some(""), Some(&HOOK_TOKEN[1..])] {
            assert_eq!(hook(platform, wrong, event(&key)).await, 401);
        }
        assert_eq!(
            hook(platform, Some(HOOK_TOKEN), "no json".to_owned()).await,
            400
        );
        let large = "x".repeat(300 * 1024);
        assert_eq!(hook(platform, Some(HOOK_TOKEN), large).await, 413);
        for elsewhere in [
            key.clone(),
            "sources/../videos/x".to_owned(),
            format!("sources/{video}/other"),
            format!("sources/{}/original", Uuid::new_v4()),
            format!("videos/{video}/original"),
            String::new(),
        ] {
            // Nothing is there, whatever the notification says.
            assert_eq!(
                hook(platform, Some(HOOK_TOKEN), event(&elsewhere)).await,
                204
            );
        }
        assert_eq!(history(platform, video).await, [REQUESTED]);
        put(platform, &created["upload"], b"hello").await;
        for key in [key.clone(), key.replace('/', "%2F")] {
            assert_eq!(hook(platform, Some(HOOK_TOKEN), event(&key)).await, 204);
        }
        assert_eq!(history(platform, video).await, [REQUESTED, COMPLETED]);
    });
}

/// An upload that no notification will ever be about.
async fn silent_upload(platform: &Platform, expires_in_ms: i64) -> VideoId {
    let id = VideoId(Uuid::now_v7());
    let at_ms =
        (time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000) as i64 - 60_000;
    let request = Command::RequestUpload {
        video: id,
        owner: Owner("uploads-sweep".to_owned()),
        details: Details {
            title: "silent".to_owned(),
            ..Details::default()
        },
        declared: Declared {
            file_name: "clip.mp4".to_owned(),
            content_type: "video/mp4".to_owned(),
            size_bytes: 5,
            checksum_sha256: None,
        },
        key: format!("elsewhere/{id}"),
        expires_at_ms: at_ms + 60_000 + expires_in_ms,
        priority: domain::video::Priority::Normal,
        at_ms,
    };
    let by = Envelope::new(CommandId(Uuid::now_v7()), "test");
    platform
        .log
        .execute::<Video>(id, &by, request)
        .await
        .unwrap();
    id
}

#[test]
fn the_sweep_finds_what_nobody_told_of_and_gives_up_what_never_came() {
    test(async |platform| {
        let api = platform
            .another(|config| {
                config.tuning.sweep_every = Duration::from_millis(50);
                config.tuning.upload_grace = Duration::ZERO;
            })
            .await;
        let arrived = silent_upload(platform, 3_600_000).await;
        let waiting = silent_upload(platform, 3_600_000).await;
        let late = silent_upload(platform, 0).await;
        let objects = &platform.objects;
        let key = format!("elsewhere/{arrived}");
        objects
            .create(&key, "video/mp4", "hello".into())
            .await
            .unwrap();
        becomes(platform, &arrived.to_string(), COMPLETED).await;
        becomes(platform, &late.to_string(), "video.upload-expired.v1").await;
        let state = platform.log.load::<Video>(waiting).await.unwrap().state;
        assert_eq!(state.status, Status::Uploading);
        api.stop.cancel();
    });
}

#[test]
fn an_upload_with_no_second_left_has_no_url() {
    test(async |platform| {
        let api = platform
            .another(|config| config.tuning.upload = Duration::from_millis(900))
            .await;
        let input = json!({"title": "late", "fileName": "clip.mp4", "contentType": "video/mp4", "sizeBytes": 4});
        let body = json!({"query": CREATE, "variables": {"input": input}});
        let (_, answer) = platform
            .ask_at(&api, Some(&person("upload-late")), body)
            .await;
        let payload = &answer["data"]["createUpload"];
        assert_eq!(user_code(payload), "UPLOAD_EXPIRED");
        assert_eq!(payload["upload"], Value::Null);
        api.stop.cancel();
    });
}
