//! Chunks: published apart, served as one.

use super::{super::*, builders::*};
use crate::{decider::fold, testing::given};

#[test]
fn chunks_are_published_in_any_order_and_served_up_to_the_first_gap() {
    let job: Job = fold(&chunked([
        start("encode-0001"),
        publish("encode-0001", 1, "360p", 2, 2),
    ]));
    assert!(!job.is_playable());
    assert_eq!(
        job.renditions[&RenditionId("360p".to_owned())]
            .segments
            .len(),
        0
    );
    assert!(job.progress_permille() > 0);

    let job: Job = fold(&chunked([
        start("encode-0001"),
        publish("encode-0001", 1, "360p", 2, 2),
        start("encode-0000"),
        publish("encode-0000", 1, "360p", 0, 2),
    ]));
    let published = &job.renditions[&RenditionId("360p".to_owned())];
    assert_eq!(published.segments, segments("360p", 0, 4));
    assert!(published.ahead.is_empty());
}

#[test]
fn a_task_publishes_the_segments_of_its_own_chunk_only() {
    let refused = |from, count| {
        given::<Job>(chunked([start("encode-0000")]))
            .when(publish("encode-0000", 1, "360p", from, count))
            .then_rejected(Rejection::NotItsSegments {
                task: TaskId("encode-0000".to_owned()),
                from,
                to: from + count,
            });
    };
    refused(2, 1);
    refused(0, 3);
    given::<Job>(chunked([start("encode-0001")]))
        .when(publish("encode-0001", 1, "360p", 1, 1))
        .then_rejected(Rejection::NotItsSegments {
            task: TaskId("encode-0001".to_owned()),
            from: 1,
            to: 2,
        });
}

#[test]
fn a_chunk_that_is_repeated_goes_on_after_its_own_last_segment() {
    let half = [
        start("encode-0001"),
        publish("encode-0001", 1, "360p", 2, 1),
    ];
    let whole = publish("encode-0001", 1, "360p", 2, 2);
    let event = Kind::SegmentsPublished {
        lease: lease("encode-0001", 1),
        rendition: RenditionId("360p".to_owned()),
        from: 3,
        init: None,
        segments: segments("360p", 3, 1),
    };
    given::<Job>(chunked(half)).when(whole).then([fact(event)]);
}

#[test]
fn a_chunk_without_all_its_segments_is_not_finished() {
    given::<Job>(chunked([
        start("encode-0000"),
        publish("encode-0000", 1, "360p", 0, 2),
    ]))
    .when(done("encode-0000", 1))
    .then_rejected(Rejection::Incomplete(TaskId("encode-0000".to_owned())));
}

#[test]
fn chunks_whose_init_segments_differ_are_not_of_one_rendition() {
    let mut other = publish("encode-0001", 1, "360p", 2, 1);
    if let Command::Publish {
        init: Some(init), ..
    } = &mut other
    {
        init.codec = "avc1.640028".to_owned();
    }
    given::<Job>(chunked([
        start("encode-0000"),
        publish("encode-0000", 1, "360p", 0, 1),
        start("encode-0001"),
    ]))
    .when(other)
    .then_rejected(Rejection::OtherInit(RenditionId("360p".to_owned())));
}
