//! All settings of all roles: one structure, from a file and the environment.
//!
//! # Invariants
//!
//! * A secret has no default, and is never shown: neither by `Debug` nor by `kinolog config`.
//! * Everything that is wrong is said at once, with the name of the variable to set.

use std::{fmt, path::Path, time::Duration};

use anyhow::{Context, bail};
use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use serde::{Deserialize, Serialize};

use crate::up::secrets::Secrets;

pub mod numbers;

/// The shortest secret that is accepted.
const SECRET_CHARS_MIN: usize = 32;

/// Text that is never shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() {
            "(not set)"
        } else {
            "(hidden)"
        })
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Compact,
    Json,
}

/// Every setting. In the environment: `KINOLOG_` and the name in capitals.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The event log: `esdb://127.0.0.1:2113?tls=false`. Set for `up`: use this one, start none.
    pub eventstore: String,
    /// The object store. Set for `up`: use this one, start none.
    pub s3_endpoint: String,
    pub s3_bucket: String,
    pub s3_region: String,
    pub s3_access_key: Secret,
    pub s3_secret_key: Secret,
    /// Set for `up`: use this database, start none. May hold a password.
    pub postgres: Secret,
    /// Set for `up`: use this Redis, start none. May hold a password.
    pub redis: Secret,
    /// Signs tokens.
    pub token_secret: Secret,
    /// Signs playback grants.
    pub playback_secret: Secret,
    /// What the object store shows at `/hooks/object-created`.
    pub hook_token: Secret,
    /// What workers show to the conductor.
    pub worker_token: Secret,
    /// Where the api is reached from outside.
    pub public_url: String,
    /// The conductor, as workers reach it.
    pub conductor: String,
    /// Where the api keeps its search index.
    pub search_dir: String,
    /// How long a presigned upload URL is good for.
    pub upload_url_ms: u64,
    /// How long an upload may take as a whole.
    pub upload_ms: u64,
    /// How long after that an upload under way may still arrive.
    pub upload_grace_ms: u64,
    /// How often open uploads are looked at.
    pub sweep_every_ms: u64,
    /// How long `minPosition` waits for its read model.
    pub position_wait_ms: u64,
    /// WebSockets of one api process.
    pub sockets_max: u64,
    /// How long a socket may take to say who it is.
    pub socket_hello_ms: u64,
    /// How often a socket is pinged.
    pub socket_ping_every_ms: u64,
    /// Requests that one api process answers at the same time.
    pub requests_max: u64,
    /// Views one client may record in a minute.
    pub views_per_minute: u64,
    /// How often a word counts in searches that stands in a title; in a description it counts once.
    pub search_title_weight: u64,
    /// The same, of tags.
    pub search_tags_weight: u64,
    /// What a video gains at most by being viewed.
    pub search_popularity_percent: u64,
    /// With so many views it gains all of that.
    pub search_views_full: u64,
    /// What a video gains at most by being new.
    pub search_recency_percent: u64,
    /// In so many days it loses half of that.
    pub search_half_life_days: u64,
    /// How long a worker may be silent before its task is handed on.
    pub lease_ms: u64,
    /// How often workers are asked to beat.
    pub heartbeat_ms: u64,
    /// How long a task may show no sign of life before it is stopped.
    pub worker_stall_seconds: u64,
    /// How many tasks each worker of `up` runs at a time.
    pub worker_slots: u64,
    pub log: String,
    pub log_format: LogFormat,
}

impl Default for Settings {
    fn default() -> Self {
        let tuning = api::Tuning::default();
        let ranking = projections::search::Ranking::default();
        let conductor = conductor::Config::new("", "");
        Self {
            eventstore: String::new(),
            s3_endpoint: String::new(),
            s3_bucket: "kinolog".to_owned(),
            s3_region: "us-east-1".to_owned(),
            s3_access_key: Secret::default(),
            s3_secret_key: Secret::default(),
            postgres: Secret::default(),
            redis: Secret::default(),
            token_secret: Secret::default(),
            playback_secret: Secret::default(),
            hook_token: Secret::default(),
            worker_token: Secret::default(),
            public_url: String::new(),
            conductor: String::new(),
            search_dir: String::new(),
            upload_url_ms: millis(tuning.upload_url),
            upload_ms: millis(tuning.upload),
            upload_grace_ms: millis(tuning.upload_grace),
            sweep_every_ms: millis(tuning.sweep_every),
            position_wait_ms: millis(tuning.position_wait),
            sockets_max: tuning.sockets_max as u64,
            socket_hello_ms: millis(tuning.socket_hello),
            socket_ping_every_ms: millis(tuning.socket_ping_every),
            requests_max: tuning.requests_max as u64,
            views_per_minute: u64::from(tuning.views_per_minute),
            search_title_weight: u64::from(ranking.weights.title),
            search_tags_weight: u64::from(ranking.weights.tags),
            search_popularity_percent: percent(ranking.popularity),
            search_views_full: u64::from(ranking.views_full),
            search_recency_percent: percent(ranking.recency),
            search_half_life_days: u64::from(ranking.half_life_days),
            lease_ms: millis(conductor.lease),
            heartbeat_ms: millis(conductor.heartbeat),
            worker_stall_seconds: 60,
            worker_slots: numbers::cores(),
            log: "info,tantivy=warn,sqlx=warn,eventstore=warn".to_owned(),
            log_format: LogFormat::Compact,
        }
    }
}

