//! What bad sources get: their code, a sentence, and nothing published.

use axum::body::Bytes;
use kinolog_worker::failure::Code;
use protocol::FailRequest;

use crate::encode::{encode, target};
use crate::media::{film, matroska, mp4, pictures, sound};
use crate::probe::probe;
use crate::worker::Run;

async fn refused(source: Bytes) -> FailRequest {
    let failure = Run::begin(probe(), source).await.failure().await;
    assert!(failure.source_fault, "{failure:?}");
    failure
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_media_is_refused() {
    let text = Bytes::from("just words, no pictures\n".repeat(500));
    assert_eq!(refused(text).await.code, Code::SourceNotMedia.as_str());

    let playlist =
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n";
    assert_eq!(
        refused(Bytes::from(playlist)).await.code,
        Code::SourceNotMedia.as_str()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_cut_off_is_refused() {
    let whole = mp4(&(pictures(132, 320, 180, "30/1") + &sound(200)));
    let cut = whole.slice(..whole.len() / 2);
    let failure = refused(cut).await;
    assert_eq!(failure.code, Code::SourceTruncated.as_str());
    assert!(
        failure.message.contains("incomplete"),
        "{}",
        failure.message
    );

    let whole = matroska(&pictures(132, 320, 180, "30/1"));
    let cut = whole.slice(..whole.len() / 2);
    assert_eq!(refused(cut).await.code, Code::SourceTruncated.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_claims_ten_hours_is_refused() {
    let mut bytes = mp4(&pictures(60, 160, 90, "30/1")).to_vec();
    let at = bytes.windows(4).position(|kind| kind == b"mvhd").unwrap() + 4;
    let scale = u32::from_be_bytes(bytes[at + 12..at + 16].try_into().unwrap());
    bytes[at + 16..at + 20].copy_from_slice(&(scale * 36_000).to_be_bytes());
    let failure = refused(bytes.into()).await;
    assert_eq!(failure.code, Code::SourceTruncated.as_str());
    assert!(
        failure.message.contains("declared 36000.0 s, found 2.0 s"),
        "{}",
        failure.message
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_pixels_are_refused_before_they_are_decoded() {
    let huge = film(
        "videotestsrc num-buffers=1 ! video/x-raw,width=16000,height=64,framerate=30/1 ! jpegenc ! \
         qtmux ! filesink name=out",
    );
    let failure = refused(huge).await;
    assert_eq!(failure.code, Code::SourceTooLarge.as_str());
    assert!(failure.message.contains("16000x64"), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encode_that_finds_less_than_declared_never_finishes_well() {
    let source = matroska(&pictures(60, 160, 90, "30/1"));
    let spec = encode(60_000, &[target("90p", 160, 90, "30/1")]);
    let failure = Run::begin(spec, source).await.failure().await;
    assert_eq!(failure.code, Code::SourceTruncated.as_str());
    assert!(
        failure.message.contains("declared 60.0 s, found 2.0 s"),
        "{}",
        failure.message
    );
}
