//! From the child's frames to stored objects and published segments.
//!
//! # Invariants
//!
//! * Nothing touches a disk; at most [`BYTES_MAX`] are in memory on their way, and at most
//!   [`PARALLEL`] objects at once.
//! * Objects are create-only and their names belong to this attempt: one that is already
//!   there was stored by us, by a PUT whose answer was lost.
//! * Segments of a rendition are published in order, each after it is stored.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use protocol::{Init, Lease, OutputFile, Presigned, PublishRequest, Segment};
use reqwest::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::ReceiverStream;

use crate::failure::{Code, Failure};
use crate::link::{Link, LinkError, first_pause, longer};
use crate::wire;

const PARALLEL: usize = 4;
/// Bytes of objects on their way from the child to the store: two of the largest.
pub(crate) const BYTES_MAX: usize = 2 * wire::BODY_BYTES_MAX as usize;
/// Segments of one publish call; the conductor takes 64.
const BATCH_MAX: usize = 16;
const PUT_WAIT_MAX: Duration = Duration::from_secs(120);

/// An object, and the room its bytes take up until it is stored.
pub(crate) type Held = (Made, OwnedSemaphorePermit);

/// One object the child made.
pub(crate) enum Made {
    Init {
        rendition: String,
        init: Init,
        bytes: Bytes,
    },
    Segment {
        rendition: String,
        index: u32,
        segment: Segment,
        bytes: Bytes,
    },
    Poster {
        bytes: Bytes,
    },
}

/// What is stored of it.
enum Stored {
    Init {
        rendition: String,
        init: Init,
    },
    Segment {
        rendition: String,
        index: u32,
        segment: Segment,
    },
    Poster,
}

pub(crate) const POSTER_NAME: &str = "poster.jpg";

pub(crate) fn init_name(rendition: &str) -> String {
    format!("{rendition}-init.mp4")
}

pub(crate) fn segment_name(rendition: &str, index: u32) -> String {
    format!("{rendition}-{index:05}.m4s")
}

/// Why an output did not get where it should.
#[derive(Debug, Clone)]
pub(crate) enum OutputError {
    Lost(String),
    Failed(Failure),
}

impl From<LinkError> for OutputError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Lost(_) | LinkError::Token => OutputError::Lost(error.to_string()),
            LinkError::Away(_) => OutputError::Lost(error.to_string()),
            LinkError::Refused(reason) => {
                tracing::error!("the conductor refused an output: {reason}");
                OutputError::Failed(Failure::new(
                    Code::ProcessingCrashed,
                    "the worker's output was refused",
                ))
            }
        }
    }
}

/// Where the outputs of one attempt go.
pub(crate) struct Outputs {
    pub(crate) http: reqwest::Client,
    pub(crate) link: Link,
    pub(crate) lease: Lease,
    pub(crate) patience: Duration,
}

impl Outputs {
    /// Stores and publishes all that comes, until the channel closes.
    pub(crate) async fn store_all(self, made: mpsc::Receiver<Held>) -> Result<(), OutputError> {
        let (done, stored) = mpsc::channel(BATCH_MAX);
        // Neither waits for the other's answers: objects are stored while others are published.
        let storing = self.store_in_order(made, done);
        let publishing = self.publish_in_order(stored);
        tokio::try_join!(storing, publishing).map(|_| ())
    }

