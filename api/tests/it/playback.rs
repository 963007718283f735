//! What players get, and what they do not.

use domain::video::Visibility;
use reqwest::{Method, Response, StatusCode};
use serde_json::json;

use crate::{
    life::{Life, SEGMENT_BYTES, reach, segment_bytes},
    platform::{PATIENCE, PLAYBACK_SECRET, Platform, person, test},
};

async fn fetch(platform: &Platform, path: &str, headers: &[(&str, &str)]) -> Response {
    request(platform, Method::GET, path, headers).await
}

async fn request(
    platform: &Platform,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Response {
    let url = if path.starts_with("http") {
        path.to_owned()
    } else {
        format!("{}{path}", platform.api.url)
    };
    let mut request = platform.http.request(method, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

/// Where the owner is told to play it.
async fn hls(platform: &Platform, owner: &str, life: &Life<'_>) -> String {
    let query = "query($id: ID!) { video(id: $id) { playback { hls dash } } }";
    let variables = json!({"id": life.id.to_string()});
    let data = platform.data(Some(&person(owner)), query, variables).await;
    data["video"]["playback"]["hls"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Every address in a playlist that is not a comment, and those of its `URI` attributes.
fn addresses(playlist: &str) -> Vec<String> {
    let mut found = vec![];
    for line in playlist.lines() {
        if !line.starts_with('#') && !line.is_empty() {
            found.push(line.to_owned());
        } else if let Some((_, rest)) = line.split_once("URI=\"") {
            found.push(rest.split('"').next().unwrap().to_owned());
        }
    }
    found
}

#[test]
fn a_ready_video_plays_from_its_master_to_its_last_segment() {
    test(async |platform| {
        let (life, commit) = Life::ready(platform, "play-ready", "plays", Visibility::Public).await;
        reach(platform, commit).await;
        let master_url = hls(platform, "play-ready", &life).await;
        assert_eq!(
            master_url,
            format!("{}/play/public/{}/master.m3u8", platform.api.url, life.id)
        );
        let master = fetch(
            platform,
            &master_url,
            &[("origin", "http://elsewhere.test")],
        )
        .await;
        assert_eq!(master.status(), 200);
        assert_eq!(
            header(&master, "content-type"),
            "application/vnd.apple.mpegurl"
        );
        assert_eq!(header(&master, "cache-control"), "public, max-age=86400");
        assert_eq!(header(&master, "access-control-allow-origin"), "*");
        assert!(header(&master, "access-control-expose-headers").contains("content-range"));
        let base = master_url.strip_suffix("master.m3u8").unwrap();
        let playlists = addresses(&master.text().await.unwrap());
        assert_eq!(playlists.len(), 3, "{playlists:?}");
        for playlist in playlists {
            let media = fetch(platform, &format!("{base}{playlist}"), &[]).await;
            assert_eq!(media.status(), 200);
            let text = media.text().await.unwrap();
            assert!(text.contains("#EXT-X-ENDLIST"), "{text}");
            let files = addresses(&text);
            assert_eq!(files.len(), 2, "an init and a segment: {text}");
            for (file, bytes) in files.iter().zip([b"init".to_vec(), segment_bytes()]) {
                let response = fetch(platform, &format!("{base}{file}"), &[]).await;
                assert_eq!(response.status(), 200);
                let expected = if playlist.contains("audio") {
                    "audio/mp4"
                } else {
                    "video/mp4"
                };
                assert_eq!(header(&response, "content-type"), expected);
                assert_eq!(
                    header(&response, "cache-control"),
                    "public, max-age=31536000, immutable"
                );
                assert_eq!(response.bytes().await.unwrap(), bytes);
            }
        }
        let dash = fetch(platform, &format!("{base}manifest.mpd"), &[]).await;
        assert_eq!(dash.status(), 200);
        assert_eq!(header(&dash, "content-type"), "application/dash+xml");
        assert!(dash.text().await.unwrap().contains("SegmentTimeline"));
    });
}

#[test]
fn a_growing_video_is_asked_for_again_and_becomes_final() {
    test(async |platform| {
        let mut life = Life::begin(platform, "play-growing", "grows", Visibility::Public).await;
        let path = |file: &str, id| format!("/play/public/{id}/{file}");
        let master = path("master.m3u8", life.id);
        life.complete().await;
        life.plan().await;
        let lease = life.start("encode").await;
        let commit = life.publish(&lease, "240p", 0).await;
        reach(platform, commit).await;
        // Published, but not playable yet.
        assert_eq!(fetch(platform, &master, &[]).await.status(), 404);
        reach(platform, life.become_playable().await).await;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while fetch(platform, &master, &[]).await.status() != 200 {
            assert!(tokio::time::Instant::now() < deadline);
        }
        assert_eq!(
            header(&fetch(platform, &master, &[]).await, "cache-control"),
            "public, max-age=1"
        );
        assert_eq!(
            fetch(platform, &path("manifest.mpd", life.id), &[])
                .await
                .status(),
            404
        );
        let media = path("240p.m3u8", life.id);
        let before = fetch(platform, &media, &[]).await.text().await.unwrap();
        assert!(before.contains("#EXT-X-START:TIME-OFFSET=0.001\n") && !before.contains("ENDLIST"));
        // In the store and not in the log: not there.
        let hidden = format!("{}/240p-1.m4s", life.folder(&lease));
        life.put(&format!("videos/{}/{hidden}", life.id), segment_bytes())
            .await;
        assert_eq!(
            fetch(platform, &path(&hidden, life.id), &[]).await.status(),
            404
        );
        reach(platform, life.publish(&lease, "240p", 1).await).await;
        while fetch(platform, &path(&hidden, life.id), &[]).await.status() != 200 {
            assert!(tokio::time::Instant::now() < deadline);
        }
        let after = fetch(platform, &media, &[]).await.text().await.unwrap();
        assert!(
            after.starts_with(before.trim_end()),
            "only appended to:\n{before}\n{after}"
        );
        // Failing withdraws it all.
        reach(platform, life.fail().await).await;
        while fetch(platform, &path(&hidden, life.id), &[]).await.status() != 404 {
            assert!(tokio::time::Instant::now() < deadline);
        }
    });
}

#[test]
fn parts_and_versions_are_answered_as_http_says() {
    test(async |platform| {
        let (life, commit) =
            Life::ready(platform, "play-range", "ranges", Visibility::Public).await;
        reach(platform, commit).await;
        let text = fetch(
            platform,
            &format!("/play/public/{}/240p.m3u8", life.id),
            &[],
        )
        .await;
        let etag = header(&text, "etag").to_owned();
        let text = text.text().await.unwrap();
        let unchanged = fetch(
            platform,
            &format!("/play/public/{}/240p.m3u8", life.id),
            &[("if-none-match", &etag)],
        )
        .await;
        assert_eq!(unchanged.status(), 304);
        let segment = addresses(&text).pop().unwrap();
        let path = format!("/play/public/{}/{segment}", life.id);
        let whole = fetch(platform, &path, &[]).await;
        let etag = header(&whole, "etag").to_owned();
        assert_eq!(header(&whole, "accept-ranges"), "bytes");
        let bytes = segment_bytes();
        for (range, status, content_range, expected) in [
            ("bytes=0-9", 206, "bytes 0-9/1000", &bytes[..10]),
            ("bytes=990-", 206, "bytes 990-999/1000", &bytes[990..]),
            ("bytes=-10", 206, "bytes 990-999/1000", &bytes[990..]),
            ("bytes=990-5000", 206, "bytes 990-999/1000", &bytes[990..]),
            ("bytes=1000-", 416, "bytes */1000", &bytes[..0]),
            ("bytes=5-1", 200, "", &bytes[..]),
        ] {
            let part = fetch(platform, &path, &[("range", range)]).await;
            assert_eq!(part.status().as_u16(), status, "{range}");
            assert_eq!(header(&part, "content-range"), content_range, "{range}");
            assert_eq!(part.bytes().await.unwrap(), expected, "{range}");
        }
        let same = [("range", "bytes=0-9"), ("if-range", etag.as_str())];
        assert_eq!(fetch(platform, &path, &same).await.status(), 206);
        let other = [("range", "bytes=0-9"), ("if-range", "\"other\"")];
        assert_eq!(fetch(platform, &path, &other).await.status(), 200);
        let known = fetch(platform, &path, &[("if-none-match", &etag)]).await;
        assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(known.bytes().await.unwrap().len(), 0);
        let head = request(platform, Method::HEAD, &path, &[]).await;
        assert_eq!(header(&head, "content-length"), SEGMENT_BYTES.to_string());
        let asked = [
            ("origin", "http://elsewhere.test"),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "range"),
        ];
        let allowed = request(platform, Method::OPTIONS, &path, &asked).await;
        assert_eq!(allowed.status(), 200);
        assert!(header(&allowed, "access-control-allow-headers").contains("range"));
    });
}

#[test]
fn a_private_video_plays_with_its_own_grant_only() {
    test(async |platform| {
        let owner = "play-private";
        let (life, _) = Life::ready(platform, owner, "secret", Visibility::Private).await;
        let (other, commit) = Life::ready(platform, owner, "other", Visibility::Private).await;
        reach(platform, commit).await;
        let (url, other_url) = (
            hls(platform, owner, &life).await,
            hls(platform, owner, &other).await,
        );
        let answer = fetch(platform, &url, &[]).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(header(&answer, "cache-control"), "private, max-age=86400");
        let grant = url.split('/').nth(4).unwrap().to_owned();
        let other_grant = other_url.split('/').nth(4).unwrap().to_owned();
        let expires: u64 = grant.split('.').next().unwrap().parse().unwrap();
        let now = time::OffsetDateTime::now_utc().unix_timestamp() as u64;
        assert!((now + 11 * 3600..=now + 13 * 3600).contains(&expires));

        let at = |grant: &str| format!("/play/{grant}/{}/master.m3u8", life.id);
        assert_eq!(fetch(platform, &at("public"), &[]).await.status(), 404);
        let longer = grant.replace(&expires.to_string(), &(expires + 1).to_string());
        let mut flipped = grant.clone();
        let last = if flipped.pop() == Some('A') { 'E' } else { 'A' };
        flipped.push(last);
        let past = sign(&life.id.0, now - 1);
        for bad in [&other_grant, &longer, &flipped, &past, &"none".to_owned()] {
            let refused = fetch(platform, &at(bad), &[]).await;
            assert_eq!(refused.status(), 403, "{bad}");
            let body = refused.text().await.unwrap();
            assert!(body.contains("\"FORBIDDEN\"") && !body.contains("secret"));
        }
        // The same signature as the api's own, so that the expired one fails for its age alone.
        assert_eq!(
            fetch(platform, &at(&sign(&life.id.0, now + 60)), &[])
                .await
                .status(),
            200
        );
    });
}

/// A grant as the api signs it.
fn sign(video: &uuid::Uuid, expires_at: u64) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use hmac::{Hmac, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(PLAYBACK_SECRET.as_bytes()).unwrap();
    mac.update(b"play\0");
    mac.update(video.as_bytes());
    mac.update(&expires_at.to_be_bytes());
    format!(
        "{expires_at}.{}",
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    )
}

#[test]
fn nothing_but_what_is_published_is_served() {
    test(async |platform| {
        let (life, commit) = Life::ready(platform, "play-only", "only", Visibility::Unlisted).await;
        reach(platform, commit).await;
        let id = life.id;
        life.put(&format!("videos/{id}/notes.txt"), b"x".to_vec())
            .await;
        assert_eq!(
            fetch(platform, &format!("/play/public/{id}/master.m3u8"), &[])
                .await
                .status(),
            200
        );
        for path in [
            format!("/play/public/{id}/notes.txt"),
            format!("/play/public/{id}/poster.jpg"),
            format!("/play/public/{id}/1080p.m3u8"),
            format!("/play/public/{id}/..%2f..%2fsources/{id}/original"),
            format!("/play/public/{id}/%2e%2e/{id}/notes.txt"),
            format!("/play/public/{}/master.m3u8", uuid::Uuid::new_v4()),
            "/play/public/no-id/master.m3u8".to_owned(),
            "/nothing".to_owned(),
        ] {
            let answer = fetch(platform, &path, &[]).await;
            assert_eq!(answer.status(), 404, "{path}");
            assert!(answer.text().await.unwrap().contains("NOT_FOUND"), "{path}");
        }
    });
}
