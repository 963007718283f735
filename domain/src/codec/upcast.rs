//! Superseded shapes, brought to what came after them.
//!
//! # Invariants
//!
//! * What an old event did not say is what was true then: all was encoded, in one chunk.

use serde_json::{Value, json};

/// v1 knew neither chunks nor what of a source can be passed through.
pub(super) fn ladder_planned(value: &mut Value) {
    if let Some(tasks) = value.get_mut("tasks").and_then(Value::as_array_mut) {
        for task in tasks {
            if let Some(spec) = task.get_mut("spec").and_then(Value::as_object_mut)
                && spec.get("kind").is_some_and(|kind| kind == "encode")
            {
                spec.insert("chunk".to_owned(), json!({ "first": 0, "segments": null }));
            }
        }
    }
    if let Some(found) = value.get_mut("media") {
        media(found);
    }
}

/// v1 did not know what of a source can be passed through.
pub(super) fn task_finished(value: &mut Value) {
    if value
        .get("outcome")
        .is_some_and(|outcome| outcome == "probed")
    {
        value["cuts_us"] = json!([]);
        media(&mut value["media"]);
    }
}

fn media(media: &mut Value) {
    for track in ["video", "audio"] {
        if let Some(track) = media.get_mut(track).and_then(Value::as_object_mut) {
            track.insert("bitrate_kbps".to_owned(), json!(0));
        }
    }
    if let Some(audio) = media.get_mut("audio").and_then(Value::as_object_mut) {
        audio.insert("as_is".to_owned(), json!(false));
    }
}
