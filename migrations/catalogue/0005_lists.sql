-- What lists of videos are ordered and narrowed by. Lists show public, playable videos, or all of
-- one owner's; each order has an index for either, read forwards or backwards.

-- How often each video was viewed. Beside the videos: a view changes one small row and two indexes.
create table video_views (
    video uuid primary key,
    owner text not null,
    views bigint not null default 0
);
insert into video_views (video, owner) select id, owner from videos where status <> 'deleted';
create index video_views_most on video_views (views, video);
create index video_views_owned on video_views (owner, views, video);

-- A session counts once per video and day. Days are those since 1970-01-01 UTC, by event time.
create table view_sessions (
    day bigint not null,
    video uuid not null,
    session text not null,
    primary key (day, video, session)
);
create index view_sessions_of_video on view_sessions (video);

create index videos_public_ready on videos (coalesce(ready_ms, 0), id)
    where visibility = 'public' and playable;
create index videos_public_title on videos (lower(title) collate "und-x-icu", id)
    where visibility = 'public' and playable;
create index videos_public_duration on videos (coalesce(duration_ms, 0), id)
    where visibility = 'public' and playable;
create index videos_owned_ready on videos (owner, coalesce(ready_ms, 0), id)
    where status <> 'deleted';
create index videos_owned_title on videos (owner, lower(title) collate "und-x-icu", id)
    where status <> 'deleted';
create index videos_owned_duration on videos (owner, coalesce(duration_ms, 0), id)
    where status <> 'deleted';
create index videos_tags on videos using gin (tags) where status <> 'deleted';
