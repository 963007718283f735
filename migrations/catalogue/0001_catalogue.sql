-- The catalogue: videos, renditions, segments, jobs and their history.
-- Runs with search_path = the schema of one generation (catalogue_g1). Written by one projection.

-- Where this read model stands in the log. One row.
create table checkpoint (
    single boolean primary key default true check (single),
    epoch text not null,
    -- The last commit position that was applied; null at the beginning.
    commit bigint,
    -- Whether it has been at the log's head once since it was built.
    caught_up boolean not null default false,
    -- The commit position of the last event of ours up to there: the log must still have it.
    last_event bigint
);

-- Videos with an event that could not be applied. What came later for them was not applied either.
create table stopped_videos (
    video uuid primary key,
    commit bigint not null,
    type_name text not null,
    error text not null
);

create table videos (
    id uuid primary key,
    owner text not null,
    title text not null,
    description text not null,
    tags text[] not null,
    visibility text not null,
    status text not null,
    playable boolean not null default false,
    created_ms bigint not null,
    ready_ms bigint,
    file_name text not null,
    content_type text not null,
    size_bytes bigint not null,
    checksum_sha256 text,
    upload_key text not null,
    expires_at_ms bigint not null,
    job uuid,
    segments_planned bigint not null default 0,
    segments_published bigint not null default 0,
    duration_ms bigint,
    width bigint,
    height bigint,
    poster_key text,
    failure_code text,
    failure_message text,
    -- The commit position of the last event that changed it.
    position bigint not null
);
create index videos_public on videos (created_ms desc, id desc) where visibility = 'public' and playable;
create index videos_owned on videos (owner, created_ms desc, id desc) where status <> 'deleted';
create index videos_by_job on videos (job);
create index videos_open_uploads on videos (created_ms, id) where status = 'uploading';

create table jobs (
    job uuid primary key,
    video uuid not null,
    state text not null,
    asked_ms bigint not null,
    planned_ms bigint,
    ended_ms bigint,
    source_key text not null,
    source_etag text not null,
    source_size_bytes bigint not null,
    failure_code text,
    failure_message text
);
create index jobs_of_video on jobs (video);

create table tasks (
    job uuid not null,
    task text not null,
    kind text not null,
    required boolean not null,
    primary key (job, task)
);

-- Who tried what, when, and how it ended.
create table attempts (
    job uuid not null,
    task text not null,
    attempt bigint not null,
    worker text not null,
    started_ms bigint not null,
    ended_ms bigint,
    outcome text not null,
    failure_code text,
    failure_message text,
    primary key (job, task, attempt)
);

create table renditions (
    job uuid not null,
    rendition text not null,
    -- Its place in the ladder.
    ordinal bigint not null,
    bitrate_kbps bigint not null,
    -- Video: width, height and frame rate. Audio: channels and sample rate.
    kind text not null,
    width bigint,
    height bigint,
    frame_rate_num bigint,
    frame_rate_den bigint,
    channels bigint,
    sample_rate bigint,
    segments_planned bigint not null,
    segments_published bigint not null default 0,
    size_bytes bigint not null default 0,
    init_key text,
    init_size_bytes bigint,
    codec text,
    timescale bigint,
    primary key (job, rendition)
);

create table segments (
    job uuid not null,
    rendition text not null,
    number bigint not null,
    key text not null,
    size_bytes bigint not null,
    time bigint not null,
    duration bigint not null,
    samples bigint not null,
    primary key (job, rendition, number)
);
