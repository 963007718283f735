-- A job may make one rendition again, and take over the others from an older job. Null: it makes all.
alter table open_jobs add column redo_rendition text;
alter table open_jobs add column redo_from uuid;

-- Retries that are over: what they left unnamed in the object store is erased when it is due.
create table leftovers (
    job uuid primary key,
    video uuid not null,
    due_at_ms bigint not null
);
