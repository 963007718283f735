//! Calls straight over tonic, where a client of the protocol would only be in the way:
//! loading, the first call to a node, and the echo.

use std::time::Duration;

use anyhow::{Context, bail};
use futures::Stream;
use tonic::client::Grpc;
use tonic::codec::{ProstCodec, Streaming};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{IntoRequest, IntoStreamingRequest};

use kinolog_eventstore::protocol::streams::read_req::options::{
    AllOptions, CountOption, FilterOption, ReadDirection, StreamOption, all_options::AllOption,
};
use kinolog_eventstore::protocol::streams::read_resp::Content;
use kinolog_eventstore::protocol::streams::{
    AppendReq, AppendResp, BatchAppendReq, BatchAppendResp, ReadReq, ReadResp, read_req,
};

/// Between two attempts to connect to a process that has just been started.
const PAUSE: Duration = Duration::from_millis(1);
/// The longest a node may take to open its log.
const OPENING_MAX: Duration = Duration::from_secs(600);

pub struct Wire {
    grpc: Grpc<Channel>,
}

impl Wire {
    pub async fn connect(port: u16) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?;
        let channel = endpoint
            .connect()
            .await
            .context("failed to connect to a node")?;
        Ok(Self {
            grpc: Grpc::new(channel),
        })
    }

    /// Waits until the log is served, and says the last position in it.
    pub async fn ready(port: u16) -> anyhow::Result<u64> {
        let attempts = async {
            loop {
                if let Ok(mut wire) = Self::connect(port).await
                    && let Ok(last) = wire.last_position().await
                {
                    return last;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(OPENING_MAX, attempts)
            .await
            .context("the node did not open its log in time")
    }

    /// The position of the last event, 0 if there is none.
    pub async fn last_position(&mut self) -> anyhow::Result<u64> {
        self.grpc.ready().await?;
        let all = AllOptions {
            all_option: Some(AllOption::End(())),
        };
        let options = read_req::Options {
            stream_option: Some(StreamOption::All(all)),
            read_direction: ReadDirection::Backwards.into(),
            count_option: Some(CountOption::Count(1)),
            filter_option: Some(FilterOption::NoFilter(())),
            ..Default::default()
        };
        let request = ReadReq {
            options: Some(options),
        };
        let codec: ProstCodec<ReadReq, ReadResp> = ProstCodec::default();
        let answers = self
            .grpc
            .server_streaming(request.into_request(), path("Read"), codec)
            .await?;
        match answers.into_inner().message().await?.map(|it| it.content) {
            None => Ok(0),
            Some(Some(Content::Event(event))) => {
                Ok(event.event.context("an event is empty")?.commit_position)
            }
            Some(other) => bail!("a read of the last event answered {other:?}"),
        }
    }

    pub async fn batch_append(
        &mut self,
        requests: impl Stream<Item = BatchAppendReq> + Send + 'static,
    ) -> anyhow::Result<Streaming<BatchAppendResp>> {
        self.grpc.ready().await?;
        let codec: ProstCodec<BatchAppendReq, BatchAppendResp> = ProstCodec::default();
        let answers = self
            .grpc
            .streaming(
                requests.into_streaming_request(),
                path("BatchAppend"),
                codec,
            )
            .await?;
        Ok(answers.into_inner())
    }

    pub async fn append(&mut self, messages: Vec<AppendReq>) -> anyhow::Result<AppendResp> {
        self.grpc.ready().await?;
        let codec: ProstCodec<AppendReq, AppendResp> = ProstCodec::default();
        let messages = futures::stream::iter(messages).into_streaming_request();
        let answer = self
            .grpc
            .client_streaming(messages, path("Append"), codec)
            .await?;
        Ok(answer.into_inner())
    }
}

fn path(method: &str) -> PathAndQuery {
    let path = format!("/event_store.client.streams.Streams/{method}");
    path.parse().expect("the names of methods fit a path")
}
