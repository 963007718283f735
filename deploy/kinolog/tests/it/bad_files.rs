//! What bad, odd and partial files become.

use std::path::Path;

use serde_json::{Value, json};

use crate::{client::Client, media, platform::Platform};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_file_fails_with_its_code_and_every_odd_one_plays() {
    let platform = Platform::start("files");
    let client = Client::of(&platform);
    let clip = media::clip("whole.mp4", 4);
    let playlist =
        b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n";
    let refused = [
        (
            "SOURCE_NOT_MEDIA",
            media::written("text.mp4", b"this is a letter, not a film\n"),
        ),
        ("SOURCE_NOT_MEDIA", media::written("playlist.mp4", playlist)),
        ("SOURCE_TRUNCATED", media::cut(&clip, 0.5, "cut.mp4")),
        ("SOURCE_TRUNCATED", media::claims_ten_hours("ten-hours.mkv")),
        (
            "SOURCE_TOO_LARGE",
            media::made(
                "wide.mkv",
                "videotestsrc num-buffers=3 ! video/x-raw,width=16000,height=128,framerate=25/1 \
                 ! jpegenc ! matroskamux",
            ),
        ),
    ];
    let played = [
        (
            "audio",
            media::made(
                "sound.m4a",
                "audiotestsrc num-buffers=120 samplesperbuffer=1024 ! audio/x-raw,rate=44100,channels=1 \
                 ! avenc_aac ! aacparse ! mp4mux",
            ),
        ),
        (
            "video",
            media::made(
                "silent.mkv",
                "videotestsrc num-buffers=50 ! video/x-raw,width=321,height=181,framerate=25/1 \
                 ! jpegenc ! matroskamux",
            ),
        ),
    ];
    let mut uploaded = vec![];
    for (code, file) in &refused {
        uploaded.push((
            *code,
            client.upload(file, &format!("{code} {}", name(file))).await,
        ));
    }
    for (code, video) in uploaded {
        let found = client.settled(&video, &["FAILED", "READY"]).await;
        assert_eq!(found["status"], "FAILED", "{found}");
        assert_eq!(found["failure"]["code"], code, "{found}");
        assert!(
            found["failure"]["message"]
                .as_str()
                .is_some_and(|text| text.len() > 20),
            "{found}"
        );
        assert_eq!(found["playable"], false, "{found}");
        assert_eq!(found["playback"], Value::Null, "{found}");
    }
    for (kind, file) in &played {
        let video = client.upload(file, name(file)).await;
        let found = client.settled(&video, &["FAILED", "READY"]).await;
        assert_eq!(found["status"], "READY", "{found}");
        let renditions = found["renditions"].as_array().unwrap();
        assert!(!renditions.is_empty(), "{found}");
        for rendition in renditions {
            let found_kind = rendition["kind"].as_str().unwrap().to_lowercase();
            assert_eq!(found_kind, *kind, "{found}");
        }
        let (status, _) = client
            .fetch(found["playback"]["hls"].as_str().unwrap())
            .await;
        assert_eq!(status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_what_was_declared_or_nothing() {
    let platform = Platform::start("uploads");
    let client = Client::of(&platform);
    let bytes = std::fs::read(media::clip("declared.mp4", 1)).unwrap();
    let input = |size: usize, checksum: Option<&str>| {
        json!({ "title": "Declared", "fileName": "declared.mp4", "contentType": "video/mp4",
                "sizeBytes": size, "checksumSha256": checksum, "visibility": "PUBLIC" })
    };

    let empty = client.create_upload(input(0, None)).await;
    assert_eq!(empty["userErrors"][0]["code"], "UPLOAD_EMPTY", "{empty}");
    assert_eq!(empty["video"], Value::Null, "{empty}");

    // The length is signed: the store itself refuses another one.
    let longer = client.create_upload(input(bytes.len() + 1, None)).await;
    let status = client.put(&longer["upload"], bytes.clone()).await;
    assert!(
        !status.is_ok_and(|s| s.is_success()),
        "a shorter file was accepted"
    );

    let wrong = client
        .create_upload(input(bytes.len(), Some(&"0".repeat(64))))
        .await;
    let status = client.put(&wrong["upload"], bytes.clone()).await.unwrap();
    assert!(status.is_success(), "{status}");
    let video = wrong["video"]["id"].as_str().unwrap();
    client.complete(video).await;
    let found = client.settled(video, &["FAILED"]).await;
    assert_eq!(found["failure"]["code"], "UPLOAD_MISMATCH", "{found}");

    let right = client.create_upload(input(bytes.len(), None)).await;
    let video = right["video"]["id"].as_str().unwrap();
    assert!(
        client
            .put(&right["upload"], bytes.clone())
            .await
            .unwrap()
            .is_success()
    );
    client.complete(video).await;
    let again = client.put(&right["upload"], bytes.clone()).await.unwrap();
    assert_eq!(again.as_u16(), 412, "a source is never replaced");
    client.settled(video, &["READY"]).await;
    let requested = client.stream(&format!("video-{video}")).await;
    let completions = requested
        .iter()
        .filter(|(name, _)| name == "video.upload-completed.v1")
        .count();
    assert_eq!(completions, 1, "{requested:?}");
}

fn name(file: &Path) -> &str {
    file.file_name()
        .and_then(|name| name.to_str())
        .expect("test files have plain names")
}
