use std::{collections::BTreeSet, fs, path::PathBuf};

use super::*;

#[test]
fn every_known_type_has_a_sample_that_reads_and_writes_the_same() {
    for name in KNOWN {
        let data = fs::read(folder().join(format!("{name}.json")))
            .unwrap_or_else(|error| panic!("{name} has no sample: {error}"));
        let event = decode(name, &data).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let (written_name, written) = match &event {
            AnyEvent::Video(event) => encode_value(event),
            AnyEvent::Job(event) => encode_value(event),
            AnyEvent::Views(event) => encode_value(event),
        };
        assert_eq!(written_name, name);
        let stored: Value = serde_json::from_slice(&data).unwrap();
        assert_eq!(written, stored, "{name}");
    }
}

#[test]
fn every_sample_is_of_a_known_type() {
    let known: BTreeSet<String> = KNOWN.iter().map(|name| format!("{name}.json")).collect();
    let samples: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(samples, known);
}

#[test]
fn every_known_type_passes_the_common_filter() {
    for name in KNOWN {
        assert!(
            PREFIXES.iter().any(|prefix| name.starts_with(prefix)),
            "{name}"
        );
    }
}

#[test]
fn a_version_from_the_future_is_an_error() {
    for name in [
        "video.upload-requested.v2",
        "job.paused.v1",
        "live.began.v1",
        "$metadata",
        "",
    ] {
        let unknown = decode(name, b"{}");
        assert!(
            matches!(&unknown, Err(DecodeError::UnknownType(said)) if said == name),
            "{unknown:?}"
        );
    }
}

#[test]
fn a_damaged_event_is_an_error() {
    let cases: [&[u8]; 5] = [b"", b"{", b"[]", b"7", b"{\"video\": 1}"];
    for data in cases {
        let damaged = decode("video.deleted.v1", data);
        assert!(
            matches!(&damaged, Err(DecodeError::Malformed { name, .. }) if name == "video.deleted.v1"),
            "{damaged:?}"
        );
    }
}

#[test]
fn a_field_that_a_later_release_added_is_ignored() {
    let data = fs::read(folder().join("video.deleted.v1.json")).unwrap();
    let mut value: Value = serde_json::from_slice(&data).unwrap();
    value["reason"] = Value::from("asked for");
    let read = decode("video.deleted.v1", value.to_string().as_bytes()).unwrap();
    assert_eq!(read, decode("video.deleted.v1", &data).unwrap());
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("events")
}
