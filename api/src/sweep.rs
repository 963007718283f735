//! The sweep: open uploads are looked at, though nobody said that they are done.
//!
//! # Invariants
//!
//! * Every open upload comes up again and again, however many there are.
//! * A round is bounded. What a killed process left undone, the next round finds.

use std::time::Duration;

use projections::catalogue::{self, Cursor, OpenUpload};
use tokio_util::sync::CancellationToken;

use crate::{
    app::{App, now_ms},
    command::Refused,
    upload::{self, Looked},
};

/// Uploads looked at in one round.
const ROUND_MAX: usize = 100;
/// Younger ones are not looked at: their client, or the store, is about to speak.
const YOUNG: Duration = Duration::from_secs(2);

/// Looks at open uploads until `stop`.
pub(crate) async fn run(app: App, stop: CancellationToken) {
    let mut cursor = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(app.config.tuning.sweep_every) => {}
        }
        // A round is abandoned half way when we stop: the next process begins again.
        tokio::select! {
            () = stop.cancelled() => return,
            next = round(&app, cursor) => cursor = next,
        }
    }
}

/// Looks at the uploads after `cursor`, and says where the next round goes on.
async fn round(app: &App, cursor: Option<Cursor>) -> Option<Cursor> {
    let before_ms = now_ms() - YOUNG.as_millis() as i64;
    let uploads = catalogue::open_uploads(&app.reader, before_ms, cursor, ROUND_MAX).await;
    let uploads = match uploads {
        Ok(uploads) => uploads,
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "failed to list open uploads");
            return cursor;
        }
    };
    for upload in &uploads {
        if let Err(Refused::User { message, .. }) = look_at(app, upload).await {
            tracing::debug!(video.id = %upload.id, %message, "an upload was not recorded");
        }
    }
    let last = uploads.last().filter(|_| uploads.len() == ROUND_MAX)?;
    Some(Cursor {
        created_ms: last.created_ms,
        id: last.id,
    })
}

async fn look_at(app: &App, open: &OpenUpload) -> Result<(), Refused> {
    let looked = upload::look(app, open.id, "sweep".to_owned()).await?;
    let Looked::NotThere { expires_at_ms } = looked else {
        return Ok(());
    };
    let grace_ms = app.config.tuning.upload_grace.as_millis() as i64;
    if now_ms() < expires_at_ms + grace_ms {
        return Ok(());
    }
    tracing::info!(video.id = %open.id, "nobody finished the upload of {} in time", open.id);
    upload::expire(app, open.id).await
}
