//! Lists of videos: which ones, in which order, from where on.
//!
//! # Invariants
//!
//! * A list shows public, playable videos, or those of one owner; filters only narrow it.
//! * Pages neither repeat nor leave out a video that stays where it is: the next one begins behind
//!   a place, not behind a number of videos. The id decides between equals.
//! * Every order has an index for either scope (a test looks at the plans).

use domain::{
    id::{Owner, VideoId},
    video::{Status, Visibility},
};

use uuid::Uuid;

use super::{PAGE_MAX, Video, rows};
use crate::{reader::Reader, words::status_word};

/// Whose videos a list shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Public and playable.
    Public,
    /// All of one owner's.
    OwnedBy(Owner),
}

/// What narrows a list. Nothing, where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub statuses: Option<Vec<Status>>,
    pub playable: Option<bool>,
    pub visibility: Option<Visibility>,
    pub owner: Option<Owner>,
    pub tag: Option<String>,
    pub created_ms: Span,
    /// A video whose duration is not known is in no span.
    pub duration_ms: Span,
}

/// From here on, and before there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    pub from: Option<i64>,
    pub before: Option<i64>,
}

/// What a list is ordered by. What is not known yet counts as zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Created,
    Ready,
    /// As people write lists: capitals do not matter.
    Title,
    Views,
    Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    pub by: By,
    pub descending: bool,
}

/// A place in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub key: Key,
    pub id: VideoId,
}

/// What an order compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    Number(i64),
    Text(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Each with its place.
    pub videos: Vec<(Place, Video)>,
    pub has_next: bool,
}

/// A list that is asked for. `after` is a place of the same order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    pub scope: Scope,
    pub filter: Filter,
    pub order: Order,
    pub after: Option<Place>,
}

/// At most `first` videos, and at most [`PAGE_MAX`].
pub async fn page(reader: &Reader, list: &List, first: usize) -> anyhow::Result<Page> {
    let first = first.min(PAGE_MAX);
    let mut found = listed(reader, list, first as i64 + 1).await?;
    let has_next = found.len() > first;
    found.truncate(first);
    let mut videos = shown(reader, &list.scope, &found).await?;
    let videos = found
        .into_iter()
        .filter_map(|listed| {
            let at = videos.iter().position(|video| video.id.0 == listed.id)?;
            Some((listed.place(), videos.swap_remove(at)))
        })
        .collect();
    Ok(Page { videos, has_next })
}

/// What is in the list, and where. One of the two keys is there.
struct Listed {
    id: Uuid,
    number: Option<i64>,
    text: Option<String>,
}

impl Listed {
    fn place(self) -> Place {
        let key = match self.text {
            Some(text) => Key::Text(text),
            None => Key::Number(self.number.unwrap_or_default()),
        };
        Place {
            key,
            id: VideoId(self.id),
        }
    }
}

/// The videos that were found, unless they left the scope meanwhile.
async fn shown(reader: &Reader, scope: &Scope, found: &[Listed]) -> anyhow::Result<Vec<Video>> {
    let ids: Vec<Uuid> = found.iter().map(|listed| listed.id).collect();
    let rows = sqlx::query_as!(
        rows::VideoRow,
        "select * from videos where id = any($1) and status <> 'deleted'
            and (($2::text is null and visibility = 'public' and playable) or owner = $2)",
        &ids,
        scope.owner()
    )
    .fetch_all(&reader.catalogue())
    .await?;
    rows.into_iter().map(Video::try_from).collect()
}

async fn listed(reader: &Reader, list: &List, limit: i64) -> anyhow::Result<Vec<Listed>> {
    let (filter, after) = (&list.filter, list.after.as_ref());
    let statuses: Option<Vec<String>> = filter.statuses.as_ref().map(|statuses| {
        let words = statuses.iter().map(|status| status_word(*status));
        words.map(str::to_owned).collect()
    });
    let number = after.and_then(|place| place.key.number());
    let text = after.and_then(|place| place.key.text());
    /// One order: what it reads, what it shows of its key, and what it compares with a place.
    macro_rules! ordered {
        ($($part:tt)*) => {
            match list.order.descending {
                true => narrowed!(than: "<", way: "desc", $($part)*),
                false => narrowed!(than: ">", way: "asc", $($part)*),
            }
        };
    }
    macro_rules! narrowed {
        (than: $than:literal, way: $way:literal, from: $from:literal, id: $id:literal, owner: $owner:literal,
         number: $number:literal, text: $text:literal, key: $key:literal, after: $after:literal, place: $place:expr) => {
            sqlx::query_as!(
                Listed,
                "select "
                    + $id
                    + " as id, "
                    + $number
                    + " as number, "
                    + $text
                    + " as text from "
                    + $from
                    + "
                 where status <> 'deleted'
                    and (($1::text is null and visibility = 'public' and playable) or "
                    + $owner
                    + " = $1)
                    and ($2::text[] is null or status = any($2))
                    and ($3::boolean is null or playable = $3)
                    and ($4::text is null or visibility = $4)
                    and ($5::text is null or "
                    + $owner
                    + " = $5)
                    and ($6::text is null or tags @> array[$6])
                    and ($7::bigint is null or created_ms >= $7)
                    and ($8::bigint is null or created_ms < $8)
                    and ($9::bigint is null or duration_ms >= $9)
                    and ($10::bigint is null or duration_ms < $10)
                    and ($12::uuid is null or ("
                    + $key
                    + ", "
                    + $id
                    + ") "
                    + $than
                    + " ("
                    + $after
                    + ", $12))
                 order by "
                    + $key
                    + " "
                    + $way
                    + ", "
                    + $id
                    + " "
                    + $way
                    + " limit $13",
                list.scope.owner(),
                statuses.as_deref(),
                filter.playable,
                filter.visibility.map(|visibility| visibility.as_str()),
                filter.owner.as_ref().map(|owner| owner.0.as_str()),
                filter.tag,
                filter.created_ms.from,
                filter.created_ms.before,
                filter.duration_ms.from,
                filter.duration_ms.before,
                $place,
                after.map(|place| place.id.0),
                limit
            )
            .fetch_all(&reader.lists())
            .await?
        };
    }
    Ok(match list.order.by {
        By::Created => ordered! {
            from: "videos", id: "id", owner: "owner", number: "created_ms", text: "null::text",
            key: "created_ms", after: "$11::bigint", place: number
        },
        By::Ready => ordered! {
            from: "videos", id: "id", owner: "owner", number: "coalesce(ready_ms, 0)", text: "null::text",
            key: "coalesce(ready_ms, 0)", after: "$11::bigint", place: number
        },
        By::Duration => ordered! {
            from: "videos", id: "id", owner: "owner", number: "coalesce(duration_ms, 0)", text: "null::text",
            key: "coalesce(duration_ms, 0)", after: "$11::bigint", place: number
        },
        By::Views => ordered! {
            from: "videos join video_views on id = video", id: "video", owner: "video_views.owner",
            number: "views", text: "null::text", key: "views", after: "$11::bigint", place: number
        },
        By::Title => ordered! {
            from: "videos", id: "id", owner: "owner", number: "null::bigint", text: "title",
            key: "lower(title) collate \"und-x-icu\"", after: "lower($11::text) collate \"und-x-icu\"",
            place: text
        },
    })
}

impl Key {
    fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(_) => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Number(_) => None,
            Self::Text(text) => Some(text),
        }
    }
}

impl Scope {
    /// Whose videos alone; `None` for everybody's.
    fn owner(&self) -> Option<&str> {
        match self {
            Self::Public => None,
            Self::OwnedBy(owner) => Some(&owner.0),
        }
    }
}
