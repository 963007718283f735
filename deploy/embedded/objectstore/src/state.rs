//! What is stored, in memory: the fold of the journal's records.
//!
//! # Invariants
//!
//! * Only durable changes are applied, by the writer alone and in the journal's order.
//! * It holds metadata only: some 300 bytes and the key per object, bounded by `OBJECTS_MAX`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::Context;
use uuid::Uuid;

use crate::blob::{Blob, Blobs};
use crate::record::{BlobMeta, Cause, Event, FORMAT, Headers, Meta, PartMeta, Record};

#[derive(Default)]
pub(crate) struct State {
    pub(crate) objects: BTreeMap<String, Arc<Object>>,
    pub(crate) uploads: BTreeMap<Uuid, Upload>,
    /// Notifications to deliver, by sequence.
    pub(crate) owed: BTreeMap<u64, Event>,
    pub(crate) next_sequence: u64,
}

pub(crate) struct Object {
    pub(crate) meta: Meta,
    pub(crate) blobs: Vec<Arc<Blob>>,
}

/// A multipart upload that is open.
#[derive(Clone)]
pub(crate) struct Upload {
    pub(crate) key: String,
    pub(crate) headers: Headers,
    pub(crate) at_ms: i64,
    pub(crate) parts: BTreeMap<u16, Part>,
}

#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) blob: Arc<Blob>,
    pub(crate) etag: String,
    pub(crate) at_ms: i64,
}

/// A change as the writer takes it: like a record, with the blobs themselves.
pub(crate) enum Change {
    Put {
        key: String,
        object: Object,
        created_by: Option<Cause>,
        upload: Option<Uuid>,
    },
    Delete {
        key: String,
    },
    BeginUpload {
        upload: Uuid,
        key: String,
        headers: Headers,
        at_ms: i64,
    },
    PutPart {
        upload: Uuid,
        number: u16,
        part: Part,
    },
    AbortUpload {
        upload: Uuid,
    },
    Deliver {
        sequence: u64,
    },
}

impl State {
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Put {
                key,
                object,
                created_by,
                upload,
            } => {
                self.put(key, object, created_by);
                if let Some(upload) = upload {
                    self.forget_upload(upload);
                }
            }
            Change::Delete { key } => {
                if let Some(object) = self.objects.remove(&key) {
                    object.blobs.iter().for_each(|blob| blob.disown());
                }
            }
            Change::BeginUpload {
                upload,
                key,
                headers,
                at_ms,
            } => {
                let parts = BTreeMap::new();
                self.uploads.insert(
                    upload,
                    Upload {
                        key,
                        headers,
                        at_ms,
                        parts,
                    },
                );
            }
            Change::PutPart {
                upload,
                number,
                part,
            } => {
                if let Some(upload) = self.uploads.get_mut(&upload) {
                    part.blob.own();
                    if let Some(before) = upload.parts.insert(number, part) {
                        before.blob.disown();
                    }
                }
            }
            Change::AbortUpload { upload } => self.forget_upload(upload),
            Change::Deliver { sequence } => {
                self.owed.remove(&sequence);
            }
        }
    }

    fn put(&mut self, key: String, object: Object, created_by: Option<Cause>) {
        self.next_sequence = self.next_sequence.max(object.meta.sequence + 1);
        if let Some(cause) = created_by {
            let event = Event {
                sequence: object.meta.sequence,
                cause,
                key: key.clone(),
                size: object.meta.size,
                etag: object.meta.etag.clone(),
                at_ms: object.meta.at_ms,
            };
            self.owed.insert(event.sequence, event);
        }
        object.blobs.iter().for_each(|blob| blob.own());
        if let Some(before) = self.objects.insert(key, Arc::new(object)) {
            before.blobs.iter().for_each(|blob| blob.disown());
        }
    }

    fn forget_upload(&mut self, upload: Uuid) {
        if let Some(upload) = self.uploads.remove(&upload) {
            upload.parts.values().for_each(|part| part.blob.disown());
        }
    }

    /// The shortest journal that leads here.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let began = Record::Began {
            format: FORMAT,
            next_sequence: self.next_sequence,
        };
        let objects = self.objects.iter().map(|(key, object)| Record::Put {
            key: key.clone(),
            meta: object.meta.clone(),
            created_by: None,
            upload: None,
        });
        let uploads = self.uploads.iter().flat_map(|(id, upload)| {
            let began = Record::UploadBegan {
                upload: *id,
                key: upload.key.clone(),
                headers: upload.headers.clone(),
                at_ms: upload.at_ms,
            };
            let parts = upload.parts.iter().map(|(number, part)| Record::PartPut {
                upload: *id,
                number: *number,
                part: part.meta(),
            });
            std::iter::once(began).chain(parts)
        });
        let owed = self.owed.values().map(|event| Record::Owed {
            event: event.clone(),
        });
        std::iter::once(began)
            .chain(objects)
            .chain(uploads)
            .chain(owed)
    }
}

