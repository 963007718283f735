//! What the child says, checked before it is believed.
//!
//! # Invariants
//!
//! * Only renditions of the task are taken, and their segments in order.
//! * A segment that an earlier attempt published is let go.
//! * A frame is read when there is room for it: what is on its way to the store is bounded in
//!   bytes, and the child waits.
//! * Segments have the numbers they have in the whole film, those of a chunk too.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use prost::Message;
use protocol::task::Spec;
use protocol::{FinishRequest, Init, Segment, Task};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::attempt::Life;
use crate::failure::Failure;
use crate::outputs::{self, Held, Made};
use crate::wire::{self, Head};

/// Which segments of a rendition may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The number of the segment that the child sends next.
    next: u32,
    /// The first that is not published yet.
    unpublished: u32,
}

impl Wanted {
    fn new(first: u32, published: u32) -> Wanted {
        Wanted {
            next: first,
            unpublished: first.saturating_add(published),
        }
    }
}

/// The renditions of a task, and what is wanted of each.
pub(crate) fn wanted(task: &Task) -> anyhow::Result<HashMap<String, Wanted>> {
    let spec = task.spec.as_ref().context("a task without a spec")?;
    Ok(match spec {
        Spec::Probe(_) | Spec::Poster(_) => HashMap::new(),
        Spec::Encode(spec) => {
            let wanted = |published| Wanted::new(spec.first_segment, published);
            let targets = spec.targets.iter();
            targets
                .map(|t| (t.rendition.clone(), wanted(t.published)))
                .collect()
        }
        Spec::Audio(spec) => {
            let wanted = Wanted::new(0, spec.published);
            HashMap::from([(spec.rendition.clone(), wanted)])
        }
        Spec::Passthrough(spec) => {
            let targets = spec.video.iter().chain(&spec.audio);
            // What is published already need not be read: the child begins behind it.
            targets
                .map(|t| (t.rendition.clone(), Wanted::new(t.published, 0)))
                .collect()
        }
    })
}

/// The child's last word.
pub(crate) enum Last {
    Done(FinishRequest),
    Failed(Failure),
    /// It hung up without one.
    Nothing,
    /// It said something that it must not.
    Nonsense(String),
}

/// Takes the child's frames until its last word, or until it hangs up.
pub(crate) async fn frames(
    mut output: UnixStream,
    made: mpsc::Sender<Held>,
    life: &Life,
    permille: &AtomicU32,
    mut wanted: HashMap<String, Wanted>,
) -> Last {
    let mut units_seen = 0;
    let room = Arc::new(Semaphore::new(outputs::BYTES_MAX));
    loop {
        let (head, body, room) = match frame(&mut output, &room).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Last::Nothing,
            Err(error) => return Last::Nonsense(format!("{error:#}")),
        };
        let object = match head {
            Head::Progress {
                units,
                permille: done,
            } => {
                if units > units_seen {
                    units_seen = units;
                    life.note();
                }
                permille.store(done.min(999), Ordering::Relaxed);
                continue;
            }
            Head::Done => {
                return match FinishRequest::decode(body) {
                    Ok(finish) => Last::Done(finish),
                    Err(error) => Last::Nonsense(error.to_string()),
                };
            }
            Head::Failed { failure } => {
                return Last::Failed(Failure::new(failure.code, failure.message));
            }
            Head::Findings { .. } => return Last::Nonsense("findings in a task".to_owned()),
            Head::Init { .. } | Head::Segment { .. } | Head::Poster { .. } => {
                object(head, body, &mut wanted)
            }
        };
        life.note();
        match object {
            Ok(Some(object)) => {
                // A closed channel means that storing failed, and storing says why.
                if made.send((object, room)).await.is_err() {
                    return Last::Nothing;
                }
                life.note();
            }
            Ok(None) => {}
            Err(error) => return Last::Nonsense(format!("{error:#}")),
        }
    }
}

/// One frame; its body is read when there is room for it.
async fn frame(
    output: &mut UnixStream,
    room: &Arc<Semaphore>,
) -> anyhow::Result<Option<(Head, Bytes, OwnedSemaphorePermit)>> {
    let mut start = [0u8; 8];
    if output.read_exact(&mut start).await.is_err() {
        return Ok(None);
    }
    let (head_len, body_len) = wire::split_pair(start);
    ensure!(
        head_len <= wire::HEAD_BYTES_MAX && body_len <= wire::BODY_BYTES_MAX,
        "a frame larger than allowed"
    );
    let room = Arc::clone(room).acquire_many_owned(body_len).await?;
    let mut head = vec![0u8; head_len as usize];
    let mut body = vec![0u8; body_len as usize];
    let read = async {
        output.read_exact(&mut head).await?;
        output.read_exact(&mut body).await
    };
    if read.await.is_err() {
        return Ok(None);
    }
    let head = serde_json::from_slice(&head).context("a frame that is no JSON")?;
    Ok(Some((head, body.into(), room)))
}

/// What to store of this frame; nothing of a segment that is already published.
fn object(
    head: Head,
    bytes: Bytes,
    wanted: &mut HashMap<String, Wanted>,
) -> anyhow::Result<Option<Made>> {
    let size_bytes = bytes.len() as u64;
    match head {
        Head::Init {
            rendition,
            codec,
            timescale,
        } => {
            ensure!(wanted.contains_key(&rendition), "an unknown rendition");
            let init = Init {
                name: outputs::init_name(&rendition),
                size_bytes,
                codec,
                timescale,
            };
            Ok(Some(Made::Init {
                rendition,
                init,
                bytes,
            }))
        }
        Head::Segment {
            rendition,
            index,
            time,
            duration,
            samples,
        } => {
            let wanted = wanted.get_mut(&rendition).context("an unknown rendition")?;
            let expected = wanted.next;
            ensure!(index == expected, "segment {index} instead of {expected}");
            wanted.next = expected.checked_add(1).context("too many segments")?;
            if index < wanted.unpublished {
                return Ok(None);
            }
            let segment = Segment {
                name: outputs::segment_name(&rendition, index),
                size_bytes,
                time,
                duration,
                samples,
            };
            Ok(Some(Made::Segment {
                rendition,
                index,
                segment,
                bytes,
            }))
        }
        Head::Poster { .. } => Ok(Some(Made::Poster { bytes })),
        Head::Progress { .. } | Head::Done | Head::Failed { .. } | Head::Findings { .. } => {
            bail!("not an object")
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_frame_takes_up_room_until_it_is_let_go() {
        let (mut child, mut parent) = UnixStream::pair().unwrap();
        let mut said = vec![];
        let head = Head::Poster {
            width: 1,
            height: 1,
        };
        wire::write_frame(&mut said, &head, &[7; 8]).unwrap();
        child.write_all(&said).await.unwrap();

        let room = Arc::new(Semaphore::new(10));
        let (told, body, held) = frame(&mut parent, &room).await.unwrap().unwrap();
        assert_eq!((told, body.len()), (head, 8));
        assert_eq!(room.available_permits(), 2, "the next one of 3 bytes waits");
        drop(held);
        assert_eq!(room.available_permits(), 10);
    }
}
