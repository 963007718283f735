//! Mutations: commands to the log. Each answers with a position, for `minPosition`.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use domain::{
    code,
    fact::{AnyEvent, Fact},
    id::{RenditionId, VideoId},
    video::{Changes, Details, Status as State, Video as VideoState},
    views,
};
use eventlog::{Executed, stream_name};
use objects::Presigned;
use projections::catalogue;
use time::OffsetDateTime;

use crate::{
    app::{App, moment, now_ms},
    command::{self, Refused, Wish},
    error::{ApiError, Code, internal},
    graphql::{
        app, client,
        retry::RetryRenditionInput,
        video::{Priority, Video, Visibility},
        viewer,
    },
    position, retry,
    token::Scope,
    upload::{self, Looked, Promise},
};

/// A session's name is the client's own choice.
const SESSION_CHARS_MAX: usize = 128;

/// Why a mutation changed nothing, in words its sender can act on.
#[derive(SimpleObject)]
pub(crate) struct UserError {
    /// Which field of the input it is about.
    field: Option<String>,
    message: String,
    code: Code,
}

/// A header of a request.
#[derive(SimpleObject)]
pub(crate) struct Header {
    name: String,
    value: String,
}

/// Where to put the file: send exactly this request, with the file as its body.
#[derive(SimpleObject)]
pub(crate) struct Upload {
    /// The video's id.
    id: ID,
    method: String,
    url: String,
    /// All of them must be sent, with these values.
    headers: Vec<Header>,
    expires_at: OffsetDateTime,
}

/// The file to be uploaded, and what people should know about it.
#[derive(InputObject)]
pub(crate) struct CreateUploadInput {
    title: String,
    #[graphql(default)]
    description: String,
    #[graphql(default)]
    tags: Vec<String>,
    file_name: String,
    #[graphql(default_with = r#""application/octet-stream".to_owned()"#)]
    content_type: String,
    /// At most 5 GiB: a single PUT carries no more.
    size_bytes: crate::graphql::scalar::Long,
    /// In hex or base64; a file with another one is refused when it arrives.
    checksum_sha256: Option<String>,
    #[graphql(default_with = "Visibility::Private")]
    visibility: Visibility,
    /// Which of several videos is processed first. The first request's counts.
    #[graphql(default_with = "Priority::Normal")]
    priority: Priority,
    /// The same key again gives the same video, and a fresh place for its file.
    idempotency_key: Option<String>,
}

#[derive(InputObject)]
pub(crate) struct CompleteUploadInput {
    video_id: ID,
}

/// What is to change; what is not said stays as it is.
#[derive(InputObject)]
pub(crate) struct UpdateVideoInput {
    video_id: ID,
    title: Option<String>,
    description: Option<String>,
    tags: Option<Vec<String>>,
    visibility: Option<Visibility>,
}

#[derive(InputObject)]
pub(crate) struct DeleteVideoInput {
    video_id: ID,
}

#[derive(InputObject)]
pub(crate) struct RetryProcessingInput {
    video_id: ID,
}

#[derive(InputObject)]
pub(crate) struct RecordViewInput {
    video_id: ID,
    /// Whoever watches, in words of the player's own: a session counts once per video and day.
    session_id: String,
}

#[derive(SimpleObject, Default)]
pub(crate) struct CreateUploadPayload {
    /// Null when the file has arrived already, and when the request was refused.
    upload: Option<Upload>,
    video: Option<Video>,
    /// Send it as `minPosition` to read what was written.
    position: Option<String>,
    user_errors: Vec<UserError>,
}

/// The answer to a change of a video.
#[derive(SimpleObject, Default)]
pub(crate) struct VideoPayload {
    /// As it is after the change; null when it was refused.
    video: Option<Video>,
    /// Send it as `minPosition` to read what was written.
    position: Option<String>,
    user_errors: Vec<UserError>,
}

/// Needs a token with the scope `videos:write`, except for `recordView`.
pub(crate) struct Mutation;

#[Object]
impl Mutation {
    /// Promises a file, and gets a place to put it.
    async fn create_upload(
        &self,
        ctx: &Context<'_>,
        input: CreateUploadInput,
    ) -> Result<Option<CreateUploadPayload>> {
        let (app, viewer) = (app(ctx)?, viewer(ctx)?);
        let person = viewer.with(Scope::VideosWrite)?;
        let promised = upload::promise(app, viewer, person, promise_of(input)).await;
        let promised = match promised {
            Ok(promised) => promised,
            Err(refused) => {
                return Ok(Some(CreateUploadPayload {
                    user_errors: vec![user_error(refused)?],
                    ..CreateUploadPayload::default()
                }));
            }
        };
        let id = promised.executed.state.id;
        Ok(Some(CreateUploadPayload {
            upload: promised.place.map(|place| upload_of(id, place)),
            video: shown(app, &promised.executed).await?,
            position: Some(position::token(app, promised.executed.position).await?),
            user_errors: vec![],
        }))
    }

