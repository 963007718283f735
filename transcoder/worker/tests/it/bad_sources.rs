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
        failure
            .message
            .contains("incomplete: declared 4.4 s, found "),
        "{}",
        failure.message
    );

    let whole = matroska(&pictures(132, 320, 180, "30/1"));
    let cut = whole.slice(..whole.len() / 2);
    let failure = refused(cut).await;
    assert_eq!(failure.code, Code::SourceTruncated.as_str());
    let (declared, found) = durations(&failure);
    assert_eq!(declared, 4.4);
    assert!((1.2..3.2).contains(&found), "{}", failure.message);
}

/// What the refusal of a truncated file says was declared and found, in seconds.
fn durations(failure: &FailRequest) -> (f64, f64) {
    let (_, text) = failure.message.split_once("declared ").unwrap();
    let (declared, found) = text.split_once(" s, found ").unwrap();
    let found = found.trim_end_matches(" s");
    (declared.parse().unwrap(), found.parse().unwrap())
}

/// Its demuxer would play it at twice its speed, and find that it lacks its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_transport_stream_that_seldom_tells_the_time_is_refused() {
    let stream = |rate: &str| {
        film(&format!(
            "videotestsrc num-buffers=20 ! video/x-raw,width=160,height=90,framerate={rate} ! \
             x264enc ! mpegtsmux ! filesink name=out"
        ))
    };
    let failure = refused(stream("1/1")).await;
    assert_eq!(failure.code, Code::SourceUnsupported.as_str());
    assert!(
        failure.message.contains("1.0 s apart"),
        "{}",
        failure.message
    );
    Run::begin(probe(), stream("4/1")).await.finish().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn what_only_calls_itself_a_film_is_refused() {
    let picture = |encoder: &str| {
        film(&format!(
            "videotestsrc num-buffers=1 ! video/x-raw,format=I420,width=64,height=48 ! \
             videoconvert ! {encoder} ! filesink name=out"
        ))
    };
    let noise: Vec<u8> = (0..50_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let manifest = "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\"></MPD>";
    let session = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nm=video 9 RTP/AVP 96\r\n";
    for (what, source) in [
        ("one byte", Bytes::from_static(b"x")),
        ("zeros", vec![0; 50_000].into()),
        ("noise", noise.into()),
        ("a jpeg", picture("jpegenc")),
        ("a png", picture("pngenc")),
        ("a dash manifest", Bytes::from(manifest)),
        ("a session description", Bytes::from(session)),
        (
            "a page",
            Bytes::from("<!doctype html><html></html>".repeat(100)),
        ),
        (
            "an archive",
            Bytes::from([b"PK\x03\x04".as_slice(), &[0; 500]].concat()),
        ),
    ] {
        let code = refused(source).await.code;
        assert_eq!(code, Code::SourceNotMedia.as_str(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_never_came_is_a_truncated_file() {
    let description = format!(
        "{} qtmux name=mux ! filesink name=out",
        pictures(60, 160, 90, "30/1")
    );
    // Its index is at its end.
    let whole = film(&description);
    let failure = refused(whole.slice(..whole.len() - 200)).await;
    assert_eq!(failure.code, Code::SourceTruncated.as_str());
    assert!(
        failure.message.contains("incomplete"),
        "{}",
        failure.message
    );
    let beginning = refused(whole.slice(..40)).await;
    assert_eq!(beginning.code, Code::SourceTruncated.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_was_cut_off_is_refused_in_other_containers() {
    let muxed = |muxer: &str| {
        film(&format!(
            "videotestsrc num-buffers=60 ! video/x-raw,format=I420,width=160,height=90,framerate=30/1 ! \
             jpegenc ! queue ! {muxer} ! filesink name=out"
        ))
    };
    for muxer in ["avimux", "matroskamux"] {
        let whole = muxed(muxer);
        let failure = refused(whole.slice(..whole.len() * 2 / 3)).await;
        assert_eq!(failure.code, Code::SourceTruncated.as_str(), "{muxer}");
        let (declared, found) = durations(&failure);
        assert_eq!(declared, 2.0, "{muxer}");
        // Pictures are about equally large.
        assert!((1.2..1.45).contains(&found), "{muxer}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_that_was_cut_off_is_refused_with_its_durations() {
    let whole = film(
        "audiotestsrc num-buffers=40 samplesperbuffer=1000 ! audio/x-raw,format=S16LE,rate=8000,channels=1 ! \
         wavenc ! filesink name=out",
    );
    let failure = refused(whole.slice(..44 + 16_000)).await;
    assert_eq!(durations(&failure), (5.0, 1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_tracks_are_refused() {
    let tracks = "audiotestsrc num-buffers=2 ! audio/x-raw,rate=8000,channels=1 ! queue ! mux. ";
    let failure = refused(matroska(&tracks.repeat(17))).await;
    assert_eq!(failure.code, Code::SourceTooManyTracks.as_str());
    assert!(
        failure.message.contains("at most 16"),
        "{}",
        failure.message
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_twelve_hours_are_refused() {
    let failure = refused(matroska(&pictures(14, 32, 32, "1/3600"))).await;
    assert_eq!(failure.code, Code::SourceTooLong.as_str());
    assert!(failure.message.contains("43200 s"), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_codec_that_nobody_knows_is_unsupported() {
    let mut bytes = mp4(&pictures(30, 160, 90, "30/1")).to_vec();
    let entry = bytes.windows(4).position(|kind| kind == b"avc1").unwrap();
    // The brand of the same name is in front of it.
    let entry = bytes[entry + 4..]
        .windows(4)
        .position(|kind| kind == b"avc1")
        .map_or(entry, |after| entry + 4 + after);
    bytes[entry..entry + 4].copy_from_slice(b"zzzz");
    let failure = refused(bytes.into()).await;
    assert_eq!(failure.code, Code::SourceUnsupported.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_nonsense_are_a_corrupt_source() {
    let mut bytes = mp4(&pictures(90, 160, 90, "30/1")).to_vec();
    let media = bytes.windows(4).position(|kind| kind == b"mdat").unwrap() + 4;
    let at = media + (bytes.len() - media) / 10;
    for byte in &mut bytes[at..] {
        *byte = 0x55;
    }
    let spec = encode(3000, &[target("90p", 160, 90, "30/1")]);
    let failure = Run::begin(spec, bytes.into()).await.failure().await;
    assert_eq!(failure.code, Code::SourceCorrupt.as_str(), "{failure:?}");
    assert!(failure.source_fault);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_pictures_than_the_film_is_long_do_not_run_for_ever() {
    // A thousandth of a second between two: 3,000 pictures in three seconds.
    let source = matroska(&pictures(3000, 32, 32, "1000/1"));
    let spec = encode(3000, &[target("32p", 32, 32, "30/1")]);
    let failure = Run::begin(spec, source).await.failure().await;
    assert_eq!(failure.code, Code::SourceCorrupt.as_str(), "{failure:?}");
    assert!(
        failure.message.contains("pictures in 3.0 s"),
        "{}",
        failure.message
    );
}
