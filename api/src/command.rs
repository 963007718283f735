//! Commands to a video on somebody's behalf, and what they get to hear.
//!
//! # Invariants
//!
//! * Whoever may not see a video hears that there is none, whatever they ask for.
//! * A refusal is for the caller; a failure is logged and hidden.

use domain::{
    id::{CommandId, VideoId},
    video::{By, Changes, Command, Rejection, Status, Video},
};
use eventlog::{Envelope, ExecuteError, Executed};
use uuid::Uuid;

use crate::{
    app::{App, now_ms},
    error::{self, ApiError, Code, internal},
    viewer::{Person, Viewer},
};

/// Why a command did not take place.
#[derive(Debug)]
pub(crate) enum Refused {
    /// For the caller to read, in the answer.
    User {
        field: Option<&'static str>,
        code: Code,
        message: String,
    },
    /// The whole request fails.
    Failed(ApiError),
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

impl Refused {
    pub(crate) fn user(field: &'static str, code: Code, message: impl Into<String>) -> Self {
        Self::User {
            field: Some(field),
            code,
            message: message.into(),
        }
    }

    pub(crate) fn no_such_video() -> Self {
        Self::user("videoId", Code::NotFound, "there is no such video")
    }
}

/// What a person wants changed.
pub(crate) enum Wish {
    Change(Changes),
    Delete,
    Retry,
}

impl Wish {
    fn command(self, by: By) -> Command {
        let at_ms = now_ms();
        match self {
            Self::Change(changes) => Command::ChangeDetails { by, changes, at_ms },
            Self::Delete => Command::Delete { by, at_ms },
            Self::Retry => Command::RetryProcessing { by, at_ms },
        }
    }
}

/// Does what `person` wishes with a video.
pub(crate) async fn fulfil(
    app: &App,
    viewer: &Viewer,
    person: &Person,
    id: VideoId,
    wish: Wish,
) -> Result<Executed<Video>, Refused> {
    changeable(app, viewer, person, id).await?;
    let envelope = Envelope::new(CommandId(Uuid::now_v7()), viewer.actor());
    execute(app, id, &envelope, wish.command(person.by())).await
}

/// The video, if `person` may change it; a refusal that tells nothing they may not know, if not.
pub(crate) async fn changeable(
    app: &App,
    viewer: &Viewer,
    person: &Person,
    id: VideoId,
) -> Result<Video, Refused> {
    let loaded = app.log.load::<Video>(id).await;
    let video = loaded
        .map_err(internal(format!("load video {id}")))
        .map_err(Refused::Failed)?
        .state;
    if video.status == Status::Unknown {
        return Err(Refused::no_such_video());
    }
    if let By::Owner(owner) = person.by()
        && owner != video.owner
    {
        let gone = video.status == Status::Deleted;
        if gone || !viewer.sees(&video.owner, video.details.visibility) {
            return Err(Refused::no_such_video());
        }
        return Err(refusal(&Rejection::NotOwner));
    }
    Ok(video)
}

/// Executes one command, and sorts what can come of it.
pub(crate) async fn execute(
    app: &App,
    id: VideoId,
    envelope: &Envelope,
    command: Command,
) -> Result<Executed<Video>, Refused> {
    match app.log.execute::<Video>(id, envelope, command).await {
        Ok(executed) => Ok(executed),
        Err(ExecuteError::Rejected(rejection)) => Err(refusal(&rejection)),
        Err(ExecuteError::Conflict) => Err(Refused::user(
            "videoId",
            Code::Conflict,
            "others kept changing the video meanwhile; read it again and retry",
        )),
        Err(ExecuteError::Log(cause)) => {
            let doing = format!("record a change of video {id}");
            Err(Refused::Failed(internal(doing)(anyhow::Error::from(cause))))
        }
    }
}

fn refusal(rejection: &Rejection) -> Refused {
    let (field, code) = error::of_rejection(rejection);
    Refused::User {
        field,
        code,
        message: rejection.to_string(),
    }
}
