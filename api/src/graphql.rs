//! The GraphQL schema and its execution.
//!
//! # Invariants
//!
//! * Every request is bounded in size, depth, complexity and time.
//! * Every error has a code. The cause of `INTERNAL` stays here.

mod as_of;
pub(crate) mod connection;
mod history;
pub(crate) mod http;
mod limits;
mod list;
pub(crate) mod loader;
mod mutation;
mod nulls;
mod owner;
mod query;
mod queue;
mod retry;
mod scalar;
mod search;
mod subscription;
pub(crate) mod transport;
mod video;

use std::sync::Arc;

use async_graphql::{
    Context, Request, Response, Schema, SchemaBuilder, ServerError,
    extensions::{Extension, ExtensionFactory},
};
use futures::stream::{BoxStream, StreamExt};

use crate::{
    app::App,
    error::{ApiError, Code, internal},
    graphql::{
        limits::Limits, mutation::Mutation, nulls::Nulls, query::Query, subscription::Subscription,
    },
    viewer::Viewer,
};

pub(crate) type Kinolog = Schema<Query, Mutation, Subscription>;

/// How deeply the parser follows braces before it gives up.
const RECURSION_MAX: usize = 32;
/// Directives on one field.
const DIRECTIVES_MAX: usize = 8;

pub(crate) fn builder() -> SchemaBuilder<Query, Mutation, Subscription> {
    Schema::build(Query, Mutation, Subscription)
        .register_output_type::<query::Node>()
        .limit_recursive_depth(RECURSION_MAX)
        .limit_directives(DIRECTIVES_MAX)
        .extension(PerRequest(|| Arc::new(Limits::default())))
        .extension(PerRequest(|| Arc::new(Nulls::default())))
}

/// Makes a new extension for each request.
struct PerRequest(fn() -> Arc<dyn Extension>);

impl ExtensionFactory for PerRequest {
    fn create(&self) -> Arc<dyn Extension> {
        (self.0)()
    }
}

/// Who a request comes from, for limits of rate.
#[derive(Debug, Clone)]
pub(crate) struct Client(pub String);

pub(crate) async fn execute(
    schema: &Kinolog,
    request: Request,
    viewer: Viewer,
    client: Client,
) -> Response {
    let response = schema.execute(request.data(viewer).data(client)).await;
    with_codes(response)
}

pub(crate) fn execute_stream(
    schema: &Kinolog,
    request: Request,
    viewer: Viewer,
    client: Client,
) -> BoxStream<'static, Response> {
    schema
        .execute_stream(request.data(viewer).data(client))
        .map(with_codes)
        .boxed()
}

/// What the parser and the validator refuse has no code of its own.
fn with_codes(mut response: Response) -> Response {
    for error in &mut response.errors {
        let extensions = error.extensions.get_or_insert_default();
        if extensions.get("code").is_none() {
            extensions.set("code", Code::Invalid.as_str());
        }
    }
    response
}

/// An error of the validation's kind: about the request as a whole.
fn server_error(error: &ApiError) -> ServerError {
    let mut server_error = ServerError::new(error.message.clone(), None);
    server_error
        .extensions
        .get_or_insert_default()
        .set("code", error.code.as_str());
    server_error
}

fn app<'c>(ctx: &Context<'c>) -> Result<&'c App, ApiError> {
    ctx.data::<App>().map_err(missing)
}

fn viewer<'c>(ctx: &Context<'c>) -> Result<&'c Viewer, ApiError> {
    ctx.data::<Viewer>().map_err(missing)
}

fn client<'c>(ctx: &Context<'c>) -> Result<&'c Client, ApiError> {
    ctx.data::<Client>().map_err(missing)
}

fn missing(error: async_graphql::Error) -> ApiError {
    internal("find the context of a GraphQL request")(error.message)
}
