//! Uploads: a promise of a file, a place to put it, and the look whether it arrived.
//!
//! # Invariants
//!
//! * The bytes go to the object store, never through here.
//! * Whoever says that a file arrived only wakes us: what is recorded is what the store says.
//! * An idempotency key of an owner names one video, for ever.
//! * A file's digest is computed once per version, however many ask, and goes on when they leave.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use domain::{
    fact::AnyEvent,
    id::{CommandId, VideoId},
    video::{Command, Declared, Details, Found, Kind, Priority, Status, Video},
};
use eventlog::{Envelope, Executed, LogError, stream_name};
use objects::{Head, Presigned};
use uuid::Uuid;

use crate::{
    app::{App, now_ms},
    command::{self, Refused},
    error::{ApiError, Code, internal},
    viewer::{Person, Viewer},
};

/// The largest file that is accepted at all.
const SOURCE_BYTES_MAX: u64 = 50 << 30;
/// The most that one PUT can carry: a limit of S3. There are no multipart uploads yet.
pub(crate) const SINGLE_PUT_BYTES_MAX: u64 = 5 << 30;
const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
/// URLs are signed for whole seconds: with less than one left they are good for nothing.
const URL_MS_MIN: i64 = 1_000;
const CONTENT_TYPE_BYTES_MAX: usize = 255;
/// Events of a video among which its rejection is looked for.
const EVENTS_MAX: usize = 100;

/// What a person promises to upload.
pub(crate) struct Promise {
    pub details: Details,
    pub file_name: String,
    pub content_type: String,
    pub size_bytes: i64,
    /// Hex or base64.
    pub checksum_sha256: Option<String>,
    pub priority: Priority,
    pub idempotency_key: Option<String>,
}

/// A video that waits for its file, and where to put it; no place if the file came already.
pub(crate) struct Promised {
    pub executed: Executed<Video>,
    pub place: Option<Presigned>,
}

/// What came of a look at an upload.
pub(crate) enum Looked {
    /// There is no such video, or it was deleted.
    Unknown,
    /// The store has nothing under its key yet.
    NotThere { expires_at_ms: i64 },
    /// It is recorded, now or before.
    Recorded(Box<Executed<Video>>),
}

/// Where a video's source stands in the object store.
pub(crate) fn source_key(id: VideoId) -> String {
    format!("sources/{id}/original")
}

/// The video whose source stands under `key`.
pub(crate) fn video_of_key(key: &str) -> Option<VideoId> {
    let id: VideoId = key
        .strip_prefix("sources/")?
        .strip_suffix("/original")?
        .parse()
        .ok()?;
    // There is one spelling of a key, though there are many of an id.
    (source_key(id) == key).then_some(id)
}

/// Records a promise and answers with a place for the file.
pub(crate) async fn promise(
    app: &App,
    viewer: &Viewer,
    person: &Person,
    promise: Promise,
) -> Result<Promised, Refused> {
    let declared = declared(&promise)?;
    let (id, command) = match &promise.idempotency_key {
        Some(key) => {
            let id = VideoId::asked_for(&person.owner, key);
            (id, command_of(id, &promise.details, &declared))
        }
        None => (VideoId(Uuid::now_v7()), CommandId(Uuid::now_v7())),
    };
    let at_ms = now_ms();
    let lifetime_ms = app.config.tuning.upload.as_millis() as i64;
    let request = Command::RequestUpload {
        video: id,
        owner: person.owner.clone(),
        details: promise.details,
        declared,
        key: source_key(id),
        expires_at_ms: at_ms + lifetime_ms,
        priority: promise.priority,
        at_ms,
    };
    let envelope = Envelope::new(command, viewer.actor());
    let executed = command::execute(app, id, &envelope, request).await?;
    let state = &executed.state;
    if state.status == Status::Deleted {
        return Err(Refused::no_such_video());
    }
    // The same words make the same command, which finds its own event again. Others do not.
    if executed.events.is_empty() {
        return Err(Refused::user(
            "idempotencyKey",
            Code::Conflict,
            "the idempotency key was used before, for another upload",
        ));
    }
    let place = place(app, id, state).await?;
    Ok(Promised { executed, place })
}

/// One intent: this person, this key, these words.
fn command_of(id: VideoId, details: &Details, declared: &Declared) -> CommandId {
    let words = serde_json::json!([details, declared]).to_string();
    CommandId::caused_by(id.0.as_bytes(), &format!("request-upload {words}"))
}

