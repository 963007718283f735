//! The api from outside, through a real port, over real stores.

mod graphql_socket;
mod health;
mod lagging;
mod life;
mod notifications;
mod past;
mod platform;
mod playback;
mod queue;
mod requests;
mod retries;
mod schema;
mod searching;
mod seeing;
mod socket;
mod uploads;