impl Part {
    fn meta(&self) -> PartMeta {
        PartMeta {
            blob: self.blob.meta(),
            etag: self.etag.clone(),
            at_ms: self.at_ms,
        }
    }
}

impl Change {
    pub(crate) fn record(&self) -> Record {
        match self {
            Change::Put {
                key,
                object,
                created_by,
                upload,
            } => Record::Put {
                key: key.clone(),
                meta: object.meta.clone(),
                created_by: *created_by,
                upload: *upload,
            },
            Change::Delete { key } => Record::Deleted { key: key.clone() },
            Change::BeginUpload {
                upload,
                key,
                headers,
                at_ms,
            } => Record::UploadBegan {
                upload: *upload,
                key: key.clone(),
                headers: headers.clone(),
                at_ms: *at_ms,
            },
            Change::PutPart {
                upload,
                number,
                part,
            } => Record::PartPut {
                upload: *upload,
                number: *number,
                part: part.meta(),
            },
            Change::AbortUpload { upload } => Record::UploadAborted { upload: *upload },
            Change::Deliver { sequence } => Record::Delivered {
                sequence: *sequence,
            },
        }
    }

    /// Blobs that a crash must not leave without a record, or a record without them.
    pub(crate) fn blobs(&self) -> &[Arc<Blob>] {
        match self {
            Change::Put { object, .. } => &object.blobs,
            Change::PutPart { part, .. } => std::slice::from_ref(&part.blob),
            Change::Delete { .. }
            | Change::BeginUpload { .. }
            | Change::AbortUpload { .. }
            | Change::Deliver { .. } => &[],
        }
    }
}

/// Turns records back into state.
pub(crate) struct Replay {
    pub(crate) state: State,
    pub(crate) records: u64,
    blobs: Blobs,
    /// A blob may belong to several objects (copies), which must share it; and a record may
    /// name a blob again whose earlier owner is gone. So none is let go before the end.
    known: HashMap<Uuid, Arc<Blob>>,
}

impl Replay {
    pub(crate) fn new(blobs: Blobs) -> Self {
        Self {
            state: State::default(),
            records: 0,
            blobs,
            known: HashMap::new(),
        }
    }

    pub(crate) fn take(&mut self, record: Record) -> anyhow::Result<()> {
        self.records += 1;
        let change = match record {
            Record::Began {
                format,
                next_sequence,
            } => {
                anyhow::ensure!(
                    format == FORMAT,
                    "the journal has the unknown format {format}"
                );
                self.state.next_sequence = self.state.next_sequence.max(next_sequence);
                return Ok(());
            }
            Record::Owed { event } => {
                self.state.owed.insert(event.sequence, event);
                return Ok(());
            }
            Record::Put {
                key,
                meta,
                created_by,
                upload,
            } => {
                let blobs = meta.blobs.iter().map(|blob| self.blob(*blob)).collect();
                Change::Put {
                    key,
                    object: Object { meta, blobs },
                    created_by,
                    upload,
                }
            }
            Record::Deleted { key } => Change::Delete { key },
            Record::UploadBegan {
                upload,
                key,
                headers,
                at_ms,
            } => Change::BeginUpload {
                upload,
                key,
                headers,
                at_ms,
            },
            Record::PartPut {
                upload,
                number,
                part,
            } => {
                let PartMeta { blob, etag, at_ms } = part;
                Change::PutPart {
                    upload,
                    number,
                    part: Part {
                        blob: self.blob(blob),
                        etag,
                        at_ms,
                    },
                }
            }
            Record::UploadAborted { upload } => Change::AbortUpload { upload },
            Record::Delivered { sequence } => Change::Deliver { sequence },
        };
        self.state.apply(change);
        Ok(())
    }