    async fn store_in_order(
        &self,
        made: mpsc::Receiver<Held>,
        done: mpsc::Sender<Stored>,
    ) -> Result<(), OutputError> {
        let stored = ReceiverStream::new(made)
            .map(|(made, room)| self.store(made, room))
            .buffered(PARALLEL);
        let mut stored = std::pin::pin!(stored);
        while let Some(object) = stored.next().await {
            // A closed channel means that publishing failed, and publishing says why.
            if done.send(object?).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn publish_in_order(&self, stored: mpsc::Receiver<Stored>) -> Result<(), OutputError> {
        let mut inits: HashMap<String, Init> = HashMap::new();
        let mut batches = ReceiverStream::new(stored).ready_chunks(BATCH_MAX);
        while let Some(batch) = batches.next().await {
            let mut ready: Vec<(String, u32, Segment)> = Vec::new();
            for object in batch {
                match object {
                    Stored::Init { rendition, init } => {
                        inits.insert(rendition, init);
                    }
                    Stored::Segment {
                        rendition,
                        index,
                        segment,
                    } => ready.push((rendition, index, segment)),
                    Stored::Poster => {}
                }
            }
            self.publish(ready, &inits).await?;
        }
        Ok(())
    }

    /// One call per rendition in this batch.
    async fn publish(
        &self,
        ready: Vec<(String, u32, Segment)>,
        inits: &HashMap<String, Init>,
    ) -> Result<(), OutputError> {
        let mut requests: Vec<PublishRequest> = Vec::new();
        for (rendition, index, segment) in ready {
            let known = requests
                .iter_mut()
                .find(|request| request.rendition == rendition);
            if let Some(request) = known {
                request.segments.push(segment);
                continue;
            }
            requests.push(PublishRequest {
                lease: Some(self.lease.clone()),
                init: inits.get(&rendition).cloned(),
                rendition,
                from: index,
                segments: vec![segment],
            });
        }
        futures::stream::iter(requests.into_iter().map(Ok::<_, OutputError>))
            .try_for_each(|request| async {
                self.link.publish(request, self.patience).await?;
                Ok(())
            })
            .await
    }

    /// Stores an object, and lets its bytes go.
    async fn store(&self, made: Made, _room: OwnedSemaphorePermit) -> Result<Stored, OutputError> {
        match made {
            Made::Init {
                rendition,
                init,
                bytes,
            } => {
                self.put(&init.name, "video/mp4", &bytes).await?;
                Ok(Stored::Init { rendition, init })
            }
            Made::Segment {
                rendition,
                index,
                segment,
                bytes,
            } => {
                self.put(&segment.name, "video/iso.segment", &bytes).await?;
                Ok(Stored::Segment {
                    rendition,
                    index,
                    segment,
                })
            }
            Made::Poster { bytes } => {
                self.put(POSTER_NAME, "image/jpeg", &bytes).await?;
                Ok(Stored::Poster)
            }
        }
    }

    async fn put(&self, name: &str, kind: &str, bytes: &Bytes) -> Result<(), OutputError> {
        let until = Instant::now() + self.patience;
        let mut pause = first_pause();
        loop {
            let file = OutputFile {
                name: name.to_owned(),
                size_bytes: bytes.len() as u64,
                content_type: kind.to_owned(),
            };
            let place = self.link.presign(&self.lease, file, self.patience).await?;
            let Err(error) = self.put_once(&place, bytes).await else {
                return Ok(());
            };
            tracing::warn!("failed to store {name}: {error:#}");
            if Instant::now() + pause > until {
                return Err(OutputError::Failed(Failure::new(
                    Code::StorageUnavailable,
                    "the results could not be stored",
                )));
            }
            sleep(pause).await;
            pause = longer(pause);
        }
    }

    async fn put_once(&self, place: &Presigned, bytes: &Bytes) -> anyhow::Result<()> {
        let method = reqwest::Method::from_bytes(place.method.as_bytes())?;
        let mut request = self
            .http
            .request(method, &place.url)
            .timeout(PUT_WAIT_MAX)
            .body(bytes.clone());
        for (name, value) in &place.headers {
            request = request.header(name, value);
        }
        let answer = request.send().await.map_err(reqwest::Error::without_url)?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            // Create-only, and the name is this attempt's: our own earlier PUT came through.
            StatusCode::PRECONDITION_FAILED => Ok(()),
            status => anyhow::bail!("status {status}"),
        }
    }
}
