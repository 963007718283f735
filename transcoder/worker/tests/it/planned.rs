//! What the conductor's rules make of a probe: the worker's tests ask for nothing else.

use domain::media::{Kind, Media};
use domain::plan::{self, Chunk, Plan, Spec};
use protocol::{ProbeResult, VideoTarget};
use serde_json::json;

/// As many tasks at a time as the smallest machine runs.
const SLOTS: u32 = 2;

pub fn media(found: &ProbeResult) -> Media {
    let video = found.video.as_ref().map(|video| {
        let rate = json!({ "num": video.frame_rate_num, "den": video.frame_rate_den });
        json!({
            "codec": video.codec,
            "width": video.width,
            "height": video.height,
            "display_width": video.display_width,
            "display_height": video.display_height,
            "rotation": video.rotation,
            "frame_rate": if video.frame_rate_num > 0 { rate } else { json!(null) },
            "interlaced": video.interlaced,
            "bitrate_kbps": video.bitrate_kbps,
        })
    });
    let audio = found.audio.as_ref().map(|audio| {
        json!({
            "codec": audio.codec,
            "channels": audio.channels,
            "sample_rate": audio.sample_rate,
            "bitrate_kbps": audio.bitrate_kbps,
            "as_is": false,
        })
    });
    let media = json!({
        "container": found.container,
        "duration_ms": found.duration_ms,
        "tracks": found.tracks,
        "video": video,
        "audio": audio,
    });
    serde_json::from_value(media).unwrap()
}

/// The plan for a source of which nothing is passed through.
pub fn plan(found: &ProbeResult) -> Plan {
    plan::after_probe(&media(found), &[], SLOTS).unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

/// The chunks in which the best rendition is made.
pub fn chunks(plan: &Plan) -> Vec<Chunk> {
    let best = &plan.renditions[0].id;
    let tasks = plan.tasks.iter().filter(|task| task.spec.makes(best));
    let chunks = tasks.filter_map(|task| match &task.spec {
        Spec::Encode { chunk, .. } => Some(*chunk),
        _ => None,
    });
    chunks.collect()
}

/// The best rendition that is planned for this picture.
pub fn best(plan: &Plan) -> VideoTarget {
    let best = &plan.renditions[0];
    let Kind::Video {
        width,
        height,
        frame_rate,
    } = best.kind
    else {
        panic!("no pictures in the plan");
    };
    VideoTarget {
        rendition: "made".to_owned(),
        width,
        height,
        bitrate_kbps: best.bitrate_kbps,
        frame_rate_num: frame_rate.num,
        frame_rate_den: frame_rate.den,
        published: 0,
    }
}
