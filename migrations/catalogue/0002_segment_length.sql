-- The longest that a segment of this rendition may get, by the plan: a playlist's target duration.
-- What was planned before is cut every 2 s.
alter table renditions add column segment_us_max bigint not null default 2600000;
