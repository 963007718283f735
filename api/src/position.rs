//! Positions as clients hold them: read your own writes, and come back to where you were.
//!
//! # Invariants
//!
//! * A position of another log is told apart from one that is malformed.
//! * Waiting ends.

use eventlog::Position;
use projections::reader::Model;

use crate::{
    app::App,
    error::{ApiError, Code, internal},
};

/// What a position may be compared with here: a read model out of process, or the search index.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Waits {
    Catalogue,
    Owners,
    Search,
}

/// The token of a commit position.
pub(crate) async fn token(app: &App, commit: u64) -> Result<String, ApiError> {
    let epoch = app.epoch().await?;
    Ok(epoch.at(commit).to_string())
}

/// The commit position that a client's token stands for.
pub(crate) async fn parse(app: &App, text: &str) -> Result<u64, ApiError> {
    let position: Position = text.parse().map_err(|_| {
        ApiError::new(
            Code::Invalid,
            "this is not a position; send one that you were given, unchanged",
        )
    })?;
    if position.epoch != app.epoch().await? {
        return Err(expired("this position is of another log"));
    }
    Ok(position.commit)
}

pub(crate) fn expired(why: &str) -> ApiError {
    ApiError::new(
        Code::CursorExpired,
        format!("{why}; start again without it"),
    )
}

/// What waiting adds to a field's complexity.
const WAIT_COST: usize = 20;

pub(crate) fn cost(min_position: &Option<String>) -> usize {
    match min_position {
        Some(_) => WAIT_COST,
        None => 0,
    }
}

/// Waits until the read models of a query contain what `min_position` stands for.
pub(crate) async fn wait(
    app: &App,
    min_position: Option<&str>,
    waits: &[Waits],
) -> Result<(), ApiError> {
    let Some(text) = min_position else {
        return Ok(());
    };
    let commit = parse(app, text).await?;
    let timeout = app.config.tuning.position_wait;
    let reached = async {
        for read_model in waits {
            let there = match read_model {
                Waits::Catalogue => app
                    .reader
                    .wait_for(Model::Catalogue, commit, timeout)
                    .await
                    .map_err(internal("wait for the catalogue"))?,
                Waits::Owners => app
                    .reader
                    .wait_for(Model::Owners, commit, timeout)
                    .await
                    .map_err(internal("wait for the owners"))?,
                Waits::Search => app.search.wait_for(commit, timeout).await,
            };
            if !there {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let reached = tokio::time::timeout(timeout, reached)
        .await
        .unwrap_or(Ok(false))?;
    if reached {
        return Ok(());
    }
    Err(ApiError::new(
        Code::LimitExceeded,
        format!(
            "the read model did not reach this position within {} ms; ask again, or without minPosition",
            timeout.as_millis()
        ),
    ))
}
