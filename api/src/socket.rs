//! What all WebSockets here have in common: limits, pings, a patient but not endless sender.
//!
//! # Invariants
//!
//! * A connection costs little: small read buffer, bounded write buffer, bounded messages.
//! * One that neither reads nor answers pings is closed.
//! * The number of sockets of a process is bounded.

use std::{sync::Arc, time::Duration};

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use futures::{SinkExt, StreamExt, stream};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, Interval, MissedTickBehavior},
};

use crate::{
    app::App,
    error::{ApiError, Code},
};

const READ_BUFFER_BYTES: usize = 4096;
const WRITE_BUFFER_BYTES: usize = 4096;
/// What may wait for a slow client.
const WRITE_BUFFER_BYTES_MAX: usize = 512 * 1024;
/// How long one message may take to be written.
const SEND_MAX: Duration = Duration::from_secs(10);

/// Close codes of RFC 6455.
pub(crate) const GOING_AWAY: u16 = 1001;

/// Applies the limits that every socket has.
pub(crate) fn limited(upgrade: WebSocketUpgrade, message_bytes_max: usize) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(message_bytes_max)
        .max_frame_size(message_bytes_max)
}

/// A place among the sockets of this process.
pub(crate) fn admit(app: &App) -> Result<OwnedSemaphorePermit, ApiError> {
    Arc::clone(&app.sockets).try_acquire_owned().map_err(|_| {
        ApiError::new(
            Code::LimitExceeded,
            "too many connections; try again in a moment",
        )
    })
}

/// What came from the other side.
#[derive(Debug)]
pub(crate) enum Heard {
    Text(String),
    /// A frame that none of our protocols has.
    Binary,
    /// Closed, broken, silent for too long, or a message larger than allowed.
    Gone,
}

/// The other side is gone, or does not read.
#[derive(Debug)]
pub(crate) struct Gone;

/// One connection.
pub(crate) struct Line {
    sink: stream::SplitSink<WebSocket, Message>,
    stream: stream::SplitStream<WebSocket>,
    pings: Interval,
    heard_at: Instant,
    _place: OwnedSemaphorePermit,
}

impl Line {
    pub(crate) fn new(socket: WebSocket, app: &App, place: OwnedSemaphorePermit) -> Self {
        let (sink, stream) = socket.split();
        let every = app.config.tuning.socket_ping_every;
        let mut pings = tokio::time::interval_at(Instant::now() + every, every);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            sink,
            stream,
            pings,
            heard_at: Instant::now(),
            _place: place,
        }
    }

    /// The next message. Cancel-safe.
    pub(crate) async fn hear(&mut self) -> Heard {
        loop {
            let message = tokio::select! {
                message = self.stream.next() => message,
                _ = self.pings.tick() => {
                    if self.heard_at.elapsed() > 2 * self.pings.period() {
                        return Heard::Gone;
                    }
                    if self.send(Message::Ping(Default::default())).await.is_err() {
                        return Heard::Gone;
                    }
                    continue;
                }
            };
            self.heard_at = Instant::now();
            match message {
                Some(Ok(Message::Text(text))) => return Heard::Text(text.as_str().to_owned()),
                Some(Ok(Message::Binary(_))) => return Heard::Binary,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Heard::Gone,
            }
        }
    }

    pub(crate) async fn say(&mut self, value: &serde_json::Value) -> Result<(), Gone> {
        self.send(Message::Text(value.to_string().into())).await
    }

    /// Says goodbye. Nobody waits for an answer.
    pub(crate) async fn close(mut self, code: u16, reason: &str) {
        // A reason has 123 bytes at most.
        let end = reason.floor_char_boundary(120);
        let frame = CloseFrame {
            code,
            reason: reason[..end].to_owned().into(),
        };
        // Whether it arrives is of no consequence: the connection ends either way.
        let _ = self.send(Message::Close(Some(frame))).await;
    }

    async fn send(&mut self, message: Message) -> Result<(), Gone> {
        match tokio::time::timeout(SEND_MAX, self.sink.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }
}

/// Completes when a viewer's token ends; never where there is none.
pub(crate) async fn token_ends(left: Option<Duration>) {
    match left {
        Some(left) => tokio::time::sleep(left).await,
        None => std::future::pending().await,
    }
}
