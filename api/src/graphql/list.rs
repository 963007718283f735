//! What a list of videos can be narrowed and ordered by, and the cursors of its pages.
//!
//! # Invariants
//!
//! * A cursor belongs to one order: behind it, another order has no place.

use std::borrow::Cow;

use async_graphql::{Enum, InputObject};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{
    id::{Owner, VideoId},
    video::{Status as State, TAG_CHARS_MAX},
};
use projections::catalogue::list::{By, Filter, Key, Order, Place, Span};
use time::OffsetDateTime;

use crate::{
    error::{ApiError, Code},
    graphql::{
        scalar::Long,
        video::{Status, Visibility},
    },
    token::SUBJECT_BYTES_MAX,
};

/// Which videos a list shows: those that fit all that is said.
#[derive(InputObject, Default)]
pub(crate) struct VideoFilter {
    /// One of these.
    status: Option<Vec<Status>>,
    playable: Option<bool>,
    visibility: Option<Visibility>,
    /// The subject of the owner's token.
    owner: Option<String>,
    /// One of its tags, exactly.
    tag: Option<String>,
    created: Option<DateTimeRange>,
    /// Videos whose duration is not known yet are left out.
    duration_ms: Option<LongRange>,
}

/// From a moment on, and before another; either may be left out.
#[derive(InputObject)]
struct DateTimeRange {
    from: Option<OffsetDateTime>,
    before: Option<OffsetDateTime>,
}

/// From a number on, and below another; either may be left out.
#[derive(InputObject)]
struct LongRange {
    from: Option<Long>,
    below: Option<Long>,
}

/// What a list is ordered by.
#[derive(InputObject)]
pub(crate) struct VideoOrder {
    by: VideoOrderBy,
    /// Where it is not said: titles from A on, all others from the newest or most on.
    direction: Option<OrderDirection>,
}

/// What videos are compared by. Of equals, the id decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
enum VideoOrderBy {
    Created,
    /// When it became ready; others come before all that are.
    Ready,
    /// Capitals do not matter.
    Title,
    Views,
    /// Unknown ones count as the shortest.
    Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
enum OrderDirection {
    Asc,
    Desc,
}

pub(crate) fn filter(asked: VideoFilter) -> Result<Filter, ApiError> {
    let VideoFilter {
        status,
        playable,
        visibility,
        owner,
        tag,
        created,
        duration_ms,
    } = asked;
    at_most("filter.owner", owner.as_deref(), SUBJECT_BYTES_MAX)?;
    at_most("filter.tag", tag.as_deref(), TAG_CHARS_MAX)?;
    let created = created.map(|range| Span {
        from: range.from.map(ms),
        before: range.before.map(ms),
    });
    let duration_ms = duration_ms.map(|range| Span {
        from: range.from.map(|from| from.0),
        before: range.below.map(|below| below.0),
    });
    Ok(Filter {
        statuses: status.map(|all| all.into_iter().map(state).collect()),
        playable,
        visibility: visibility.map(Into::into),
        owner: owner.map(Owner),
        tag,
        created_ms: span("filter.created", created)?,
        duration_ms: span("filter.durationMs", duration_ms)?,
    })
}

fn at_most(field: &str, text: Option<&str>, max: usize) -> Result<(), ApiError> {
    match text.is_some_and(|text| text.chars().count() > max) {
        true => Err(invalid(format!("{field}: at most {max} characters"))),
        false => Ok(()),
    }
}

fn span(field: &str, span: Option<Span>) -> Result<Span, ApiError> {
    let span = span.unwrap_or_default();
    match (span.from, span.before) {
        (Some(from), Some(before)) if from >= before => {
            Err(invalid(format!("{field}: it ends before it begins")))
        }
        _ => Ok(span),
    }
}

fn ms(moment: OffsetDateTime) -> i64 {
    let ms = moment.unix_timestamp_nanos().div_euclid(1_000_000);
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn state(status: Status) -> State {
    match status {
        Status::Uploading => State::Uploading,
        Status::Processing => State::Processing,
        Status::Ready => State::Ready,
        Status::Failed => State::Failed,
        Status::Expired => State::Expired,
        Status::Deleted => State::Deleted,
    }
}

/// Newest first, where nothing is said.
pub(crate) fn order(asked: Option<VideoOrder>) -> Order {
    let Some(VideoOrder { by, direction }) = asked else {
        return Order {
            by: By::Created,
            descending: true,
        };
    };
    let by = match by {
        VideoOrderBy::Created => By::Created,
        VideoOrderBy::Ready => By::Ready,
        VideoOrderBy::Title => By::Title,
        VideoOrderBy::Views => By::Views,
        VideoOrderBy::Duration => By::Duration,
    };
    let descending = match direction {
        Some(direction) => direction == OrderDirection::Desc,
        None => by != By::Title,
    };
    Order { by, descending }
}

/// A place's text; clients send it back unchanged.
pub(crate) fn cursor_text(by: By, place: &Place) -> String {
    let mut bytes = vec![letter(by)];
    bytes.extend_from_slice(place.id.0.as_bytes());
    match &place.key {
        Key::Number(number) => bytes.extend_from_slice(&number.to_be_bytes()),
        Key::Text(text) => bytes.extend_from_slice(text.as_bytes()),
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The place in an order by `by`.
pub(crate) fn parse_cursor(by: By, text: &str) -> Result<Place, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| no_cursor())?;
    let (of, rest) = bytes.split_first().ok_or_else(no_cursor)?;
    let (id, key) = rest.split_first_chunk::<16>().ok_or_else(no_cursor)?;
    if *of != letter(by) {
        return Err(no_cursor());
    }
    let key = match by {
        By::Title => Key::Text(String::from_utf8(key.to_vec()).map_err(|_| no_cursor())?),
        By::Created | By::Ready | By::Views | By::Duration => {
            let number = key.try_into().map_err(|_| no_cursor())?;
            Key::Number(i64::from_be_bytes(number))
        }
    };
    Ok(Place {
        key,
        id: VideoId(uuid::Uuid::from_bytes(*id)),
    })
}

/// Which order a cursor is of.
fn letter(by: By) -> u8 {
    match by {
        By::Created => b'c',
        By::Ready => b'r',
        By::Title => b't',
        By::Views => b'v',
        By::Duration => b'd',
    }
}

fn no_cursor() -> ApiError {
    invalid("after: this is not a cursor of this list; send one that you were given, unchanged")
}

fn invalid(message: impl Into<Cow<'static, str>>) -> ApiError {
    ApiError::new(Code::Invalid, message)
}
