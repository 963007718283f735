//! A database and a Redis of a test's own.

use std::sync::{Mutex, PoisonError};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// How many databases a Redis has unless told otherwise; the first is left alone.
const REDIS_DATABASES: usize = 16;

pub fn postgres_url() -> String {
    required("KINOLOG_TEST_POSTGRES")
}

/// The URL of a database that is not there yet.
pub fn new_database_url() -> (String, String) {
    let name = format!("projections_{}", uuid::Uuid::new_v4().simple());
    let url = postgres_url();
    let (path, options) = url.split_once('?').unwrap_or((&url, ""));
    let (server, _) = path.rsplit_once('/').expect("a URL with a database");
    (format!("{server}/{name}?{options}"), name)
}

pub async fn create_database(name: &str) {
    let mut connection = PgConnection::connect(&postgres_url()).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("create database {name}")))
        .execute(&mut connection)
        .await
        .unwrap();
}

pub async fn database() -> String {
    let (url, name) = new_database_url();
    create_database(&name).await;
    url
}

/// An empty database of the Redis, for one test at a time.
pub struct Redis {
    pub url: String,
    number: usize,
}

static FREE: Mutex<Option<Vec<usize>>> = Mutex::new(None);

impl Redis {
    pub async fn new() -> Self {
        let number = FREE
            .lock()
            .unwrap()
            .get_or_insert_with(|| (1..REDIS_DATABASES).collect())
            .pop()
            .expect("fewer tests at once than a Redis has databases");
        let url = required("KINOLOG_TEST_REDIS");
        let (socket, _) = url.split_once('?').unwrap_or((&url, ""));
        let url = format!("{socket}?db={number}");
        flush(&url).await;
        Self { url, number }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        free.get_or_insert_default().push(self.number);
    }
}

/// The Redis has lost everything.
pub async fn flush(url: &str) {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let _: () = redis::cmd("FLUSHDB")
        .query_async(&mut connection)
        .await
        .unwrap();
}

fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set: run the tests with `cargo xtask test`, which starts what they need"
        )
    })
}
