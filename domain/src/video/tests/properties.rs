//! Whatever jobs and people say, in whatever order, the invariants hold.

use std::collections::BTreeSet;

use proptest::prelude::*;
use uuid::Uuid;

use super::super::*;

fn commands() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0u8..10, 0..80)
}

fn command(number: u8) -> Command {
    let job = |index: u8| JobId(Uuid::from_u128(u128::from(index)));
    let picture = Picture::default();
    let at_ms = 5;
    match number {
        0 => Command::CompleteUpload {
            found: Found {
                size_bytes: 7,
                etag: "e".to_owned(),
                checksum_sha256: None,
            },
            at_ms,
        },
        1 | 2 => Command::Playable {
            job: job(number),
            picture,
            at_ms,
        },
        3 | 4 => Command::Ready {
            job: job(number - 2),
            picture,
            at_ms,
        },
        5 | 6 => Command::Fail {
            job: job(number - 4),
            code: Code::ProcessingCrashed,
            message: String::new(),
            at_ms,
        },
        7 => Command::RetryProcessing {
            by: By::Platform,
            at_ms,
        },
        8 => Command::RetryRendition {
            by: By::Platform,
            rendition: RenditionId("480p".to_owned()),
            made: vec![RenditionId("480p".to_owned())],
            kept: Some("e".to_owned()),
            at_ms,
        },
        _ => Command::ExpireUpload { at_ms },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn each_job_is_announced_once(numbers in commands()) {
        let request = Command::RequestUpload {
            video: VideoId(Uuid::from_u128(7)),
            owner: Owner("ada".to_owned()),
            details: Details { title: "t".to_owned(), ..Details::default() },
            declared: Declared { size_bytes: 7, ..Declared::default() },
            key: "k".to_owned(),
            expires_at_ms: 10,
            priority: Priority::Normal,
            at_ms: 1,
        };
        let mut video = Video::default();
        let (mut playable, mut ended) = (BTreeSet::new(), BTreeSet::new());
        for command in std::iter::once(request).chain(numbers.into_iter().map(command)) {
            for event in video.decide(command).unwrap_or_default() {
                match &event.event {
                    Kind::BecamePlayable { job, .. } => prop_assert!(playable.insert(*job)),
                    Kind::BecameReady { job, .. } => {
                        prop_assert!(playable.contains(job), "ready before it was playable");
                        prop_assert!(ended.insert(*job));
                    }
                    Kind::ProcessingFailed { job, .. }
                    | Kind::RenditionReplaced { job, .. }
                    | Kind::RenditionRetryFailed { job, .. } => prop_assert!(ended.insert(*job)),
                    _ => {}
                }
                let was_ready = video.status == Status::Ready;
                video = video.evolve(&event);
                prop_assert!(!was_ready || video.status == Status::Ready && video.playable);
            }
        }
    }
}
