-- What the conductor knows beside the log. All of it can be read from the log again.

-- Up to which position of which log everything was acted upon. One row.
create table conductor_checkpoint (
    only_row boolean primary key default true check (only_row),
    epoch text not null,
    commit_position bigint,
    -- The last event of ours that was seen. The position before it may stand further on.
    last_event bigint
);

-- The jobs whose streams are folded and kept in memory.
create table open_jobs (
    job uuid primary key,
    video uuid not null,
    owner text not null,
    source_key text not null,
    source_etag text not null,
    source_size_bytes bigint not null,
    -- The event that asked for it.
    cause uuid not null,
    asked_at_ms bigint not null,
    -- The event that made it pointless.
    cancelled_by uuid
);

create index open_jobs_by_video on open_jobs (video);

-- Videos whose objects are to be erased.
create table deletions (
    video uuid primary key,
    asked_at_ms bigint not null,
    -- When all was erased for the first time; it is again when nothing can arrive any more.
    swept_at_ms bigint
);
