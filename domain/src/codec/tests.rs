use std::{collections::BTreeSet, fs, path::PathBuf};

use super::*;
use crate::job::{Kind, Outcome};

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
        let stored: Value = serde_json::from_slice(&data).unwrap();
        let (newest_name, newest) = upcast(name, stored);
        assert_eq!(written_name, newest_name);
        assert_eq!(written, newest, "{name}");
    }
}

#[test]
fn a_plan_of_the_first_version_encodes_everything_in_one_chunk() {
    let data = fs::read(folder().join("job.ladder-planned.v1.json")).unwrap();
    let AnyEvent::Job(fact) = decode("job.ladder-planned.v1", &data).unwrap() else {
        panic!("a plan is of a job");
    };
    let Kind::LadderPlanned { media, tasks, .. } = fact.event else {
        panic!("a plan is a plan");
    };
    assert_eq!(tasks[0].spec.segments(), 0..u32::MAX);
    assert!(!media.audio.unwrap().as_is);
}

#[test]
fn a_probe_of_the_first_version_found_nothing_to_pass_through() {
    let data = br#"{"video":"0196a1b2-0000-7000-8000-000000000001","owner":"ada","at_ms":1,
        "task":"probe","attempt":1,"outcome":"probed","media":{"container":"video/quicktime",
        "duration_ms":7007,"tracks":1,"video":null,
        "audio":{"codec":"audio/mpeg","channels":2,"sample_rate":44100}}}"#;
    let AnyEvent::Job(fact) = decode("job.task-finished.v1", data).unwrap() else {
        panic!("a task is of a job");
    };
    let Kind::TaskFinished { outcome, .. } = fact.event else {
        panic!("the task was finished");
    };
    let Outcome::Probed { media, cuts_us } = outcome else {
        panic!("the task was a probe");
    };
    assert!(cuts_us.is_empty() && !media.audio.unwrap().as_is);
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
