//! Presigned requests: SigV4 in the query string.
//!
//! Written here and not taken from `object_store`, whose signer refuses to sign
//! `Content-Length`, which is what keeps an upload to its declared size.
//!
//! # Invariants
//!
//! * Every header given is signed: a request without it, or with another value, is refused.
//! * A URL carries a signature, so neither `Debug` nor an error shows its query.

use std::fmt;
use std::time::Duration;

use hmac::{Hmac, Mac};
use http::Method;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use url::Url;

use crate::Error;

/// What SigV4 allows, and more than we ever need.
const EXPIRES_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// A request somebody without credentials may send, exactly as it stands here.
#[derive(Clone, PartialEq, Eq)]
pub struct Presigned {
    pub method: &'static str,
    pub url: String,
    /// All of them must be sent, with these values.
    pub headers: Vec<(String, String)>,
    pub expires_at_ms: i64,
}

impl fmt::Debug for Presigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.url.split('?').next().unwrap_or_default();
        f.debug_struct("Presigned")
            .field("method", &self.method)
            .field("path", &path)
            .field("headers", &self.headers)
            .field("expires_at_ms", &self.expires_at_ms)
            .finish_non_exhaustive()
    }
}

pub(crate) struct Signer {
    endpoint: Url,
    region: String,
    access_key: String,
    secret_key: String,
}

impl Signer {
    pub(crate) fn new(config: &crate::Config) -> anyhow::Result<Self> {
        let endpoint = Url::parse(&config.endpoint)?;
        anyhow::ensure!(
            endpoint.path() == "/" && endpoint.query().is_none() && endpoint.has_host(),
            "the object store's endpoint is scheme://host:port, without a path"
        );
        Ok(Self {
            endpoint,
            region: config.region.clone(),
            access_key: config.access_key.clone(),
            secret_key: config.secret_key.clone(),
        })
    }

    /// Signs `method` on `/bucket/key` (given unencoded) with `headers` (lower-case names).
    pub(crate) fn presign(
        &self,
        method: &Method,
        path: &str,
        headers: &[(&str, &str)],
        expires: Duration,
        now: OffsetDateTime,
    ) -> Result<Presigned, Error> {
        if expires.is_zero() || expires > EXPIRES_MAX {
            return Err(Error::Invalid(
                "a presigned request lives from one second to seven days",
            ));
        }
        let stamp = stamp(now);
        let day = &stamp[..8];
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let host = &self.endpoint[url::Position::BeforeHost..url::Position::AfterPort];

        let mut signed: Vec<(&str, &str)> = headers.to_vec();
        signed.push(("host", host));
        signed.sort_unstable();
        let names = signed
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(";");

        let path = encode(path, true);
        let query = [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", &format!("{}/{scope}", self.access_key)),
            ("X-Amz-Date", &stamp),
            ("X-Amz-Expires", &expires.as_secs().to_string()),
            ("X-Amz-SignedHeaders", &names),
        ]
        .map(|(name, value)| format!("{name}={}", encode(value, false)))
        .join("&");
        let lines: String = signed
            .iter()
            .map(|(name, value)| format!("{name}:{}\n", value.trim()))
            .collect();
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\nUNSIGNED-PAYLOAD");
        let digest = hex::encode(Sha256::digest(canonical));
        let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}");
        let signature = hex::encode(mac(&self.key(day), &to_sign));

        let origin = self.endpoint.as_str().trim_end_matches('/');
        let expires_at = now + expires;
        Ok(Presigned {
            method: name_of(method),
            url: format!("{origin}{path}?{query}&X-Amz-Signature={signature}"),
            headers: headers
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            expires_at_ms: i64::try_from(expires_at.unix_timestamp_nanos() / 1_000_000)
                .expect("a date of this age fits in 64 bits of milliseconds"),
        })
    }

    fn key(&self, day: &str) -> Vec<u8> {
        let day_key = mac(format!("AWS4{}", self.secret_key).as_bytes(), day);
        let region_key = mac(&day_key, &self.region);
        let service_key = mac(&region_key, "s3");
        mac(&service_key, "aws4_request")
    }
}

fn mac(key: &[u8], message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn stamp(now: OffsetDateTime) -> String {
    let now = now.to_offset(time::UtcOffset::UTC);
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        now.year(),
        u8::from(now.month()),
        now.day(),
        now.hour(),
        now.minute(),
        now.second()
    )
}

fn name_of(method: &Method) -> &'static str {
    match method.as_str() {
        "PUT" => "PUT",
        "HEAD" => "HEAD",
        _ => "GET",
    }
}

/// RFC 3986 as SigV4 wants it: all but unreserved characters, and the slashes of a path.
fn encode(text: &str, keep_slash: bool) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b'/' if keep_slash => out.push('/'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the AWS documentation ("Authenticating Requests: Using Query Parameters"),
    /// with the bucket in the host as it has it there.
    #[test]
    fn the_signature_is_the_one_aws_documents() {
        let signer = Signer {
            endpoint: Url::parse("https://examplebucket.s3.amazonaws.com").unwrap(),
            region: "us-east-1".into(),
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
        };
        let now = time::macros::datetime!(2013-05-24 00:00:00 UTC);
        let day = Duration::from_secs(86_400);
        let presigned = signer
            .presign(&Method::GET, "/test.txt", &[], day, now)
            .unwrap();
        let signature = presigned.url.rsplit('=').next().unwrap();
        assert_eq!(
            signature,
            "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
    }

    #[test]
    fn debug_shows_no_signature() {
        let presigned = Presigned {
            method: "GET",
            url: "http://host/kinolog/key?X-Amz-Signature=secret".into(),
            headers: vec![],
            expires_at_ms: 0,
        };
        assert!(!format!("{presigned:?}").contains("secret"));
    }
}
