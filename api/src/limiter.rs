//! How often one client may do what costs the log an event.
//!
//! # Invariants
//!
//! * The number of clients remembered is bounded; one that is forgotten starts anew.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use moka::future::Cache;

/// Clients remembered at the same time.
const CLIENTS_MAX: u64 = 100_000;
const FORGET_AFTER: Duration = Duration::from_secs(120);

pub(crate) struct Limiter {
    quota: Quota,
    clients: Cache<String, Arc<DefaultDirectRateLimiter>>,
}

impl Limiter {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self {
            quota: Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN)),
            clients: Cache::builder()
                .max_capacity(CLIENTS_MAX)
                .time_to_idle(FORGET_AFTER)
                .build(),
        }
    }

    /// Whether `client` may do it once more now.
    pub(crate) async fn allows(&self, client: &str) -> bool {
        let limiter = self
            .clients
            .get_with_by_ref(client, async { Arc::new(RateLimiter::direct(self.quota)) })
            .await;
        limiter.check().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_client_has_its_own_rate() {
        let limiter = Limiter::new(2);
        assert!(limiter.allows("ada").await);
        assert!(limiter.allows("ada").await);
        assert!(!limiter.allows("ada").await);
        assert!(limiter.allows("bob").await);
    }
}
