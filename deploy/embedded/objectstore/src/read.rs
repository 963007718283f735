//! Reading an object's bytes, over all its blobs, a piece at a time.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;

use crate::state::Object;

/// One piece: read ahead of the client by at most this.
const PIECE_BYTES: usize = 256 << 10;

/// A position in an object. Holding the object keeps its blobs, even when it is replaced.
pub(crate) struct Reader {
    object: Arc<Object>,
    at: u64,
    end: u64,
    /// The blob open now: where in the object it begins and ends.
    open: Option<(Range<u64>, File)>,
}

impl Reader {
    /// Opens what the first byte needs, so that failing is still an answer. Blocking.
    pub(crate) fn open(object: Arc<Object>, range: Range<u64>) -> io::Result<Self> {
        let mut reader = Self {
            object,
            at: range.start,
            end: range.end,
            open: None,
        };
        if reader.at < reader.end {
            reader.seek()?;
        }
        Ok(reader)
    }

    pub(crate) fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync {
        futures::stream::try_unfold(self, |mut reader| async move {
            if reader.at == reader.end {
                return Ok(None);
            }
            let read = tokio::task::spawn_blocking(move || {
                let bytes = reader.piece()?;
                Ok::<_, io::Error>(Some((bytes, reader)))
            });
            read.await.map_err(io::Error::other)?
        })
    }

    fn piece(&mut self) -> io::Result<Bytes> {
        if !self
            .open
            .as_ref()
            .is_some_and(|(range, _)| range.contains(&self.at))
        {
            self.seek()?;
        }
        let (range, file) = self.open.as_ref().expect("sought above");
        let left = range.end.min(self.end) - self.at;
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let mut piece = vec![0; len];
        file.read_exact_at(&mut piece, self.at - range.start)?;
        self.at += len as u64;
        Ok(piece.into())
    }

    fn seek(&mut self) -> io::Result<()> {
        let mut begin = 0;
        for blob in &self.object.blobs {
            let range = begin..begin + blob.meta().size;
            if range.contains(&self.at) {
                self.open = Some((range, blob.open()?));
                return Ok(());
            }
            begin = range.end;
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the object is shorter than its size",
        ))
    }
}
