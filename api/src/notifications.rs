//! `/notifications`: announcements as JSON text frames.
//!
//! Client: `{"type":"auth","token":…}`, then `{"type":"subscribe","videos":[…]}` or
//! `{"type":"subscribe","mine":true}`, each with an optional `"after":"<position>"`.
//! Server: `subscribed`, then `playable`, `ready` and `failed`; `error` at any time.
//!
//! # Invariants
//!
//! * A client that comes back with its last position misses nothing and sees nothing twice.
//! * Nobody is told about a video they may not see at that moment.
//! * One subscription per connection.

pub(crate) mod feed;

use std::time::Duration;

use axum::{
    extract::{State, ws::WebSocketUpgrade},
    response::Response,
};
use domain::id::VideoId;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    app::App,
    error::{ApiError, Code, internal},
    notifications::feed::{Feed, Of},
    position,
    socket::{self, Gone, Heard, Line},
    token::Scope,
    viewer::Viewer,
};

const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Close codes, in the private range; they resemble HTTP's.
const MALFORMED: u16 = 4400;
const UNAUTHENTICATED: u16 = 4401;
const TOO_SLOW: u16 = 4408;
const FAILED: u16 = 4500;

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Said {
    Auth {
        token: String,
    },
    Subscribe {
        #[serde(default)]
        videos: Option<Vec<String>>,
        #[serde(default)]
        mine: bool,
        #[serde(default)]
        after: Option<String>,
    },
}

/// Why a connection ends from our side.
struct Goodbye {
    code: u16,
    error: Option<ApiError>,
}

impl From<Gone> for Goodbye {
    fn from(_: Gone) -> Self {
        Self {
            code: socket::GOING_AWAY,
            error: None,
        }
    }
}

/// `GET /notifications`, upgraded.
pub(crate) async fn notifications(
    State(app): State<App>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    let viewer = Viewer::of_headers(&app.config.token_secret, &headers)?;
    let place = socket::admit(&app)?;
    let upgrade = socket::limited(upgrade, MESSAGE_BYTES_MAX);
    let tasks = app.tasks.clone();
    Ok(upgrade.on_upgrade(move |socket| {
        tasks.track_future(async move {
            metrics::counter!("kinolog_sockets_total", "protocol" => "notifications").increment(1);
            let line = Line::new(socket, &app, place);
            Session { app, viewer, line }.run().await;
        })
    }))
}

struct Session {
    app: App,
    viewer: Viewer,
    line: Line,
}

impl Session {
    async fn run(mut self) {
        let goodbye = match self.converse().await {
            Ok(never) => match never {},
            Err(goodbye) => goodbye,
        };
        if let Some(error) = &goodbye.error
            && self.line.say(&frame_of(error)).await.is_err()
        {
            return;
        }
        let reason = goodbye.error.as_ref().map_or("", |e| e.code.as_str());
        self.line.close(goodbye.code, reason).await;
    }

    async fn converse(&mut self) -> Result<std::convert::Infallible, Goodbye> {
        let mut feed = self.subscription().await?;
        loop {
            let stop = self.app.stop.clone();
            let news = tokio::select! {
                () = stop.cancelled() => return Err(Gone.into()),
                () = socket::token_ends(self.viewer.time_left()) => return Err(bad_token()),
                heard = self.line.hear() => {
                    self.on_message_while_subscribed(heard, &mut feed)?;
                    continue;
                }
                news = feed.next() => news.map_err(|error| Goodbye { code: FAILED, error: Some(error) })?,
            };
            for frame in news {
                self.line.say(&frame).await?;
            }
        }
    }

