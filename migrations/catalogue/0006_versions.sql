-- What was true of each video, from when until when: answers questions about the past. A row for each
-- time that it changed as its viewers see it, but for how much of it is made. Erased with the video.
create table video_versions (
    video uuid not null,
    -- From the event at this commit position on, up to but not with the one at that.
    from_position bigint not null,
    until_position bigint,
    -- The same in event time. A video's clock never goes back: what is recorded later is not earlier.
    from_ms bigint not null,
    until_ms bigint,
    owner text not null,
    title text not null,
    description text not null,
    tags text[] not null,
    visibility text not null,
    status text not null,
    playable boolean not null,
    created_ms bigint not null,
    ready_ms bigint,
    job uuid,
    duration_ms bigint,
    width bigint,
    height bigint,
    failure_code text,
    failure_message text,
    retry_rendition text,
    retry_state text,
    retry_asked_ms bigint,
    retry_ended_ms bigint,
    retry_code text,
    retry_message text,
    primary key (video, from_position)
);
create index video_versions_current on video_versions (video) where until_position is null;
create index video_versions_public on video_versions (created_ms desc, video desc)
    where visibility = 'public' and playable;
create index video_versions_owned on video_versions (owner, created_ms desc, video desc);
