//! Queries.

use async_graphql::{Context, Enum, ID, Interface, Object, Result};
use domain::id::VideoId;
use projections::{
    catalogue::{
        self,
        list::{self, List},
    },
    popularity, queues,
    search::QUERY_CHARS_MAX,
};

use crate::{
    app::{App, now_ms},
    error::{ApiError, Code, internal},
    graphql::{
        app,
        as_of::{self, AsOf},
        connection::{self, VideoConnection, parse_offset},
        history::{self, HistoryConnection},
        list::{VideoFilter, VideoOrder, cursor_text, filter, order, parse_cursor},
        owner::{self, OwnerStatistics},
        queue::Queue,
        search::{self, SearchConnection, SearchFilters, Wanted},
        video::Video,
        viewer,
    },
    position::{self, Waits},
    token::Scope,
    viewer::Viewer,
};

/// Anything with an id.
#[derive(Interface)]
#[graphql(field(name = "id", ty = "ID"))]
pub(crate) enum Node {
    Video(Video),
}

/// How far back views count for what is trending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "projections::popularity::Window")]
enum TrendingWindow {
    /// The last sixty minutes.
    Hour,
    /// The last 24 hours; a view weighs half after 3.4 of them.
    Day,
    /// The last seven days; a view weighs half after one of them.
    Week,
}

pub(crate) struct Query;

