//! The public face of Kinolog: GraphQL, uploads, playback and sockets, over axum.
//!
//! # Invariants
//!
//! * A handler turns a request into a command or a query, and the answer into a response.
//!   Rules about videos are in `domain`.
//! * Nothing in this process must survive it: any number of api processes serve the same platform.
//! * What a viewer may not see looks like what is not there.
//! * Every body, page, wait, cache, queue and socket has a stated maximum.

mod app;
mod command;
mod console;
mod error;
mod graphql;
mod health;
mod hook;
mod hub;
mod layers;
mod limiter;
mod notifications;
mod play;
mod position;
mod retry;
pub mod schema;
mod serve;
mod socket;
mod sweep;
pub mod token;
mod upload;
mod viewer;

use std::{path::PathBuf, time::Duration};

use anyhow::ensure;
use projections::search::Ranking;
pub use serve::{build, serve};

/// Everything the api needs to know; secrets have no default.
#[derive(Clone)]
pub struct Config {
    pub postgres_url: String,
    pub redis_url: String,
    /// Where this process keeps its replica of the search index.
    pub search_dir: PathBuf,
    /// Signs and checks bearer tokens.
    pub token_secret: String,
    /// What the object store says to `/hooks/object-created`.
    pub hook_token: String,
    /// Signs the grants in playback URLs.
    pub playback_secret: String,
    /// What URLs handed to clients begin with: `http://127.0.0.1:8080`.
    pub public_url: String,
    /// In which order searches show what they find.
    pub ranking: Ranking,
    pub tuning: Tuning,
}

/// Maxima and intervals, each with a default.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// How long a presigned upload URL is good for.
    pub upload_url: Duration,
    /// How long an upload may take as a whole: asking again under its idempotency key gives a new URL.
    pub upload: Duration,
    /// How long after that an upload under way may still arrive.
    pub upload_grace: Duration,
    /// How often open uploads are looked at.
    pub sweep_every: Duration,
    /// How long `minPosition` waits for its read model.
    pub position_wait: Duration,
    /// WebSockets of this process.
    pub sockets_max: usize,
    /// How long a socket may take to say who it is.
    pub socket_hello: Duration,
    /// How often a socket is pinged; it is closed after two pings without a sign of life.
    pub socket_ping_every: Duration,
    /// Requests being answered at the same time.
    pub requests_max: usize,
    /// How long a request may take until its answer begins, its body's arrival included.
    pub request: Duration,
    /// How long a GraphQL operation may take; of a subscription, each of its answers.
    pub operation: Duration,
    /// How long somebody may take nothing of what is sent to them; then their connection is closed.
    pub stalled: Duration,
    /// Views one client may record in a minute.
    pub views_per_minute: u32,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            upload_url: Duration::from_secs(60 * 60),
            upload: Duration::from_secs(24 * 60 * 60),
            upload_grace: Duration::from_secs(60 * 60),
            sweep_every: Duration::from_secs(15),
            position_wait: Duration::from_secs(5),
            sockets_max: 10_000,
            socket_hello: Duration::from_secs(10),
            socket_ping_every: Duration::from_secs(30),
            requests_max: 1_024,
            request: Duration::from_secs(60),
            operation: Duration::from_secs(30),
            stalled: Duration::from_secs(60),
            views_per_minute: 120,
        }
    }
}

impl Config {
    fn check(&self) -> anyhow::Result<()> {
        for (name, secret) in [
            ("the token secret", &self.token_secret),
            ("the playback secret", &self.playback_secret),
            ("the hook token", &self.hook_token),
        ] {
            let min = token::SECRET_BYTES_MIN;
            ensure!(secret.len() >= min, "{name} must have at least {min} bytes");
        }
        ensure!(
            self.public_url.starts_with("http://") || self.public_url.starts_with("https://"),
            "the public URL must begin with http:// or https://"
        );
        Ok(())
    }
}
