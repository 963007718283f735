//! One page of events as answers: found in the index, read, links resolved.
//!
//! Everything here reads files, so it runs inside [`Store::blocking`].

use tonic::Status;

use super::convert::{self, Ids};
use crate::filter::Filter;
use crate::limits::{PAGE_EVENTS_MAX, PAGE_LINKS_MAX, PAGE_SCAN_MAX, STREAM_NAME_BYTES_MAX};
use crate::protocol::streams::ReadResp;
use crate::record::Record;
use crate::store::{Direction, Page, Store, StreamPage};
use crate::unreadable::Unreadable;

/// The type of an event that stands for another: its data is `revision@stream`.
const LINK_KIND: &str = "$>";

/// The longest number and the `@` behind it.
const LINK_REVISION_BYTES_MAX: usize = 21;

/// How a reader wants events.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) ids: Ids,
    pub(super) resolve_links: bool,
}

impl Shape {
    fn at_most(self, events: u64) -> u64 {
        if self.resolve_links {
            return events.min(PAGE_LINKS_MAX as u64);
        }
        events
    }
}

/// A filter, and how far it is from its next checkpoint.
pub(super) struct Sieve {
    pub(super) filter: Filter,
    pub(super) since_checkpoint: u64,
}

/// What a page has, in log order.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are events: a box for each would cost more"
)]
pub(super) enum Step {
    Event(ReadResp),
    /// Everything up to this position has been looked at.
    Checkpoint(u64),
}

pub(super) struct AllPage {
    pub(super) steps: Vec<Step>,
    pub(super) sieve: Option<Sieve>,
    /// The last position looked at.
    pub(super) last: Option<u64>,
    /// There was nothing more.
    pub(super) ended: bool,
}

/// The next page of the whole log: at and after `from`, or backwards before it.
pub(super) fn of_all(
    store: &Store,
    from: u64,
    direction: Direction,
    max: u64,
    mut sieve: Option<Sieve>,
    shape: Shape,
) -> Result<AllPage, Status> {
    let scan_max = match sieve {
        Some(_) => PAGE_SCAN_MAX,
        None => PAGE_EVENTS_MAX,
    };
    let runs = store.entries(from, direction, scan_max)?;
    let found: usize = runs.iter().map(|run| run.entries.len()).sum();
    let mut ended = found < scan_max;
    let mut page = Page::new(shape.at_most(max));
    let mut order = Vec::new();
    let mut last = None;
    let entries = runs
        .iter()
        .flat_map(|run| run.entries.iter().map(|entry| (&run.part, entry)));
    for (part, entry) in entries {
        let wanted = match &mut sieve {
            Some(sieve) => sieve.filter.wants(part, entry)?,
            None => true,
        };
        if wanted && !page.take(entry.spot) {
            ended = false;
            break;
        }
        if wanted {
            order.push(None);
        }
        last = Some(entry.spot.position);
        if sieve.as_mut().is_some_and(Sieve::passed) {
            order.push(last);
        }
    }
    let mut records = store.load(&page.spots)?.into_iter();
    let mut steps = Vec::with_capacity(order.len());
    for checkpoint in order {
        match checkpoint {
            Some(position) => steps.push(Step::Checkpoint(position)),
            None => {
                let Some(record) = records.next().filter(|record| !record.erased) else {
                    continue;
                };
                steps.push(Step::Event(answer(store, record, shape)?));
            }
        }
    }
    Ok(AllPage {
        steps,
        sieve,
        last,
        ended,
    })
}

/// One page of a stream, its events as answers.
pub(super) enum OfStream {
    Missing,
    Tombstoned,
    Found {
        first: u64,
        last: u64,
        events: Vec<ReadResp>,
        next: Option<u64>,
    },
}

pub(super) fn of_stream(
    store: &Store,
    stream: &str,
    from: u64,
    direction: Direction,
    max: u64,
    shape: Shape,
) -> Result<OfStream, Status> {
    match store.stream_page(stream, from, direction, shape.at_most(max))? {
        StreamPage::Missing => Ok(OfStream::Missing),
        StreamPage::Tombstoned => Ok(OfStream::Tombstoned),
        StreamPage::Found {
            first,
            last,
            spots,
            next,
        } => {
            let events = store
                .load(&spots)?
                .into_iter()
                .filter(|record| !record.erased)
                .map(|record| answer(store, record, shape))
                .collect::<Result<_, _>>()?;
            Ok(OfStream::Found {
                first,
                last,
                events,
                next,
            })
        }
    }
}

impl Sieve {
    /// Counts an entry; whether a checkpoint is due after it.
    fn passed(&mut self) -> bool {
        self.since_checkpoint += 1;
        let due = self.since_checkpoint >= self.filter.checkpoint_every;
        if due {
            self.since_checkpoint = 0;
        }
        due
    }
}

fn answer(store: &Store, record: Record, shape: Shape) -> Result<ReadResp, Unreadable> {
    if !shape.resolve_links || record.draft.kind != LINK_KIND {
        return Ok(convert::answer(Some(record), None, shape.ids));
    }
    let spot = match target(&record.draft.data) {
        Some((revision, name)) => store.spot(name, revision)?,
        None => None,
    };
    let event = match spot {
        Some(spot) => store.load(&[spot])?.pop().filter(|event| !event.erased),
        None => None,
    };
    Ok(convert::answer(event, Some(record), shape.ids))
}

pub(super) fn target(data: &[u8]) -> Option<(u64, &str)> {
    let most = STREAM_NAME_BYTES_MAX + LINK_REVISION_BYTES_MAX;
    let data = (data.len() <= most).then_some(data)?;
    let (revision, stream) = std::str::from_utf8(data).ok()?.split_once('@')?;
    Some((revision.parse().ok()?, stream))
}
