//! Grants: who may play a private video, in its URL.
//!
//! # Invariants
//!
//! * A grant is for one video and ends at a moment; both are signed.
//! * Nothing is looked up to check one, so that every segment can carry it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::id::VideoId;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The grant of videos that anyone may play who knows their id.
pub(crate) const PUBLIC: &str = "public";
/// How long a private video may be played before its page is asked again.
pub(crate) const SECONDS: u64 = 12 * 60 * 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// What its visibility allows.
    Public,
    /// This video, whatever its visibility.
    Signed,
}

/// A grant for `video` until `expires_at`, in Unix seconds.
pub(crate) fn signed(secret: &str, video: VideoId, expires_at: u64) -> String {
    let signature = mac(secret, video, expires_at).finalize().into_bytes();
    format!("{expires_at}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// What `text` grants for `video` at `now`, in Unix seconds.
pub(crate) fn check(secret: &str, text: &str, video: VideoId, now: u64) -> Option<Grant> {
    if text == PUBLIC {
        return Some(Grant::Public);
    }
    let (expires_at, signature) = text.split_once('.')?;
    let seconds: u64 = expires_at.parse().ok()?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    // Compares in constant time.
    mac(secret, video, seconds).verify_slice(&signature).ok()?;
    // `+7` and `007` are the same number, but were never signed by us.
    (seconds > now && seconds.to_string() == expires_at).then_some(Grant::Signed)
}

fn mac(secret: &str, video: VideoId, expires_at: u64) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(b"play\0");
    mac.update(video.0.as_bytes());
    mac.update(&expires_at.to_be_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: VideoId = VideoId(uuid::Uuid::from_u128(1));
    const TWO: VideoId = VideoId(uuid::Uuid::from_u128(2));

    #[test]
    fn a_grant_is_good_for_its_video_until_it_ends() {
        let grant = signed("secret", ONE, 1_000);
        assert_eq!(check("secret", &grant, ONE, 999), Some(Grant::Signed));
        assert_eq!(check("secret", &grant, ONE, 1_000), None);
        assert_eq!(check("secret", &grant, TWO, 999), None);
        assert_eq!(check("another", &grant, ONE, 999), None);
    }

    #[test]
    fn a_grant_cannot_be_made_to_last_longer() {
        let grant = signed("secret", ONE, 1_000);
        let longer = grant.replace("1000.", "9000.");
        assert_eq!(check("secret", &longer, ONE, 999), None);
        assert_eq!(check("secret", &format!("+{grant}"), ONE, 999), None);
    }

    #[test]
    fn what_is_no_grant_is_refused() {
        for text in ["", "PUBLIC", ".", "1000", "1000.", "x.y"] {
            assert_eq!(check("secret", text, ONE, 0), None, "{text}");
        }
    }
}
