//! One platform for all tests: event store, object store, projections and api, each on a
//! port of its own, in one runtime. Tests keep apart by using owners of their own.

use std::{path::PathBuf, sync::OnceLock, time::Duration};

use api::{Config, Tuning, token::Scope};
use eventlog::Log;
use objects::Objects;
use projections::reader::Reader;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_util::sync::CancellationToken;

/// How long anything may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const TOKEN_SECRET: &str = "token secret of the tests, 32 bytes and more";
pub const HOOK_TOKEN: &str = "hook token of the tests, 32 bytes and more";
pub const PLAYBACK_SECRET: &str = "playback secret of the tests, 32 bytes and more";
const BUCKET: &str = "kinolog";

pub struct Platform {
    runtime: Runtime,
    pub log: Log,
    pub objects: Objects,
    pub reader: Reader,
    pub http: reqwest::Client,
    pub config: Config,
    pub api: Api,
    dir: PathBuf,
}

/// One api process, as its clients see it.
#[derive(Clone)]
pub struct Api {
    pub url: String,
    pub stop: CancellationToken,
}

pub fn platform() -> &'static Platform {
    static PLATFORM: OnceLock<Platform> = OnceLock::new();
    PLATFORM.get_or_init(Platform::start)
}

/// Runs a test on the platform.
pub fn test<F: Future<Output = ()>>(body: impl FnOnce(&'static Platform) -> F) {
    let platform = platform();
    platform.runtime.block_on(body(platform));
}

pub fn token(subject: &str, scopes: &[Scope]) -> String {
    api::token::mint(TOKEN_SECRET, subject, scopes, Duration::from_secs(3600)).unwrap()
}

/// A token of someone who may read and write their own videos.
pub fn person(subject: &str) -> String {
    token(subject, &[Scope::VideosRead, Scope::VideosWrite])
}

impl Platform {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("api");
        // What the last run left behind.
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let (log, objects, reader, config, api) = runtime.block_on(start(&dir));
        Self {
            runtime,
            log,
            objects,
            reader,
            http: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
            config,
            api,
            dir,
        }
    }

    /// Another api over the same stores, configured otherwise.
    pub async fn another(&self, change: impl FnOnce(&mut Config)) -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = self.config.clone();
        config.search_dir = self.dir.join(uuid::Uuid::new_v4().to_string());
        change(&mut config);
        serve(listener, config, self.log.clone(), self.objects.clone())
    }

    pub async fn ask_at(&self, api: &Api, token: Option<&str>, body: Value) -> (u16, Value) {
        let mut request = self.http.post(format!("{}/graphql", api.url)).json(&body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// The whole answer to a GraphQL request.
    pub async fn ask(&self, token: Option<&str>, query: &str, variables: Value) -> Value {
        let body = json!({"query": query, "variables": variables});
        self.ask_at(&self.api, token, body).await.1
    }

    /// The data of an answer that has no errors.
    pub async fn data(&self, token: Option<&str>, query: &str, variables: Value) -> Value {
        let answer = self.ask(token, query, variables).await;
        assert_eq!(answer.get("errors"), None, "{answer}");
        answer["data"].clone()
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.http
            .get(format!("{}{path}", self.api.url))
            .send()
            .await
            .unwrap()
    }
}

/// The one code that all errors of an answer have.
pub fn code(answer: &Value) -> &str {
    let errors = answer["errors"].as_array();
    let errors = errors.unwrap_or_else(|| panic!("no errors: {answer}"));
    let codes = errors
        .iter()
        .map(|error| error["extensions"]["code"].as_str());
    let codes: std::collections::HashSet<Option<&str>> = codes.collect();
    assert_eq!(codes.len(), 1, "{answer}");
    codes.into_iter().next().flatten().expect("a code")
}

/// The code of the only user error of a payload.
pub fn user_code(payload: &Value) -> &str {
    let errors = payload["userErrors"].as_array().expect("a payload");
    assert_eq!(errors.len(), 1, "{payload}");
    errors[0]["code"].as_str().expect("a code")
}

async fn start(dir: &std::path::Path) -> (Log, Objects, Reader, Config, Api) {
    let postgres_url = database().await;
    let redis_url = redis().await;
    let stop = CancellationToken::new();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let log_url = format!("esdb://{}?tls=false", listener.local_addr().unwrap());
    let node = kinolog_eventstore::Config::new(dir.join("eventstore"));
    tokio::spawn(kinolog_eventstore::serve(listener, node, stop.clone()));

    let api_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api_url = format!("http://{}", api_listener.local_addr().unwrap());

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut store =
        kinolog_objectstore::Config::new(dir.join("objectstore"), BUCKET, "access", "secret");
    store.notify = Some(kinolog_objectstore::Notify {
        url: format!("{api_url}/hooks/object-created"),
        token: HOOK_TOKEN.to_owned(),
        prefix: "sources/".to_owned(),
    });
    tokio::spawn(kinolog_objectstore::serve(listener, store, stop.clone()));

    let objects = Objects::new(&objects::Config {
        endpoint,
        bucket: BUCKET.to_owned(),
        region: "us-east-1".to_owned(),
        access_key: "access".to_owned(),
        secret_key: "secret".to_owned(),
    })
    .unwrap();
    let log = Log::new(&log_url).unwrap();
    let read_models = projections::Config {
        postgres_url: postgres_url.clone(),
        redis_url: redis_url.clone(),
    };
    tokio::spawn(projections::run(read_models, log.clone(), stop));
    let config = Config {
        postgres_url,
        redis_url,
        search_dir: dir.join("search"),
        token_secret: TOKEN_SECRET.to_owned(),
        hook_token: HOOK_TOKEN.to_owned(),
        playback_secret: PLAYBACK_SECRET.to_owned(),
        public_url: api_url,
        ranking: Default::default(),
        tuning: Tuning::default(),
    };
    let reader = Reader::new(&config.postgres_url, &config.redis_url).unwrap();
    let api = serve(api_listener, config.clone(), log.clone(), objects.clone());
    ready(&api).await;
    (log, objects, reader, config, api)
}

fn serve(listener: TcpListener, config: Config, log: Log, objects: Objects) -> Api {
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let serving = api::serve(listener, config, log, objects, stop.clone());
    tokio::spawn(async move { serving.await.unwrap() });
    Api { url, stop }
}

pub async fn ready(api: &Api) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let answer = reqwest::get(format!("{}/readyz", api.url)).await.unwrap();
        if answer.status() == 200 {
            return;
        }
        let parts = answer.text().await.unwrap();
        assert!(tokio::time::Instant::now() < deadline, "not ready: {parts}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A database of this run's own.
pub async fn database() -> String {
    let url = required("KINOLOG_TEST_POSTGRES");
    let name = format!("api_{}", uuid::Uuid::new_v4().simple());
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("create database {name}")))
        .execute(&mut connection)
        .await
        .unwrap();
    let (path, options) = url.split_once('?').unwrap_or((&url, ""));
    let (server, _) = path.rsplit_once('/').expect("a URL with a database");
    format!("{server}/{name}?{options}")
}

/// The last database of the Redis, emptied: the projections' tests count from the first.
async fn redis() -> String {
    let url = required("KINOLOG_TEST_REDIS");
    let (server, _) = url.split_once('?').unwrap_or((&url, ""));
    let url = format!("{server}?db=15");
    let client = redis::Client::open(url.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let _: () = redis::cmd("FLUSHDB")
        .query_async(&mut connection)
        .await
        .unwrap();
    url
}

fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set: run the tests with `cargo xtask test`, which starts what they need"
        )
    })
}
