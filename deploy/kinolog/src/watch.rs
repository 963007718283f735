//! `kinolog watch`: announcements as JSON lines.
//!
//! # Invariants
//!
//! * After a lost connection it goes on after the last position it printed, or where its first
//!   subscription began: nothing is missed, nothing is printed twice.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use eventlog::Log;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::platform::{Addresses, Platform};

const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// How long connections may go on failing.
const RETRY_FOR: Duration = Duration::from_secs(60);

#[derive(Args)]
pub struct WatchArgs {
    /// Of this video; may be given several times. None: of all of one's own.
    #[arg(long = "video", value_name = "ID")]
    videos: Vec<String>,
    /// Of all of one's own videos.
    #[arg(long, conflicts_with = "videos")]
    mine: bool,
    /// Go on after this position; neither this nor --from-start: from now on.
    #[arg(long, value_name = "POSITION")]
    after: Option<String>,
    /// Begin with the oldest announcement that is kept.
    #[arg(long, conflicts_with = "after")]
    from_start: bool,
    /// End after the first announcement of this kind.
    #[arg(long, value_name = "KIND", value_parser = ["playable", "ready", "failed"])]
    until: Option<String>,
}

pub async fn run(platform: &Platform, args: WatchArgs) -> anyhow::Result<()> {
    let what = match args.videos.is_empty() {
        true => json!({"mine": true}),
        false => json!({"videos": args.videos}),
    };
    let after = match args.from_start {
        true => Some(beginning(&platform.addresses).await?),
        false => args.after,
    };
    let mut watch = Watch::new(&platform.addresses, what, after);
    watch.begun().await?;
    // Whoever starts us in a script learns that nothing is missed from here on.
    eprintln!("kinolog: watching");
    loop {
        let announcement = watch.next().await?;
        println!("{announcement}");
        if args.until.is_some() && announcement["type"].as_str() == args.until.as_deref() {
            return Ok(());
        }
    }
}

/// The position before everything in the platform's log.
async fn beginning(addresses: &Addresses) -> anyhow::Result<String> {
    let epoch = Log::new(&addresses.eventstore)?.epoch().await?;
    Ok(epoch.at(0).to_string())
}

/// A subscription that survives its connections.
pub struct Watch {
    url: String,
    token: String,
    what: Value,
    after: Option<String>,
    socket: Option<WebSocketStream<MaybeTlsStream<TcpStream>>>,
}

impl Watch {
    /// `what` is `{"mine": true}` or `{"videos": […]}`.
    pub fn new(addresses: &Addresses, what: Value, after: Option<String>) -> Self {
        Self {
            url: addresses.notifications.clone(),
            token: addresses.token.clone(),
            what,
            after,
            socket: None,
        }
    }

    /// Waits until the platform has taken the subscription.
    pub async fn begun(&mut self) -> anyhow::Result<()> {
        // Nothing is announced before.
        while self.receive().await?.is_some() {}
        Ok(())
    }

    /// The next announcement.
    pub async fn next(&mut self) -> anyhow::Result<Value> {
        loop {
            if let Some(announcement) = self.receive().await? {
                return Ok(announcement);
            }
        }
    }

    /// An announcement, or `None` each time a subscription has begun.
    async fn receive(&mut self) -> anyhow::Result<Option<Value>> {
        let mut failing_since: Option<tokio::time::Instant> = None;
        loop {
            let error = match self.try_next().await {
                Ok(Received::Announcement(value)) => return Ok(Some(value)),
                Ok(Received::Subscribed) => return Ok(None),
                Ok(Received::Refused(error)) => bail!("the subscription was refused: {error}"),
                Ok(Received::Other) => {
                    failing_since = None;
                    continue;
                }
                Err(error) => error,
            };
            self.socket = None;
            let now = tokio::time::Instant::now();
            if now - *failing_since.get_or_insert(now) > RETRY_FOR {
                return Err(error);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn try_next(&mut self) -> anyhow::Result<Received> {
        if self.socket.is_none() {
            self.socket = Some(self.connect().await?);
        }
        let socket = self.socket.as_mut().context("there is a socket")?;
        let message = socket.next().await.context("the connection was closed")??;
        let Message::Text(text) = message else {
            return Ok(Received::Other);
        };
        let value: Value = serde_json::from_str(&text).context("an announcement is no JSON")?;
        match value["type"].as_str() {
            Some("error") if value["code"] == "INTERNAL" => bail!("{value}"),
            Some("error") => Ok(Received::Refused(value)),
            Some("subscribed") => {
                // From here on nothing may be missed, though nothing has been announced yet.
                let position = value["position"].as_str();
                self.after = self.after.take().or(position.map(str::to_owned));
                Ok(Received::Subscribed)
            }
            Some("playable" | "ready" | "failed") => {
                self.after = value["position"].as_str().map(str::to_owned);
                Ok(Received::Announcement(value))
            }
            Some(_) | None => Ok(Received::Other),
        }
    }

    async fn connect(&self) -> anyhow::Result<WebSocketStream<MaybeTlsStream<TcpStream>>> {
        let (mut socket, _) = connect_async(&self.url)
            .await
            .context("failed to connect")?;
        let auth = json!({"type": "auth", "token": self.token});
        socket.send(Message::text(auth.to_string())).await?;
        let mut subscribe = self.what.clone();
        subscribe["type"] = json!("subscribe");
        if let Some(after) = &self.after {
            subscribe["after"] = json!(after);
        }
        socket.send(Message::text(subscribe.to_string())).await?;
        Ok(socket)
    }
}

enum Received {
    Announcement(Value),
    Refused(Value),
    /// From now on announcements come.
    Subscribed,
    /// Nothing to tell: a greeting, a ping.
    Other,
}
