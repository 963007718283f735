//! The embedded object store from outside: through a real S3 client, presigned URLs, raw HTTP,
//! and as a process that is killed.

mod conditions;
mod crash;
mod http;
mod integrity;
mod listing;
mod multipart;
mod outbox;
mod support;