    /// Says that the file is there. The object store is asked; repeating it is harmless.
    async fn complete_upload(
        &self,
        ctx: &Context<'_>,
        input: CompleteUploadInput,
    ) -> Result<Option<VideoPayload>> {
        let (app, viewer) = (app(ctx)?, viewer(ctx)?);
        let person = viewer.with(Scope::VideosWrite)?;
        let completed = async {
            let id = video_id(&input.video_id)?;
            command::changeable(app, viewer, person, id).await?;
            match upload::look(app, id, viewer.actor()).await? {
                Looked::Unknown => Err(Refused::no_such_video()),
                Looked::NotThere { .. } => Err(Refused::user(
                    "videoId",
                    Code::Conflict,
                    "the file has not arrived; send it to the upload's url first, then ask again",
                )),
                Looked::Recorded(executed) => Ok(*executed),
            }
        };
        let executed = match completed.await {
            Ok(executed) => executed,
            Err(refused) => return refused_payload(refused),
        };
        let mut payload = accepted_payload(app, &executed).await?;
        payload
            .user_errors
            .extend(not_accepted(app, &executed.state).await?);
        Ok(Some(payload))
    }

    /// Changes what people see of a video.
    async fn update_video(
        &self,
        ctx: &Context<'_>,
        input: UpdateVideoInput,
    ) -> Result<Option<VideoPayload>> {
        let changes = Changes {
            title: input.title,
            description: input.description,
            tags: input.tags,
            visibility: input.visibility.map(Into::into),
        };
        change(ctx, &input.video_id, Wish::Change(changes)).await
    }

    /// Deletes a video for good, with everything made of it.
    async fn delete_video(
        &self,
        ctx: &Context<'_>,
        input: DeleteVideoInput,
    ) -> Result<Option<VideoPayload>> {
        change(ctx, &input.video_id, Wish::Delete).await
    }

    /// Processes a failed video again, from the source that was uploaded.
    async fn retry_processing(
        &self,
        ctx: &Context<'_>,
        input: RetryProcessingInput,
    ) -> Result<Option<VideoPayload>> {
        change(ctx, &input.video_id, Wish::Retry).await
    }

    /// Makes one rendition of a ready video again, from the source that was uploaded. Meanwhile the
    /// video is played as it is; see `renditionRetry` for what becomes of it.
    async fn retry_rendition(
        &self,
        ctx: &Context<'_>,
        input: RetryRenditionInput,
    ) -> Result<Option<VideoPayload>> {
        let (app, viewer) = (app(ctx)?, viewer(ctx)?);
        let person = viewer.with(Scope::VideosWrite)?;
        let retried = async {
            let id = video_id(&input.video_id)?;
            let rendition = RenditionId(input.rendition.to_string());
            let key = input.idempotency_key.as_deref();
            retry::rendition(app, viewer, person, id, rendition, key).await
        };
        match retried.await {
            Ok(executed) => Ok(Some(accepted_payload(app, &executed).await?)),
            Err(refused) => refused_payload(refused),
        }
    }

    /// Counts a look at a playable video: once per session and day. Needs no token.
    async fn record_view(
        &self,
        ctx: &Context<'_>,
        input: RecordViewInput,
    ) -> Result<Option<VideoPayload>> {
        let app = app(ctx)?;
        if !app.limiter.allows(&client(ctx)?.0).await {
            return refused_payload(Refused::User {
                field: None,
                code: Code::LimitExceeded,
                message: "too many views from here; try again in a minute".to_owned(),
            });
        }
        match view(ctx, &input).await {
            Ok((video, position)) => Ok(Some(VideoPayload {
                video: Some(video),
                position: Some(position),
                user_errors: vec![],
            })),
            Err(refused) => refused_payload(refused),
        }
    }
}

fn promise_of(input: CreateUploadInput) -> Promise {
    Promise {
        details: Details {
            title: input.title,
            description: input.description,
            tags: input.tags,
            visibility: input.visibility.into(),
        },
        file_name: input.file_name,
        content_type: input.content_type,
        size_bytes: input.size_bytes.0,
        checksum_sha256: input.checksum_sha256,
        priority: input.priority.into(),
        idempotency_key: input.idempotency_key,
    }
}

fn upload_of(id: VideoId, place: Presigned) -> Upload {
    Upload {
        id: ID(id.to_string()),
        method: place.method.to_owned(),
        url: place.url,
        headers: place
            .headers
            .into_iter()
            .map(|(name, value)| Header { name, value })
            .collect(),
        expires_at: moment(place.expires_at_ms),
    }
}

async fn change(ctx: &Context<'_>, id: &ID, wish: Wish) -> Result<Option<VideoPayload>> {
    let (app, viewer) = (app(ctx)?, viewer(ctx)?);
    let person = viewer.with(Scope::VideosWrite)?;
    let id = match video_id(id) {
        Ok(id) => id,
        Err(refused) => return refused_payload(refused),
    };
    match command::fulfil(app, viewer, person, id, wish).await {
        Ok(executed) => Ok(Some(accepted_payload(app, &executed).await?)),
        Err(refused) => refused_payload(refused),
    }
}

