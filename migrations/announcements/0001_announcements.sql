-- Announcements: what subscribers are told, kept 30 days.
-- Runs with search_path = the schema of one generation (announcements_g1). Written by one projection.

-- Where this read model stands in the log. One row. The same in every schema.
create table checkpoint (
    single boolean primary key default true check (single),
    epoch text not null,
    commit bigint,
    caught_up boolean not null default false,
    last_event bigint
);

create table stopped_videos (
    video uuid primary key,
    commit bigint not null,
    type_name text not null,
    error text not null
);

-- What an announcement says about its video beside the news itself.
create table subjects (
    video uuid primary key,
    owner text not null,
    title text not null,
    visibility text not null
);

create table announcements (
    commit bigint primary key,
    kind text not null,
    video uuid not null,
    owner text not null,
    -- At the time of the announcement.
    visibility text not null,
    title text not null,
    status text not null,
    at_ms bigint not null,
    duration_ms bigint,
    width bigint,
    height bigint,
    code text,
    message text
);
create index announcements_of_video on announcements (video);
create index announcements_by_age on announcements (at_ms);

-- The newest event time seen, by which announcements grow old, and the last position that was let go.
create table horizon (
    single boolean primary key default true check (single),
    newest_ms bigint not null default 0,
    pruned_to bigint
);
insert into horizon default values;
