//! Bearer tokens: JWT, HS256, with `{sub, scope, exp, iat}`.
//!
//! # Invariants
//!
//! * A token that is not ours, or no longer valid, is an error. It never counts as "no token".
//! * `operate` includes every other scope.

use std::{fmt, str::FromStr, time::Duration};

use anyhow::Context;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

/// The shortest secret that signs tokens, in bytes.
pub const SECRET_BYTES_MIN: usize = 32;

/// The longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 4 * 1024;
/// The longest subject.
pub(crate) const SUBJECT_BYTES_MAX: usize = 255;
/// How far clocks may be apart.
const LEEWAY_SECONDS: u64 = 2;

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// See one's own videos, whatever their visibility.
    VideosRead,
    /// Upload, change, delete and retry one's own videos.
    VideosWrite,
    /// Read the history.
    AnalyticsRead,
    /// Everything, for everyone's videos.
    Operate,
}

impl Scope {
    pub const ALL: [Self; 4] = [
        Self::VideosRead,
        Self::VideosWrite,
        Self::AnalyticsRead,
        Self::Operate,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::VideosRead => "videos:read",
            Self::VideosWrite => "videos:write",
            Self::AnalyticsRead => "analytics:read",
            Self::Operate => "operate",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is none of our scopes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a scope; there are videos:read, videos:write, analytics:read and operate")]
pub struct NoSuchScope(String);

impl FromStr for Scope {
    type Err = NoSuchScope;

    fn from_str(text: &str) -> Result<Self, NoSuchScope> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| NoSuchScope(text.to_owned()))
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    #[serde(default)]
    scope: String,
    exp: u64,
    #[serde(default)]
    iat: u64,
}

/// What a valid token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verified {
    pub subject: String,
    pub scopes: Vec<Scope>,
    /// Unix seconds.
    pub expires_at: u64,
}

/// A token for `subject`, valid from now on for `ttl`.
pub fn mint(
    secret: &str,
    subject: &str,
    scopes: &[Scope],
    ttl: Duration,
) -> anyhow::Result<String> {
    let now = jsonwebtoken::get_current_timestamp();
    let words: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    let claims = Claims {
        sub: subject.to_owned(),
        scope: words.join(" "),
        exp: now + ttl.as_secs(),
        iat: now,
    };
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
        .context("failed to sign a token")
}

/// What `token` says, if it is ours and still valid.
pub(crate) fn verify(secret: &str, token: &str) -> Option<Verified> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let mut validation = Validation::new(Algorithm::HS256);
    validation.leeway = LEEWAY_SECONDS;
    validation.validate_nbf = true;
    validation.set_required_spec_claims(&["exp", "sub"]);
    let key = DecodingKey::from_secret(secret.as_bytes());
    // Why it is refused is nobody's business: it would help to forge one.
    let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation)
        .ok()?
        .claims;
    let subject_fits = (1..=SUBJECT_BYTES_MAX).contains(&claims.sub.len());
    subject_fits.then(|| Verified {
        subject: claims.sub,
        // A scope of a newer release allows nothing here.
        scopes: claims
            .scope
            .split_ascii_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect(),
        expires_at: claims.exp,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_minted_token_says_who_and_what() {
        let token = mint(SECRET, "ada", &[Scope::VideosRead, Scope::Operate], HOUR).unwrap();
        let verified = verify(SECRET, &token).unwrap();
        assert_eq!(verified.subject, "ada");
        assert_eq!(verified.scopes, [Scope::VideosRead, Scope::Operate]);
    }

    #[test]
    fn a_token_of_another_secret_is_refused() {
        let token = mint("another secret of thirty-two byte", "ada", &[], HOUR).unwrap();
        assert_eq!(verify(SECRET, &token), None);
    }

    #[test]
    fn an_expired_token_is_refused() {
        let claims = Claims {
            sub: "ada".to_owned(),
            scope: "operate".to_owned(),
            exp: jsonwebtoken::get_current_timestamp() - 60,
            iat: 0,
        };
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let token = jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
        assert_eq!(verify(SECRET, &token), None);
    }

    #[test]
    fn a_token_that_is_not_signed_is_refused() {
        // {"alg":"none","typ":"JWT"} . {"sub":"ada","exp":9999999999}
        let token = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhZGEiLCJleHAiOjk5OTk5OTk5OTl9.";
        assert_eq!(verify(SECRET, token), None);
    }
}
