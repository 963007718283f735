//! At every position and at every time, the rows of the past say what a fold of the log says.

use domain::{fact::AnyEvent, id::Owner, video::Declared};
use eventlog::Recorded;

use crate::{
    catalogue::{self, Fold, Moment, Past, Place, Video, list::Scope},
    reader::Reader,
};

/// What was true at each moment.
pub(super) type Folded = Vec<(Moment, Option<Past>)>;

pub(super) fn folded(recorded: &[Recorded]) -> Folded {
    let times = recorded.iter().map(|it| Moment::Time(at_ms(it)));
    let positions = recorded.iter().map(|it| Moment::Position(it.commit));
    let moments = times.chain(positions);
    moments
        .map(|moment| (moment, fold(recorded, moment)))
        .collect()
}

fn fold(recorded: &[Recorded], moment: Moment) -> Option<Past> {
    let mut fold = Fold::default();
    for it in recorded {
        let event = it.event.as_ref().unwrap();
        match fold.place(moment, it.commit, &it.stream, event) {
            Place::Before => fold.take(it.commit, it.id, &it.stream, event),
            Place::Aside => {}
            Place::After => break,
        }
    }
    fold.past(moment)
}

fn at_ms(recorded: &Recorded) -> i64 {
    match recorded.event.as_ref().unwrap() {
        AnyEvent::Video(fact) => fact.at_ms,
        AnyEvent::Job(fact) => fact.at_ms,
        AnyEvent::Views(fact) => fact.at_ms,
    }
}

/// `now`: what the catalogue says of the video at the end; `None` where it was deleted.
pub(super) async fn compare(reader: &Reader, folded: &Folded, now: Option<&Video>) {
    let owner = Scope::OwnedBy(Owner("ada".to_owned()));
    for (moment, past) in folded {
        let page = catalogue::page_as_of(reader, *moment, &owner, None, 10).await;
        let found: Vec<Video> = page
            .unwrap()
            .videos
            .iter()
            .map(|(_, video)| kept(video))
            .collect();
        let past = past.as_ref().filter(|_| now.is_some());
        let expected = Vec::from_iter(past.map(|past| kept(&past.video)));
        assert_eq!(found, expected, "{moment:?}");
    }
    let (Some((_, Some(last))), Some(now)) = (folded.last(), now) else {
        return;
    };
    let current = Video {
        as_of: None,
        ..last.video.clone()
    };
    assert_eq!(&current, now);
    let jobs = Vec::from_iter(now.job);
    let renditions = catalogue::renditions(reader, &jobs).await.unwrap();
    assert_eq!(last.renditions, renditions);
}

/// Not what nobody sees, and not how much was made: that is not kept.
fn kept(video: &Video) -> Video {
    Video {
        declared: Declared::default(),
        upload_key: String::new(),
        expires_at_ms: 0,
        poster_key: None,
        segments_planned: 0,
        segments_published: 0,
        commit: 0,
        ..video.clone()
    }
}
