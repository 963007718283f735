//! The worker's life: claim, run, report, again.
//!
//! # Invariants
//!
//! * A claim whose answer was lost is repeated with the same id: no task is taken twice,
//!   none is taken and forgotten.
//! * One task at a time: its encoders use every core already.

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::attempt::{self, Ended, Patience};
use crate::launch::Launcher;
use crate::link::{Link, LinkError, first_pause, longer};

pub struct Settings {
    /// Take one task only.
    pub once: bool,
    pub patience: Patience,
}

/// Works until stopped, or until one task is done.
pub async fn work(
    link: Link,
    launcher: Launcher,
    settings: Settings,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut request_id = Uuid::new_v4().to_string();
    let mut pause = first_pause();
    loop {
        let claimed = tokio::select! {
            claimed = link.claim(&request_id) => claimed,
            () = stop.cancelled() => return Ok(()),
        };
        let task = match claimed {
            Ok(task) => task,
            Err(LinkError::Token) => return Err(LinkError::Token.into()),
            Err(error) => {
                tracing::warn!(error = %error, "failed to claim a task, trying again");
                tokio::select! {
                    () = sleep(pause) => {}
                    () = stop.cancelled() => return Ok(()),
                }
                pause = longer(pause);
                continue;
            }
        };
        pause = first_pause();
        request_id = Uuid::new_v4().to_string();
        let Some(task) = task else {
            // The conductor holds a claim open; one that does not is not asked in a rush.
            sleep(pause).await;
            continue;
        };
        let ended = attempt::run(&link, &launcher, task, settings.patience, &stop).await;
        if matches!(ended, Ended::Stopped) || settings.once {
            return Ok(());
        }
    }
}
