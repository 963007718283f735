//! `PersistentSubscriptions`: there are none, and whoever asks which there are hears so.
//! What would make or use one answers Unimplemented.

use tonic::{Request, Response, Status};

use super::status;
use crate::protocol::persistent_subscriptions::persistent_subscriptions_server::PersistentSubscriptions;
use crate::protocol::persistent_subscriptions::{ListReq, ListResp};

pub(super) struct Service;

#[tonic::async_trait]
impl PersistentSubscriptions for Service {
    async fn list(&self, _: Request<ListReq>) -> Result<Response<ListResp>, Status> {
        Err(status::no_persistent_subscription())
    }
}