async fn view(
    ctx: &Context<'_>,
    input: &RecordViewInput,
) -> std::result::Result<(Video, String), Refused> {
    let (app, viewer) = (app(ctx)?, viewer(ctx)?);
    let chars = input.session_id.chars().count();
    if !(1..=SESSION_CHARS_MAX).contains(&chars) {
        let message = format!("a session has 1 to {SESSION_CHARS_MAX} characters");
        return Err(Refused::user("sessionId", Code::Invalid, message));
    }
    let video = super::query::find(app, viewer, &input.video_id)
        .await?
        .ok_or_else(Refused::no_such_video)?;
    if !video.0.playable {
        return Err(Refused::user(
            "videoId",
            Code::Conflict,
            "the video cannot be played yet, so nobody can have viewed it",
        ));
    }
    let fact = Fact {
        video: video.0.id,
        owner: video.0.owner.clone(),
        at_ms: now_ms(),
        event: views::Kind::Recorded {
            session: input.session_id.clone(),
        },
    };
    let recorded = app.log.record_view(&fact).await;
    let position = recorded
        .map_err(anyhow::Error::from)
        .map_err(internal(format!("record a view of {}", video.0.id)))?;
    Ok((video, position.to_string()))
}

fn video_id(id: &ID) -> std::result::Result<VideoId, Refused> {
    id.parse().map_err(|_| Refused::no_such_video())
}

/// The error as part of the answer; failures become the answer themselves.
fn user_error(refused: Refused) -> std::result::Result<UserError, ApiError> {
    match refused {
        Refused::User {
            field,
            code,
            message,
        } => Ok(UserError {
            field: field.map(str::to_owned),
            message,
            code,
        }),
        Refused::Failed(error) => Err(error),
    }
}

fn refused_payload(refused: Refused) -> Result<Option<VideoPayload>> {
    Ok(Some(VideoPayload {
        user_errors: vec![user_error(refused)?],
        ..VideoPayload::default()
    }))
}

async fn accepted_payload(
    app: &App,
    executed: &Executed<VideoState>,
) -> std::result::Result<VideoPayload, ApiError> {
    Ok(VideoPayload {
        video: shown(app, executed).await?,
        position: Some(position::token(app, executed.position).await?),
        user_errors: vec![],
    })
}

/// Why a file that arrived was not accepted: the same answer each time it is asked for.
async fn not_accepted(
    app: &App,
    state: &VideoState,
) -> std::result::Result<Option<UserError>, ApiError> {
    let (code, message) = match state.status {
        State::Expired => (
            Code::UploadExpired,
            "nobody finished the upload in time; ask for a new one".to_owned(),
        ),
        State::Failed if state.source.is_none() => {
            let message = upload::rejection(app, state.id).await?;
            (Code::UploadMismatch, message.unwrap_or_default())
        }
        State::Unknown
        | State::Uploading
        | State::Processing
        | State::Ready
        | State::Failed
        | State::Deleted => return Ok(None),
    };
    Ok(Some(UserError {
        field: Some("videoId".to_owned()),
        message,
        code,
    }))
}

/// The video as the command left it: what the catalogue knows, under what the log says now.
async fn shown(
    app: &App,
    executed: &Executed<VideoState>,
) -> std::result::Result<Option<Video>, ApiError> {
    let state = &executed.state;
    if state.status == State::Deleted {
        return Ok(None);
    }
    // A catalogue that is away or behind is no reason to fail what was recorded.
    let entry = match catalogue::video(&app.reader, state.id).await {
        Ok(entry) => entry,
        Err(error) => {
            tracing::warn!(video.id = %state.id, error = format!("{error:#}"), "the catalogue does not answer");
            None
        }
    };
    let mut video = match entry {
        Some(entry) => Video::after(entry, state),
        None => Video::new(state, created_ms(app, state).await?, executed.position),
    };
    if video.0.failure.is_none() && state.status == State::Failed && state.source.is_none() {
        let message = upload::rejection(app, state.id).await?;
        video.0.failure = Some(catalogue::Failure {
            code: code::Code::UploadMismatch,
            message: message.unwrap_or_default(),
        });
    }
    Ok(Some(video))
}

async fn created_ms(app: &App, state: &VideoState) -> std::result::Result<i64, ApiError> {
    let first = app
        .log
        .read_stream(&stream_name::<VideoState>(state.id), None, 1)
        .await
        .map_err(anyhow::Error::from)
        .map_err(internal(format!("read the beginning of {}", state.id)))?;
    let at_ms = first.into_iter().find_map(|recorded| match recorded.event {
        Ok(AnyEvent::Video(fact)) => Some(fact.at_ms),
        Ok(AnyEvent::Job(_) | AnyEvent::Views(_)) | Err(_) => None,
    });
    Ok(at_ms.unwrap_or_else(now_ms))
}
