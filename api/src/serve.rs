//! The routes, and the process around them.
//!
//! # Invariants
//!
//! * Background work and requests end together: one token stops all, one tracker waits for all.
//! * When a background task gives up, so does the process: half alive is harder to notice than dead.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, bail};
use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef},
    middleware,
    routing::{any, get, post},
    serve::ListenerExt,
};
use eventlog::Log;
use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
use objects::Objects;
use projections::search::follow_views;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    Config,
    app::App,
    console,
    graphql::{self, Kinolog},
    health, hook, layers, notifications, play, sweep,
};

/// How long requests and sockets may take to end.
const GRACE: Duration = Duration::from_secs(8);

#[derive(Clone)]
struct Parts {
    app: App,
    schema: Kinolog,
}

impl FromRef<Parts> for App {
    fn from_ref(parts: &Parts) -> Self {
        parts.app.clone()
    }
}

impl FromRef<Parts> for Kinolog {
    fn from_ref(parts: &Parts) -> Self {
        parts.schema.clone()
    }
}

/// Serves the api on `listener` until `stop`.
///
/// Waits for the parts it needs as long as they are away; see `/readyz`.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    log: Log,
    objects: Objects,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    // Ours to cancel, without stopping whoever called us.
    let stop = stop.child_token();
    let app = App::new(config, log, objects, stop.clone())?;
    start(&app);
    let address = listener
        .local_addr()
        .context("failed to read the address of the listener")?;
    tracing::info!(%address, "the api listens");
    let stalled = app.config.tuning.stalled.as_millis();
    let stalled_ms = u32::try_from(stalled).unwrap_or(u32::MAX);
    let listener = listener.tap_io(move |connection| {
        // Without it small answers wait for an acknowledgement; with it failing, they still arrive.
        let _ = connection.set_nodelay(true);
        // Who asks and takes nothing would hold the connection, and what it reads from, for ever.
        if let Err(error) = setsockopt(connection, TcpUserTimeout, &stalled_ms) {
            tracing::warn!(%error, "failed to limit how long a connection may stall");
        }
    });
    let service = router(app.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let serving =
        axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned());
    let serving = async move { serving.await };
    tokio::pin!(serving);
    let early = tokio::select! {
        ended = &mut serving => Some(ended),
        () = stop.cancelled() => None,
    };
    stop.cancel();
    app.tasks.close();
    let ending = async {
        let ended = match early {
            Some(ended) => ended,
            None => serving.await,
        };
        app.tasks.wait().await;
        ended
    };
    match tokio::time::timeout(GRACE, ending).await {
        Ok(ended) => ended.context("failed to serve the api")?,
        Err(_) => tracing::warn!("some requests, sockets or tasks did not end in time"),
    }
    if let Some(failure) = app.failure.get() {
        bail!("{failure}");
    }
    Ok(())
}

/// The routes alone, with their background tasks running until `stop`: for tests.
pub fn build(
    config: Config,
    log: Log,
    objects: Objects,
    stop: CancellationToken,
) -> anyhow::Result<Router> {
    let app = App::new(config, log, objects, stop.child_token())?;
    start(&app);
    Ok(router(app))
}

fn router(app: App) -> Router {
    let schema = graphql::builder().data(app.clone()).finish();
    let body = |max| DefaultBodyLimit::max(max);
    let bounded = Router::new()
        .route(
            "/graphql",
            post(graphql::http::post).layer(body(graphql::http::BODY_BYTES_MAX)),
        )
        .route(
            "/hooks/object-created",
            post(hook::object_created).layer(body(hook::BODY_BYTES_MAX)),
        )
        .route("/play/{grant}/{video}/{*file}", get(play::play))
        .layer(middleware::from_fn_with_state(app.clone(), layers::bound));
    let sockets = Router::new()
        .route("/notifications", any(notifications::notifications))
        .route("/graphql", get(graphql::transport::get));
    let own = Router::new()
        .route("/", get(console::page))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics));
    bounded
        .merge(sockets)
        .merge(own)
        .fallback(layers::unknown)
        .layer(layers::cors())
        .layer(CatchPanicLayer::custom(layers::panicked))
        .layer(middleware::from_fn(layers::observe))
        .with_state(Parts { app, schema })
}

/// Starts what goes on beside the requests.
fn start(app: &App) {
    health::count();
    let stop = || app.stop.clone();
    let (reader, listen_stop) = (app.reader.clone(), stop());
    keep(app, "listen", async move {
        reader.listen(listen_stop).await;
        Ok(())
    });
    let (search, log, search_stop) = (app.search.clone(), app.log.clone(), stop());
    keep(app, "search", async move {
        search.follow(log, search_stop).await
    });
    let (views, views_stop) = (app.clone(), stop());
    keep(app, "search views", async move {
        follow_views(&views.search, &views.reader, views_stop).await;
        Ok(())
    });
    let (hub, hub_stop) = (app.clone(), stop());
    keep(app, "announcements", async move {
        hub.hub.run(hub_stop).await;
        Ok(())
    });
    let (shelf, shelf_stop) = (app.clone(), stop());
    keep(app, "shelf", async move {
        shelf.shelf.forget_changes(shelf_stop).await;
        Ok(())
    });
    keep(app, "sweep", {
        let (app, stop) = (app.clone(), stop());
        async move {
            sweep::run(app, stop).await;
            Ok(())
        }
    });
    let upkeep_stop = stop();
    keep(app, "metrics", async move {
        while !upkeep_stop.is_cancelled() {
            tokio::select! {
                () = upkeep_stop.cancelled() => {}
                () = tokio::time::sleep(health::UPKEEP_EVERY) => health::upkeep(),
            }
        }
        Ok(())
    });
}

/// Runs one long-lived task. When it ends, for whatever reason, all others stop too.
fn keep(
    app: &App,
    name: &'static str,
    task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) {
    let app_too = app.clone();
    app.tasks.spawn(async move {
        let _stop_the_others = app_too.stop.clone().drop_guard();
        match task.await {
            Ok(()) => tracing::debug!(task = name, "`{name}` stopped"),
            Err(error) => {
                tracing::error!(task = name, error = format!("{error:#}"), "`{name}` failed");
                // The first failure is the reason; the others are its consequences.
                let _ = app_too.failure.set(format!("`{name}` failed: {error:#}"));
            }
        }
    });
}