    /// Talks until there is a subscription.
    async fn subscription(&mut self) -> Result<Feed, Goodbye> {
        let hello = tokio::time::sleep(self.app.config.tuning.socket_hello);
        tokio::pin!(hello);
        loop {
            let stop = self.app.stop.clone();
            let heard = tokio::select! {
                () = stop.cancelled() => return Err(Gone.into()),
                () = &mut hello => return Err(Goodbye {
                    code: TOO_SLOW,
                    error: Some(ApiError::new(Code::LimitExceeded, "nothing was subscribed to in time")),
                }),
                heard = self.line.hear() => heard,
            };
            let (videos, mine, after) = match parse(heard)? {
                Said::Auth { token } => {
                    self.authenticate(&token)?;
                    continue;
                }
                Said::Subscribe {
                    videos,
                    mine,
                    after,
                } => (videos, mine, after),
            };
            let made = make_feed(&self.app, &self.viewer, videos, mine, after.as_deref()).await;
            match made {
                Ok(feed) => {
                    let position = position::token(&self.app, feed.cursor())
                        .await
                        .map_err(failed)?;
                    let subscribed = json!({"type": "subscribed", "position": position});
                    self.line.say(&subscribed).await?;
                    return Ok(feed);
                }
                Err(error) if error.code == Code::Internal => return Err(failed(error)),
                // They may correct it.
                Err(error) => self.line.say(&frame_of(&error)).await?,
            }
        }
    }

    fn on_message_while_subscribed(
        &mut self,
        heard: Heard,
        feed: &mut Feed,
    ) -> Result<(), Goodbye> {
        match parse(heard)? {
            // The same person with a fresh token stays connected.
            Said::Auth { token } => {
                self.authenticate(&token)?;
                feed.seen_by(self.viewer.clone());
                Ok(())
            }
            Said::Subscribe { .. } => Err(malformed(
                "there is one subscription per connection; open another one",
            )),
        }
    }

    fn authenticate(&mut self, token: &str) -> Result<(), Goodbye> {
        self.viewer =
            Viewer::of_token(&self.app.config.token_secret, token).map_err(|error| Goodbye {
                code: UNAUTHENTICATED,
                error: Some(error),
            })?;
        Ok(())
    }
}

fn parse(heard: Heard) -> Result<Said, Goodbye> {
    match heard {
        Heard::Text(text) => serde_json::from_str(&text).map_err(|_| {
            malformed("this is not a message of this protocol: {\"type\":\"auth\",…} or {\"type\":\"subscribe\",…}")
        }),
        Heard::Binary => Err(malformed("messages are JSON in text frames")),
        Heard::Gone => Err(Gone.into()),
    }
}

fn malformed(message: &'static str) -> Goodbye {
    Goodbye {
        code: MALFORMED,
        error: Some(ApiError::new(Code::Invalid, message)),
    }
}

fn bad_token() -> Goodbye {
    Goodbye {
        code: UNAUTHENTICATED,
        error: Some(ApiError::bad_token()),
    }
}

fn failed(error: ApiError) -> Goodbye {
    Goodbye {
        code: FAILED,
        error: Some(error),
    }
}

fn frame_of(error: &ApiError) -> Value {
    json!({"type": "error", "code": error.code.as_str(), "message": error.message})
}

/// Checks a subscription and places its cursor.
async fn make_feed(
    app: &App,
    viewer: &Viewer,
    videos: Option<Vec<String>>,
    mine: bool,
    after: Option<&str>,
) -> Result<Feed, ApiError> {
    let of = match (videos, mine) {
        (None, true) => {
            viewer.with(Scope::VideosRead)?;
            Of::Mine
        }
        (Some(videos), false) => Of::Videos(video_ids(&videos)?),
        (None, false) | (Some(_), true) => {
            return Err(ApiError::new(
                Code::Invalid,
                "subscribe to either \"videos\":[…] or \"mine\":true",
            ));
        }
    };
    Feed::new(app.clone(), viewer.clone(), of, after).await
}

fn video_ids(texts: &[String]) -> Result<std::collections::HashSet<VideoId>, ApiError> {
    if texts.is_empty() || texts.len() > feed::VIDEOS_MAX {
        return Err(ApiError::new(
            Code::LimitExceeded,
            format!("subscribe to 1 to {} videos", feed::VIDEOS_MAX),
        ));
    }
    texts
        .iter()
        // A word that is no id names no video.
        .map(|text| text.parse().map_err(|_| feed::no_such_video(text)))
        .collect()
}

/// How long the catalogue may take to reach what an announcement is about.
pub(crate) const CATALOGUE_WAIT: Duration = Duration::from_secs(5);

/// Logs why an announcement could not be checked or read.
pub(crate) fn unread<E: std::fmt::Display>(error: E) -> ApiError {
    internal("read announcements")(error)
}