impl Settings {
    /// Reads the file, if one is named, and then the environment.
    pub fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(path) = file {
            if !path.is_file() {
                bail!("there is no settings file {}", path.display());
            }
            figment = figment.merge(Toml::file_exact(path));
        }
        // Numbers would be parsed as such by themselves, and a secret may look like one.
        for (name, value) in environment() {
            figment = match value.parse::<u64>() {
                Ok(number) if is_number(&name) => figment.merge(Serialized::default(&name, number)),
                Ok(_) | Err(_) => figment.merge(Serialized::default(&name, value)),
            };
        }
        let settings: Self = figment.extract().context("the settings cannot be used")?;
        settings.validate()?;
        Ok(settings)
    }

    /// What is set must make sense, whoever uses it.
    fn validate(&self) -> anyhow::Result<()> {
        let mut wrong = vec![];
        let mut scheme = |name: &str, value: &str, allowed: &[&str]| {
            if !value.is_empty() && !allowed.iter().any(|start| value.starts_with(start)) {
                wrong.push(format!(
                    "{} must begin with {}",
                    variable(name),
                    allowed.join(" or ")
                ));
            }
        };
        scheme(
            "eventstore",
            &self.eventstore,
            &["esdb://", "esdb+discover://", "kurrentdb://"],
        );
        scheme("s3_endpoint", &self.s3_endpoint, &["http://", "https://"]);
        scheme(
            "postgres",
            &self.postgres.0,
            &["postgres://", "postgresql://"],
        );
        scheme(
            "redis",
            &self.redis.0,
            &["redis://", "rediss://", "redis+unix://", "unix://"],
        );
        scheme("public_url", &self.public_url, &["http://", "https://"]);
        scheme("conductor", &self.conductor, &["http://", "https://"]);
        for (name, secret) in self.own_secrets() {
            if !secret.0.is_empty() && secret.0.chars().count() < SECRET_CHARS_MIN {
                wrong.push(format!(
                    "{} must have at least {SECRET_CHARS_MIN} characters",
                    variable(name)
                ));
            }
        }
        for (name, value, allowed) in self.numbers() {
            if !allowed.contains(&value) {
                let (min, max) = allowed.into_inner();
                wrong.push(format!("{} must be {min} to {max}", variable(name)));
            }
        }
        all_right(wrong)
    }

    /// Fails with all the settings that a role needs and that are not there.
    pub fn need(&self, names: &[&str]) -> anyhow::Result<()> {
        let missing = names
            .iter()
            .filter(|name| self.value_of(name).is_empty())
            .map(|name| format!("{} is not set", variable(name)))
            .collect();
        all_right(missing)
    }

    /// These settings, with the secrets that `up` made in `data` where none are set.
    pub fn with_secrets_of(mut self, data: &Path) -> anyhow::Result<Self> {
        if let Some(secrets) = Secrets::existing(data)? {
            secrets.fill(&mut self);
        }
        Ok(self)
    }

    /// One line per setting: its value, or that it is hidden, and where it comes from.
    pub fn listed(&self, file: Option<&Path>) -> String {
        let in_file = file.map(|path| Figment::from(Toml::file_exact(path)));
        let origin = |name: &str| {
            if std::env::var_os(variable(name)).is_some() {
                return "environment";
            }
            match &in_file {
                Some(file) if file.find_value(name).is_ok() => "file",
                Some(_) | None => "default",
            }
        };
        self.values()
            .into_iter()
            .map(|(name, value, secret)| {
                let shown = match (value.is_empty(), secret) {
                    (true, _) => "(not set)".to_owned(),
                    (false, true) => "(hidden)".to_owned(),
                    (false, false) => value,
                };
                format!("{:<24} {:<12} {shown}\n", variable(name), origin(name))
            })
            .collect()
    }

    /// The environment that hands these settings to a role.
    pub fn as_environment(&self, names: &[&str]) -> Vec<(String, String)> {
        names
            .iter()
            .map(|name| (variable(name), self.value_of(name)))
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }

    fn own_secrets(&self) -> [(&'static str, &Secret); 4] {
        [
            ("token_secret", &self.token_secret),
            ("playback_secret", &self.playback_secret),
            ("hook_token", &self.hook_token),
            ("worker_token", &self.worker_token),
        ]
    }

    fn value_of(&self, name: &str) -> String {
        let values = self.values();
        let found = values.into_iter().find(|(known, _, _)| *known == name);
        found
            .map(|(_, value, _)| value)
            .expect("the name is one of the settings")
    }

    /// Name, value, and whether it is secret.
    fn values(&self) -> Vec<(&'static str, String, bool)> {
        let log_format = match self.log_format {
            LogFormat::Compact => "compact",
            LogFormat::Json => "json",
        };
        let mut values = vec![
            (
                "eventstore",
                self.eventstore.clone(),
                self.eventstore.contains('@'),
            ),
            ("s3_endpoint", self.s3_endpoint.clone(), false),
            ("s3_bucket", self.s3_bucket.clone(), false),
            ("s3_region", self.s3_region.clone(), false),
            ("s3_access_key", self.s3_access_key.0.clone(), true),
            ("s3_secret_key", self.s3_secret_key.0.clone(), true),
            ("postgres", self.postgres.0.clone(), true),
            ("redis", self.redis.0.clone(), true),
            ("token_secret", self.token_secret.0.clone(), true),
            ("playback_secret", self.playback_secret.0.clone(), true),
            ("hook_token", self.hook_token.0.clone(), true),
            ("worker_token", self.worker_token.0.clone(), true),
            ("public_url", self.public_url.clone(), false),
            ("conductor", self.conductor.clone(), false),
            ("search_dir", self.search_dir.clone(), false),
            ("log", self.log.clone(), false),
            ("log_format", log_format.to_owned(), false),
        ];
        let numbers = self.numbers().into_iter();
        values.extend(numbers.map(|(name, value, _)| (name, value.to_string(), false)));
        values
    }
}

