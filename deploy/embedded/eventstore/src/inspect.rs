//! Printing records as they are on disk, one JSON object per line.

use std::io::{ErrorKind, Write};
use std::ops::ControlFlow;
use std::path::Path;

use serde_json::{Value, json};

use crate::part::Spot;
use crate::record::Record;
use crate::segment;
use crate::verify::hex;
use crate::walk::Log;

/// Which records.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub stream: Option<String>,
    /// The first position.
    pub from: u64,
    pub limit: Option<u64>,
}

/// Prints the records of the log in this folder, until nobody reads on.
pub fn inspect(dir: &Path, wanted: &Wanted, out: &mut impl Write) -> anyhow::Result<()> {
    let mut left = wanted.limit.unwrap_or(u64::MAX);
    let log = Log::at(dir)?;
    let first = log.first_needed(wanted.from)?;
    log.walk(first, |found| {
        let record = &found.record;
        if left == 0 {
            return Ok(ControlFlow::Break(()));
        }
        let of_stream = wanted.stream.as_ref().is_none_or(|it| *it == record.stream);
        if !of_stream || record.place.position < wanted.from {
            return Ok(ControlFlow::Continue(()));
        }
        left -= 1;
        match writeln!(out, "{}", line(record, found.spot)) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            written => Ok(written.map(|()| ControlFlow::Continue(()))?),
        }
    })?;
    Ok(())
}

fn line(record: &Record, spot: Spot) -> Value {
    let (place, draft) = (&record.place, &record.draft);
    let mut line = json!({
        "file": segment::name(spot.segment),
        "offset": spot.offset,
        "length": spot.len,
        "durable": place.durable,
        "position": place.position,
        "revision": place.revision,
        "created": place.created,
        "id": draft.id.to_string(),
        "batch_index": place.batch_index,
        "batch_count": place.batch_count,
        "stream": record.stream,
        "type": draft.kind,
        "content_type": draft.content_type,
        "digest": hex(&record.digest),
        "chain": hex(&record.chain),
        "erased": record.erased,
    });
    if !record.erased {
        for (name, bytes) in [("metadata", &draft.metadata), ("data", &draft.data)] {
            match std::str::from_utf8(bytes) {
                Ok(text) => line[name] = text.into(),
                Err(_) => line[format!("{name}_hex")] = hex(bytes).into(),
            }
        }
    }
    line
}