    /// Dropping this removes no file, not even those the records let go of: it is not known
    /// whether those records are on disk.
    pub(crate) fn keep_files(&self) {
        for blob in self.known.values().filter(|blob| !blob.is_owned()) {
            blob.keep();
        }
    }

    /// The state, after removing the files no record names.
    pub(crate) fn finish(self) -> anyhow::Result<State> {
        self.keep_files();
        let removed = self
            .blobs
            .remove_unknown(|id| self.known.get(&id).is_some_and(|blob| blob.is_owned()))
            .context("failed to remove the leftovers of the last run")?;
        if removed > 0 {
            tracing::info!(
                removed,
                "removed {removed} unfinished blobs of the last run"
            );
        }
        Ok(self.state)
    }

    fn blob(&mut self, meta: BlobMeta) -> Arc<Blob> {
        let blobs = &self.blobs;
        Arc::clone(
            self.known
                .entry(meta.id)
                .or_insert_with(|| blobs.existing(meta)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(n: u128) -> BlobMeta {
        BlobMeta {
            id: Uuid::from_u128(n),
            size: 3,
        }
    }

    fn put(key: &str, blobs: Vec<BlobMeta>, sequence: u64, upload: Option<Uuid>) -> Record {
        let meta = Meta {
            size: 3 * blobs.len() as u64,
            blobs,
            etag: "etag".into(),
            sha256: None,
            at_ms: 1,
            sequence,
            headers: Headers::default(),
        };
        Record::Put {
            key: key.into(),
            meta,
            created_by: Some(Cause::Put),
            upload,
        }
    }

    fn replayed(blobs: &Blobs, records: impl IntoIterator<Item = Record>) -> State {
        let mut replay = Replay::new(blobs.clone());
        records
            .into_iter()
            .try_for_each(|record| replay.take(record))
            .unwrap();
        replay.finish().unwrap()
    }

    fn text(state: &State) -> Vec<String> {
        state
            .records()
            .map(|record| serde_json::to_string(&record).unwrap())
            .collect()
    }

    #[test]
    fn a_rewritten_journal_leads_to_the_same_state() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        for n in 1..=9 {
            std::fs::write(dir.path().join(Uuid::from_u128(n).to_string()), "abc").unwrap();
        }
        let (open, done) = (Uuid::from_u128(100), Uuid::from_u128(101));
        let began = |upload| Record::UploadBegan {
            upload,
            key: "parts".into(),
            headers: Headers::default(),
            at_ms: 1,
        };
        let part = |upload, number, n| Record::PartPut {
            upload,
            number,
            part: PartMeta {
                blob: blob(n),
                etag: "part".into(),
                at_ms: 1,
            },
        };
        let state = replayed(
            &blobs,
            [
                Record::Began {
                    format: FORMAT,
                    next_sequence: 5,
                },
                put("replaced", vec![blob(1)], 5, None),
                put("replaced", vec![blob(2)], 6, None),
                put("copied", vec![blob(3)], 7, None),
                Record::Deleted {
                    key: "copied".into(),
                },
                put("copy", vec![blob(3)], 8, None),
                began(open),
                part(open, 1, 4),
                part(open, 1, 5),
                began(done),
                part(done, 1, 6),
                part(done, 2, 7),
                put("parts", vec![blob(6)], 9, Some(done)),
                put("gone", vec![blob(8)], 10, None),
                Record::Deleted { key: "gone".into() },
                Record::Delivered { sequence: 6 },
            ],
        );
        assert_eq!(state.next_sequence, 11);
        assert_eq!(
            state.owed.keys().copied().collect::<Vec<_>>(),
            [5, 7, 8, 9, 10]
        );
        let left = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 4, "blobs 2, 3, 5 and 6 are owned; the others are not");

        let again = replayed(&blobs, state.records());
        assert_eq!(text(&again), text(&state));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4);
    }
}