fn percent(share: f32) -> u64 {
    (share * 100.0).round() as u64
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn is_number(name: &str) -> bool {
    let numbers = Settings::default().numbers();
    numbers.into_iter().any(|(known, _, _)| known == name)
}

/// The variables that name a setting. Others with our prefix belong to other programs.
fn environment() -> Vec<(String, String)> {
    let known: Vec<&str> = Settings::default()
        .values()
        .iter()
        .map(|(name, _, _)| *name)
        .collect();
    Env::prefixed("KINOLOG_")
        .iter()
        .map(|(name, _)| name.as_str().to_lowercase())
        .filter(|name| known.contains(&name.as_str()))
        .filter_map(|name| {
            std::env::var(variable(&name))
                .ok()
                .map(|value| (name, value))
        })
        .collect()
}

fn variable(name: &str) -> String {
    format!("KINOLOG_{}", name.to_uppercase())
}

fn all_right(wrong: Vec<String>) -> anyhow::Result<()> {
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("the settings cannot be used: {}", wrong.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secretive() -> Settings {
        Settings {
            token_secret: Secret("0123456789abcdef0123456789abcdef".to_owned()),
            postgres: Secret("postgres://me:password@host/db".to_owned()),
            ..Settings::default()
        }
    }

    #[test]
    fn no_secret_is_ever_shown() {
        let settings = secretive();
        let shown = settings.listed(None) + &format!("{settings:?}");
        assert!(
            !shown.contains("0123456789") && !shown.contains("password@"),
            "{shown}"
        );
        assert!(shown.contains("(hidden)"), "{shown}");
    }

    #[test]
    fn all_that_is_missing_is_said_at_once() {
        let error = Settings::default()
            .need(&["eventstore", "token_secret"])
            .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("KINOLOG_EVENTSTORE"), "{text}");
        assert!(text.contains("KINOLOG_TOKEN_SECRET"), "{text}");
    }

    #[test]
    fn a_short_secret_and_a_wrong_scheme_are_refused_together() {
        let settings = Settings {
            eventstore: "http://127.0.0.1:2113".to_owned(),
            hook_token: Secret("short".to_owned()),
            ..Settings::default()
        };
        let text = settings.validate().unwrap_err().to_string();
        assert!(
            text.contains("KINOLOG_EVENTSTORE must begin with esdb://"),
            "{text}"
        );
        assert!(
            text.contains("KINOLOG_HOOK_TOKEN must have at least"),
            "{text}"
        );
    }

    #[test]
    fn a_role_is_told_only_what_is_named() {
        let told = secretive().as_environment(&["postgres", "redis"]);
        let expected = (
            "KINOLOG_POSTGRES".to_owned(),
            "postgres://me:password@host/db".to_owned(),
        );
        assert_eq!(told, [expected]);
    }
}
