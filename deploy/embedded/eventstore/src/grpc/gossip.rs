//! `Gossip`: a cluster of one, which leads, at the address it was called by.

use std::net::SocketAddr;

use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::called::{self, Called};
use super::convert;
use crate::clock;
use crate::protocol::gossip::gossip_server::Gossip;
use crate::protocol::gossip::member_info::VNodeState;
use crate::protocol::gossip::{ClusterInfo, EndPoint, MemberInfo};

#[derive(Clone)]
pub(super) struct Service {
    address: SocketAddr,
    instance: Uuid,
}

impl Service {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            instance: Uuid::new_v4(),
        }
    }

    pub(super) fn instance(&self) -> Uuid {
        self.instance
    }

    /// Host and port by which whoever asked reaches this node.
    pub(super) fn reached_by(&self, called: Option<&Called>) -> (String, u16) {
        let port = called.and_then(|called| called.port);
        (
            called.map_or(self.address.ip().to_string(), |it| it.host.clone()),
            port.unwrap_or(self.address.port()),
        )
    }
}

#[tonic::async_trait]
impl Gossip for Service {
    async fn read(&self, request: Request<()>) -> Result<Response<ClusterInfo>, Status> {
        let (host, port) = self.reached_by(called::of(&request));
        let node = MemberInfo {
            instance_id: Some(convert::structured_id(self.instance)),
            time_stamp: i64::try_from(clock::now()).unwrap_or(i64::MAX),
            state: VNodeState::Leader.into(),
            is_alive: true,
            http_end_point: Some(EndPoint {
                address: host,
                port: port.into(),
            }),
        };
        Ok(Response::new(ClusterInfo {
            members: vec![node],
        }))
    }
}
