//! `Operations`: what an operator asks of the node. It can be stopped; the rest is about
//! parts it does not have, and says so.

use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::protocol::operations::operations_server::Operations;
use crate::protocol::operations::{
    ScavengeResp, SetNodePriorityReq, StartScavengeReq, StopScavengeReq,
};

pub(super) struct Service {
    pub(super) stop: CancellationToken,
}

#[tonic::async_trait]
impl Operations for Service {
    /// Stops the node as a signal would: calls under way are answered, this one first.
    async fn shutdown(&self, _: Request<()>) -> Result<Response<()>, Status> {
        tracing::info!("stopping on a client's request");
        self.stop.cancel();
        Ok(Response::new(()))
    }

    async fn start_scavenge(
        &self,
        _: Request<StartScavengeReq>,
    ) -> Result<Response<ScavengeResp>, Status> {
        Err(absent("this node does not scavenge its log"))
    }

    async fn stop_scavenge(
        &self,
        _: Request<StopScavengeReq>,
    ) -> Result<Response<ScavengeResp>, Status> {
        Err(absent("this node does not scavenge its log"))
    }

    async fn merge_indexes(&self, _: Request<()>) -> Result<Response<()>, Status> {
        Err(absent("this node has no indexes to merge"))
    }

    async fn resign_node(&self, _: Request<()>) -> Result<Response<()>, Status> {
        Err(absent("this node is alone: nobody else could lead"))
    }

    async fn set_node_priority(
        &self,
        _: Request<SetNodePriorityReq>,
    ) -> Result<Response<()>, Status> {
        Err(absent("this node is alone: it stands for no election"))
    }

    async fn restart_persistent_subscriptions(
        &self,
        _: Request<()>,
    ) -> Result<Response<()>, Status> {
        Err(absent("this node has no persistent subscriptions"))
    }
}

fn absent(why: &'static str) -> Status {
    Status::unimplemented(why)
}