async fn place(app: &App, id: VideoId, video: &Video) -> Result<Option<Presigned>, Refused> {
    let left_ms = video.expires_at_ms - now_ms();
    let is_over = left_ms < URL_MS_MIN && video.status == Status::Uploading;
    if is_over || video.status == Status::Expired {
        return Err(Refused::user(
            "idempotencyKey",
            Code::UploadExpired,
            "nobody finished this upload in time; ask for a new one, under another idempotency key",
        ));
    }
    if video.status != Status::Uploading {
        return Ok(None);
    }
    let left = Duration::from_millis(left_ms.unsigned_abs());
    let declared = &video.declared;
    let presigned = app
        .objects
        .presign_create(
            &video.key,
            declared.size_bytes,
            Some(&declared.content_type),
            left.min(app.config.tuning.upload_url),
        )
        .await
        .map_err(internal(format!("sign an upload of {id}")))?;
    Ok(Some(presigned))
}

fn declared(promise: &Promise) -> Result<Declared, Refused> {
    let size_bytes = u64::try_from(promise.size_bytes).unwrap_or(0);
    if size_bytes == 0 {
        return Err(Refused::user(
            "sizeBytes",
            Code::UploadEmpty,
            "the file is empty; there is nothing to upload",
        ));
    }
    if size_bytes > SINGLE_PUT_BYTES_MAX {
        let message = if size_bytes > SOURCE_BYTES_MAX {
            "the file is too large: at most 50 GiB are accepted, of which a single upload carries 5 GiB"
        } else {
            "the file is too large: a single upload carries at most 5 GiB (5368709120 bytes)"
        };
        return Err(Refused::user("sizeBytes", Code::UploadTooLarge, message));
    }
    let checksum_sha256 = match &promise.checksum_sha256 {
        None => None,
        Some(text) => Some(checksum(text).ok_or_else(|| {
            Refused::user(
                "checksumSha256",
                Code::Invalid,
                "a SHA-256 is 64 hexadecimal digits, or 44 characters of base64",
            )
        })?),
    };
    let content_type = promise.content_type.trim();
    let printable = content_type
        .bytes()
        .all(|byte| (0x20..0x7f).contains(&byte));
    if content_type.is_empty() || content_type.len() > CONTENT_TYPE_BYTES_MAX || !printable {
        return Err(Refused::user(
            "contentType",
            Code::Invalid,
            "a content type is a few words of ASCII, as in video/mp4",
        ));
    }
    if let Some(key) = &promise.idempotency_key {
        let chars = key.chars().count();
        if !(1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&chars) {
            let message = format!("a key has 1 to {IDEMPOTENCY_KEY_CHARS_MAX} characters");
            return Err(Refused::user("idempotencyKey", Code::Invalid, message));
        }
    }
    Ok(Declared {
        file_name: promise.file_name.clone(),
        content_type: content_type.to_owned(),
        size_bytes,
        checksum_sha256,
    })
}

/// A SHA-256 in lower-case hex, however it was written.
fn checksum(text: &str) -> Option<String> {
    let text = text.trim();
    let bytes = if text.len() == 64 {
        hex::decode(text).ok()?
    } else {
        STANDARD.decode(text).ok()?
    };
    (bytes.len() == 32).then(|| hex::encode(bytes))
}

/// Asks the store whether the file of an open upload is there, and records what it says.
///
/// It goes on when the caller stops waiting: a large file may have to be read.
pub(crate) async fn look(app: &App, id: VideoId, actor: String) -> Result<Looked, Refused> {
    let looking = {
        let app = app.clone();
        async move { look_once(&app, id, actor).await }
    };
    match app.tasks.spawn(looking).await {
        Ok(looked) => looked,
        Err(error) => Err(internal(format!("look at the upload of {id}"))(error).into()),
    }
}

async fn look_once(app: &App, id: VideoId, actor: String) -> Result<Looked, Refused> {
    let loaded = app.log.load::<Video>(id).await.map_err(of_log(id))?;
    let video = loaded.state;
    match video.status {
        Status::Unknown => return Ok(Looked::Unknown),
        Status::Deleted => {
            // An address limits when a PUT begins, not when it ends: this one ended after the deletion.
            let erased = app.objects.delete(&source_key(id)).await;
            erased.map_err(internal(format!("erase the source of {id}")))?;
            return Ok(Looked::Unknown);
        }
        Status::Uploading => {}
        Status::Processing | Status::Ready | Status::Failed | Status::Expired => {
            return Ok(Looked::Recorded(Box::new(Executed {
                position: loaded.position.unwrap_or(0),
                state: video,
                events: vec![],
            })));
        }
    }
    let head = app
        .objects
        .head(&video.key)
        .await
        .map_err(internal(format!(
            "look at the source of {id} in the object store"
        )))?;
    let Some(head) = head else {
        return Ok(Looked::NotThere {
            expires_at_ms: video.expires_at_ms,
        });
    };
    let found = found(app, id, &video, head).await?;
    // The same version leads to the same command, whoever woke us.
    let command = CommandId::caused_by(id.0.as_bytes(), &format!("complete-upload {}", found.etag));
    let at_ms = now_ms();
    let executed = command::execute(
        app,
        id,
        &Envelope::new(command, actor),
        Command::CompleteUpload { found, at_ms },
    )
    .await?;
    Ok(Looked::Recorded(Box::new(executed)))
}