/// Public videos are readable without a token; one's own with the scope `videos:read`.
#[Object]
impl Query {
    /// One video, or null: a video you may not see looks like none.
    #[graphql(
        complexity = "1 + position::cost(&min_position) + as_of::cost(&as_of) + child_complexity"
    )]
    async fn video(
        &self,
        ctx: &Context<'_>,
        id: ID,
        #[graphql(
            desc = "Wait, at most 5 s, until this position of a mutation's answer is visible here."
        )]
        min_position: Option<String>,
        #[graphql(
            desc = "As it was then; what it was then played with, and its views, are null. For its owner, \
                    for operators, and with the scope `analytics:read` where everyone could see it, \
                    then and now."
        )]
        as_of: Option<AsOf>,
    ) -> Result<Option<Video>> {
        let app = app(ctx)?;
        position::wait(app, min_position.as_deref(), &[Waits::Catalogue]).await?;
        Ok(match as_of {
            Some(as_of) => as_of::video(app, viewer(ctx)?, &id, &as_of).await?,
            None => find(app, viewer(ctx)?, &id).await?,
        })
    }

    /// Everything that happened to a video and to its jobs, oldest first. For its owner, for
    /// operators, and with the scope `analytics:read` where everyone may see it; null for others.
    #[graphql(
        complexity = "position::cost(&min_position) + connection::cost(first, child_complexity)"
    )]
    async fn history(
        &self,
        ctx: &Context<'_>,
        id: ID,
        #[graphql(desc = "How many, 1 to 100; 20 if not said.")] first: Option<i32>,
        #[graphql(desc = "Go on after this cursor, or after any position.")] after: Option<String>,
        #[graphql(
            desc = "Wait, at most 5 s, until this position of a mutation's answer is visible here."
        )]
        min_position: Option<String>,
    ) -> Result<Option<HistoryConnection>> {
        let app = app(ctx)?;
        let first = connection::first(first)?;
        position::wait(app, min_position.as_deref(), &[Waits::Catalogue]).await?;
        Ok(history::page(app, viewer(ctx)?, &id, first, after.as_deref()).await?)
    }

    /// Public, playable videos; or, with `mine`, all of one's own. Newest first, unless ordered
    /// otherwise.
    #[graphql(
        complexity = "position::cost(&min_position) + as_of::cost(&as_of) + connection::cost(first, child_complexity)"
    )]
    #[expect(
        clippy::too_many_arguments,
        reason = "each is an argument of the query"
    )]
    async fn videos(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many, 1 to 100; 20 if not said.")] first: Option<i32>,
        #[graphql(desc = "Go on after this cursor, in the same order.")] after: Option<String>,
        #[graphql(
            default,
            desc = "One's own videos, whatever their visibility and status."
        )]
        mine: bool,
        #[graphql(name = "filter", desc = "Only videos that fit all of this.")] asked: Option<
            VideoFilter,
        >,
        order_by: Option<VideoOrder>,
        #[graphql(
            desc = "Wait, at most 5 s, until this position of a mutation's answer is visible here."
        )]
        min_position: Option<String>,
        #[graphql(
            desc = "As they were then, newest first, without those that were deleted since. Needs the \
                    scope `analytics:read`, or `videos:read` with `mine`; takes no filter."
        )]
        as_of: Option<AsOf>,
    ) -> Result<Option<VideoConnection>> {
        let app = app(ctx)?;
        let first = connection::first(first)?;
        let order = order(order_by);
        let list = List {
            scope: match mine {
                true => list::Scope::OwnedBy(viewer(ctx)?.with(Scope::VideosRead)?.owner.clone()),
                false => list::Scope::Public,
            },
            filter: filter(asked.unwrap_or_default())?,
            order,
            after: after
                .map(|text| parse_cursor(order.by, &text))
                .transpose()?,
        };
        position::wait(app, min_position.as_deref(), &[Waits::Catalogue]).await?;
        let page = match as_of {
            Some(as_of) => as_of::videos(app, viewer(ctx)?, &list, &as_of, first).await?,
            None => list::page(&app.reader, &list, first)
                .await
                .map_err(internal("list videos"))?,
        };
        let edges = page
            .videos
            .into_iter()
            .map(|(place, video)| (cursor_text(order.by, &place), Video(video)))
            .collect();
        Ok(Some(VideoConnection::new(edges, page.has_next)))
    }

    /// Videos by title, description and tags, best first: public ones and one's own. Words are found
    /// in other forms too, and with small mistakes; "words in quotes" stand just so; a -word must not
    /// be there. An empty query finds all that fits the filters, if there are any.
    #[graphql(
        complexity = "position::cost(&min_position) + connection::cost(first, child_complexity)"
    )]
    async fn search(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most 200 characters.")] query: String,
        filters: Option<SearchFilters>,
        #[graphql(desc = "How many, 1 to 100; 20 if not said.")] first: Option<i32>,
        #[graphql(desc = "Go on after this cursor.")] after: Option<String>,
        #[graphql(
            desc = "Wait, at most 5 s, until this position of a mutation's answer is visible here."
        )]
        min_position: Option<String>,
    ) -> Result<Option<SearchConnection>> {
        let app = app(ctx)?;
        let first = connection::first(first)?;
        check_chars("query", &query)?;
        let offset = match after.as_deref() {
            Some(text) => parse_offset(text)?.saturating_add(1),
            None => 0,
        };
        let wants = ctx.look_ahead();
        let wanted = Wanted {
            total: wants.field("totalCount").exists(),
            facets: wants.field("facets").exists(),
            highlights: wants.field("edges").field("highlights").exists(),
        };
        position::wait(
            app,
            min_position.as_deref(),
            &[Waits::Search, Waits::Catalogue],
        )
        .await?;
        let page = (offset, first);
        let found = search::page(app, viewer(ctx)?, query, filters, page, &wanted).await?;
        Ok(Some(found))
    }

    /// Videos while somebody is still typing, best first: each word of `prefix` is the beginning of
    /// one in title or tags. Public videos and one's own.
    #[graphql(complexity = "search::suggestions_cost(first, child_complexity)")]
    async fn suggest(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most 200 characters.")] prefix: String,
        #[graphql(desc = "How many, 1 to 20; 10 if not said.")] first: Option<i32>,
    ) -> Result<Option<Vec<Video>>> {
        let first = search::suggestions(first)?;
        check_chars("prefix", &prefix)?;
        let found = search::suggest(app(ctx)?, viewer(ctx)?, prefix, first).await?;
        Ok(Some(found))
    }

    /// Public videos by how much they are viewed lately. Null, with an error, while the
    /// counters are away.
    #[graphql(complexity = "connection::cost(first, child_complexity)")]
    async fn trending(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many, 1 to 100; 20 if not said.")] first: Option<i32>,
        #[graphql(default_with = "TrendingWindow::Week")] window: TrendingWindow,
    ) -> Result<Option<Vec<Video>>> {
        let first = connection::first(first)?;
        let videos = popularity::trending(&app(ctx)?.reader, window.into(), now_ms(), first)
            .await
            .map_err(internal("read what is trending"))?;
        Ok(Some(videos.into_iter().map(Video).collect()))
    }

    /// How many videos an owner has, how long they are, what they take and how often they are viewed:
    /// one's own, or anybody's for a token with the scope `analytics:read`.
    #[graphql(complexity = "1 + position::cost(&min_position) + child_complexity")]
    async fn owner_statistics(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The subject of the owner's token; one's own if not said.")] owner: Option<
            String,
        >,
        #[graphql(
            desc = "Wait, at most 5 s, until this position of a mutation's answer is visible here."
        )]
        min_position: Option<String>,
    ) -> Result<Option<OwnerStatistics>> {
        position::wait(app(ctx)?, min_position.as_deref(), &[Waits::Owners]).await?;
        Ok(Some(owner::statistics(ctx, owner).await?))
    }

    /// What waits to be processed, who works and what runs. Null before a conductor has ever
    /// led. Needs a token with the scope `operate`.
    #[graphql(complexity = "3 + child_complexity")]
    async fn queue(&self, ctx: &Context<'_>) -> Result<Option<Queue>> {
        viewer(ctx)?.with(Scope::Operate)?;
        let shown = queues::queues(&app(ctx)?.reader, queues::PAGE_MAX)
            .await
            .map_err(internal("read the queues"))?;
        Ok(shown.map(Queue))
    }

    /// Anything by its id, or null.
    async fn node(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Node>> {
        let video = find(app(ctx)?, viewer(ctx)?, &id).await?;
        Ok(video.map(Node::Video))
    }
}

/// The video, if `viewer` may see it.
pub(crate) async fn find(app: &App, viewer: &Viewer, id: &ID) -> Result<Option<Video>, ApiError> {
    let Ok(id) = id.parse::<VideoId>() else {
        return Ok(None);
    };
    let entry = catalogue::video(&app.reader, id)
        .await
        .map_err(internal(format!("read video {id}")))?;
    Ok(entry
        .filter(|video| viewer.sees(&video.owner, video.details.visibility))
        .map(Video))
}

fn check_chars(argument: &str, text: &str) -> Result<(), ApiError> {
    if text.chars().count() > QUERY_CHARS_MAX {
        let message = format!("{argument}: at most {QUERY_CHARS_MAX} characters");
        return Err(ApiError::new(Code::Invalid, message));
    }
    Ok(())
}
