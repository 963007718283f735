-- The last time that one rendition of a ready video was made again; null: never.
alter table videos add column retry_rendition text;
alter table videos add column retry_state text;
alter table videos add column retry_asked_ms bigint;
alter table videos add column retry_ended_ms bigint;
alter table videos add column retry_code text;
alter table videos add column retry_message text;

-- When another job took over from this one. What stays under it was replaced, and is served for a
-- while to players that have the older playlist.
alter table jobs add column replaced_ms bigint;
