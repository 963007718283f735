-- What each owner has. Runs with search_path = the schema of one generation. Written by one projection.

create table checkpoint (
    single boolean primary key default true check (single),
    epoch text not null,
    -- The last commit position that was applied; null at the beginning.
    commit bigint,
    caught_up boolean not null default false,
    last_event bigint,
    -- Who took it over last: nobody else moves it.
    holder uuid,
    events bigint not null default 0
);

create table stopped_videos (
    video uuid primary key,
    commit bigint not null,
    type_name text not null,
    error text not null
);

-- The sums over an owner's videos.
create table owners (
    owner text primary key,
    videos bigint not null default 0,
    duration_ms bigint not null default 0,
    storage_bytes bigint not null default 0,
    views bigint not null default 0
);

-- What each video adds to them.
create table owned_videos (
    video uuid primary key,
    owner text not null,
    duration_ms bigint not null default 0,
    source_bytes bigint not null default 0,
    made_bytes bigint not null default 0,
    views bigint not null default 0
);

-- What was published of each, by the job that made it: one is replaced by another's.
create table made (
    video uuid not null,
    job uuid not null,
    rendition text not null,
    size_bytes bigint not null,
    primary key (video, job, rendition)
);
create index made_of_job on made (job);

-- A session counts once per video and day. Days are those since 1970-01-01 UTC, by event time.
create table view_sessions (
    day bigint not null,
    video uuid not null,
    session text not null,
    primary key (day, video, session)
);
create index view_sessions_of_video on view_sessions (video);
