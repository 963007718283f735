//! A field that fails is null, and the rest of the answer is there.
//!
//! async-graphql leaves such a field out of its object, which no client expects.
//!
//! # Invariants
//!
//! * Every field that can fail is nullable: `schema.graphql` shows it.

use std::sync::{Mutex, PoisonError};

use async_graphql::{
    Response, ServerError, ServerResult, Value,
    extensions::{Extension, ExtensionContext, NextExecute, NextResolve, ResolveInfo},
};
use async_trait::async_trait;

/// One request's failed fields.
#[derive(Default)]
pub(crate) struct Nulls {
    errors: Mutex<Vec<ServerError>>,
}

#[async_trait]
impl Extension for Nulls {
    async fn resolve(
        &self,
        ctx: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<Value>> {
        let is_nullable = !info.return_type.ends_with('!');
        match next.run(ctx, info).await {
            Err(error) if is_nullable => {
                self.errors
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(error);
                Ok(Some(Value::Null))
            }
            resolved => resolved,
        }
    }

    async fn execute(
        &self,
        ctx: &ExtensionContext<'_>,
        operation_name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        let mut response = next.run(ctx, operation_name).await;
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        response.errors.append(&mut errors);
        response
    }
}
