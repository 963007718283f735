//! Maxima of a GraphQL document: depth, complexity, how far introspection follows itself, and time.
//!
//! # Invariants
//!
//! * A document is measured before anything of it is executed, and walked with a maximum of steps
//!   before anyone else follows its fragments.
//! * Questions about the schema may be as deep as tools ask them, but lists within lists of
//!   them are not: a short document could ask for megabytes.

use std::sync::atomic::{AtomicBool, Ordering};

use async_graphql::{
    Request, Response, ServerError, ServerResult, ValidationResult,
    extensions::{Extension, ExtensionContext, NextExecute, NextPrepareRequest, NextValidation},
    parser::types::{ExecutableDocument, Selection, SelectionSet},
};
use async_trait::async_trait;

use crate::{
    app::App,
    error::{ApiError, Code},
    graphql::{RECURSION_MAX, missing, server_error},
};

pub(crate) const DEPTH_MAX: usize = 12;
pub(crate) const COMPLEXITY_MAX: usize = 2_000;
/// The introspection query of the usual tools is deeper than ours may be.
const INTROSPECTION_DEPTH_MAX: usize = 20;
/// Lists of the schema within each other: a type's fields, their arguments, not theirs again.
const INTROSPECTION_LISTS_MAX: usize = 2;
/// Selections looked at, fragments counted each time they are spread.
const STEPS_MAX: usize = 10_000;
/// Fragments of one document: the validation follows also those that nothing asks for.
const FRAGMENTS_MAX: usize = 200;

/// One request's document.
#[derive(Default)]
pub(crate) struct Limits {
    asks_for_schema_only: AtomicBool,
}

#[async_trait]
impl Extension for Limits {
    /// The parser's own checks expand every spread, and count no steps: they come after this.
    async fn prepare_request(
        &self,
        ctx: &ExtensionContext<'_>,
        mut request: Request,
        next: NextPrepareRequest<'_>,
    ) -> ServerResult<Request> {
        let document = request.parsed_query()?;
        if document.fragments.len() > FRAGMENTS_MAX {
            let error = exceeded(format!("at most {FRAGMENTS_MAX} fragments"));
            return Err(server_error(&error));
        }
        let mut walk = Walk { document, steps: 0 };
        let mut schema_only = true;
        for (_, operation) in document.operations.iter() {
            let selections = &operation.node.selection_set.node;
            walk.selections(selections, 0, 0)
                .map_err(|error| server_error(&error))?;
            schema_only &= selections.items.iter().all(|item| match &item.node {
                Selection::Field(field) => field.node.name.node.starts_with("__"),
                Selection::FragmentSpread(_) | Selection::InlineFragment(_) => false,
            });
        }
        self.asks_for_schema_only
            .store(schema_only, Ordering::Relaxed);
        next.run(ctx, request).await
    }

    async fn validation(
        &self,
        ctx: &ExtensionContext<'_>,
        next: NextValidation<'_>,
    ) -> Result<ValidationResult, Vec<ServerError>> {
        let measured = next.run(ctx).await?;
        let depth_max = if self.asks_for_schema_only.load(Ordering::Relaxed) {
            INTROSPECTION_DEPTH_MAX
        } else {
            DEPTH_MAX
        };
        if measured.depth > depth_max {
            return Err(vec![server_error(&exceeded(format!(
                "the query is {} levels deep, {depth_max} are the most",
                measured.depth
            )))]);
        }
        if measured.complexity > COMPLEXITY_MAX {
            return Err(vec![server_error(&exceeded(format!(
                "the query has a complexity of {}, {COMPLEXITY_MAX} is the most; ask for fewer items or fields",
                measured.complexity
            )))]);
        }
        Ok(measured)
    }

    /// The same on every transport; of a subscription it is each answer that has this time.
    async fn execute(
        &self,
        ctx: &ExtensionContext<'_>,
        operation_name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        let time = match ctx.data::<App>() {
            Ok(app) => app.config.tuning.operation,
            Err(error) => return Response::from_errors(vec![server_error(&missing(error))]),
        };
        match tokio::time::timeout(time, next.run(ctx, operation_name)).await {
            Ok(response) => response,
            Err(_) => {
                let error = exceeded(format!("this took longer than {} s", time.as_secs_f32()));
                Response::from_errors(vec![server_error(&error)])
            }
        }
    }
}

fn exceeded(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::LimitExceeded, message.into())
}

struct Walk<'d> {
    document: &'d ExecutableDocument,
    steps: usize,
}

impl<'d> Walk<'d> {
    /// Refuses what is too large or too deep, and lists of the schema within too many others.
    /// `within` is how many of these there are already.
    fn selections(
        &mut self,
        selections: &'d SelectionSet,
        depth: usize,
        within: usize,
    ) -> Result<(), ApiError> {
        if depth > RECURSION_MAX {
            return Err(exceeded(format!(
                "the query is more than {RECURSION_MAX} levels deep, or its fragments go round in a circle"
            )));
        }
        for item in &selections.items {
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return Err(exceeded("the query has too many selections"));
            }
            match &item.node {
                Selection::Field(field) => {
                    let is_list = matches!(
                        field.node.name.node.as_str(),
                        "fields" | "inputFields" | "interfaces" | "possibleTypes" | "enumValues"
                    );
                    let within = within + usize::from(is_list);
                    if within > INTROSPECTION_LISTS_MAX {
                        return Err(exceeded("the query follows the schema too far into itself"));
                    }
                    self.selections(&field.node.selection_set.node, depth + 1, within)?;
                }
                Selection::InlineFragment(fragment) => {
                    self.selections(&fragment.node.selection_set.node, depth + 1, within)?;
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    // An unknown one is for the validation to refuse; a cycle ends at the maximum of depth.
                    if let Some(fragment) = self.document.fragments.get(name) {
                        self.selections(&fragment.node.selection_set.node, depth + 1, within)?;
                    }
                }
            }
        }
        Ok(())
    }
}
