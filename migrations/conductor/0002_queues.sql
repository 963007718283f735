-- The three queues, for operators: what the leading conductor last showed of them, at most once a
-- second. Nobody else writes here; the api reads. Nothing is decided by these rows, and they may be
-- lost at any moment: they are unlogged, and shown again within a second.

-- How urgent its uploader said it is: 0 high, 1 normal, 2 low.
alter table open_jobs add column priority smallint not null default 1;

-- One row.
create unlogged table queues (
    only_row boolean primary key default true check (only_row),
    shown_ms bigint not null,
    tasks bigint not null,
    workers bigint not null,
    slots bigint not null,
    slots_taken bigint not null,
    running bigint not null
);

-- The first tasks that wait, in the order in which they will be handed out.
create unlogged table queue_tasks (
    place bigint primary key,
    job uuid not null,
    video uuid not null,
    task text not null,
    kind text not null,
    priority smallint not null,
    playable boolean not null,
    memory_mib bigint not null,
    since_ms bigint not null
);

-- The workers that called lately.
create unlogged table queue_workers (
    name text primary key,
    version text not null,
    -- Empty: all.
    kinds text[] not null,
    slots bigint not null,
    running bigint not null,
    memory_mib bigint not null,
    memory_used_mib bigint not null,
    first_ms bigint not null,
    last_ms bigint not null
);

-- The attempts under way.
create unlogged table queue_running (
    job uuid not null,
    video uuid not null,
    task text not null,
    kind text not null,
    attempt bigint not null,
    worker text not null,
    progress_permille bigint not null,
    since_ms bigint not null,
    -- When its lease ends, if nobody prolongs it.
    lease_until_ms bigint not null,
    primary key (job, task, attempt)
);