async fn found(app: &App, id: VideoId, video: &Video, head: Head) -> Result<Found, ApiError> {
    let declared = &video.declared;
    let needs_digest = declared.checksum_sha256.is_some()
        && head.checksum_sha256.is_none()
        // Of another size it is refused anyway.
        && declared.size_bytes == head.size_bytes;
    let checksum_sha256 = if needs_digest {
        let key = video.key.clone();
        let digest = app
            .digests
            .try_get_with(format!("{key} {}", head.etag), async {
                app.objects.sha256(&key, &head.etag).await
            })
            .await
            .map_err(internal(format!(
                "compute the digest of the source of {id}"
            )))?;
        Some(digest)
    } else {
        head.checksum_sha256
    };
    Ok(Found {
        size_bytes: head.size_bytes,
        etag: head.etag,
        checksum_sha256,
    })
}

/// Why the file of a video was not accepted: the sentence in its history.
pub(crate) async fn rejection(app: &App, id: VideoId) -> Result<Option<String>, ApiError> {
    let events = app
        .log
        .read_stream(&stream_name::<Video>(id), None, EVENTS_MAX)
        .await
        .map_err(internal(format!("read the history of {id}")))?;
    Ok(events
        .into_iter()
        .find_map(|recorded| match recorded.event {
            Ok(AnyEvent::Video(fact)) => match fact.event {
                Kind::UploadRejected { message, .. } => Some(message),
                Kind::UploadRequested { .. }
                | Kind::UploadCompleted { .. }
                | Kind::UploadExpired {}
                | Kind::DetailsChanged { .. }
                | Kind::BecamePlayable { .. }
                | Kind::BecameReady { .. }
                | Kind::ProcessingFailed { .. }
                | Kind::ProcessingRetried { .. }
                | Kind::RenditionRetried { .. }
                | Kind::RenditionReplaced { .. }
                | Kind::RenditionRetryFailed { .. }
                | Kind::Deleted { .. } => None,
            },
            Ok(AnyEvent::Job(_) | AnyEvent::Views(_)) | Err(_) => None,
        }))
}

/// Gives up an upload whose time and grace are over.
pub(crate) async fn expire(app: &App, id: VideoId) -> Result<(), Refused> {
    let command = CommandId::caused_by(id.0.as_bytes(), "expire-upload");
    let at_ms = now_ms();
    let envelope = Envelope::new(command, "sweep");
    command::execute(app, id, &envelope, Command::ExpireUpload { at_ms }).await?;
    Ok(())
}

fn of_log(id: VideoId) -> impl FnOnce(LogError) -> ApiError {
    move |error| internal(format!("load video {id}"))(anyhow::Error::from(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_of_a_source_names_a_video() {
        let id = VideoId(Uuid::from_u128(7));
        assert_eq!(video_of_key(&source_key(id)), Some(id));
        for key in [
            "sources/7/original",
            "sources/00000000-0000-0000-0000-000000000007/other",
            "sources/00000000-0000-0000-0000-000000000007/original/x",
            "sources/00000000000000000000000000000007/original",
            "videos/00000000-0000-0000-0000-000000000007/original",
            "../sources/00000000-0000-0000-0000-000000000007/original",
        ] {
            assert_eq!(video_of_key(key), None, "{key}");
        }
    }

    #[test]
    fn a_checksum_is_hex_or_base64() {
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let base64 = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
        assert_eq!(checksum(hex).as_deref(), Some(hex));
        assert_eq!(checksum(&hex.to_uppercase()).as_deref(), Some(hex));
        assert_eq!(checksum(base64).as_deref(), Some(hex));
        for text in ["", "ba78", "zz", &hex[1..], "QUJD"] {
            assert_eq!(checksum(text), None, "{text}");
        }
    }
}
