//! Rows of the catalogue as they are stored, and the values they stand for.

use anyhow::Context;

use super::{
    Code, Declared, Details, Failure, Init, JobId, Kind, Owner, Published, Ratio, Rendition,
    RenditionId, RenditionState, Retry, Uuid, Video, VideoId,
};
use crate::words;

pub(super) struct VideoRow {
    pub id: Uuid,
    pub owner: String,
    pub title: String,
    pub description: String,
    pub tags: Vec<String>,
    pub visibility: String,
    pub status: String,
    pub playable: bool,
    pub created_ms: i64,
    pub ready_ms: Option<i64>,
    pub file_name: String,
    pub content_type: String,
    pub size_bytes: i64,
    pub checksum_sha256: Option<String>,
    pub upload_key: String,
    pub expires_at_ms: i64,
    pub job: Option<Uuid>,
    pub segments_planned: i64,
    pub segments_published: i64,
    pub duration_ms: Option<i64>,
    pub width: Option<i64>,
    pub height: Option<i64>,
    pub poster_key: Option<String>,
    pub failure_code: Option<String>,
    pub failure_message: Option<String>,
    pub position: i64,
    pub retry_rendition: Option<String>,
    pub retry_state: Option<String>,
    pub retry_asked_ms: Option<i64>,
    pub retry_ended_ms: Option<i64>,
    pub retry_code: Option<String>,
    pub retry_message: Option<String>,
}

/// The last time that one of a video's renditions was made again, if there was one.
pub(super) fn retry(
    rendition: Option<String>,
    state: Option<&str>,
    asked_ms: Option<i64>,
    ended_ms: Option<i64>,
    failure: Option<Failure>,
) -> anyhow::Result<Option<Retry>> {
    let (Some(rendition), Some(state)) = (rendition, state) else {
        return Ok(None);
    };
    Ok(Some(Retry {
        rendition: RenditionId(rendition),
        state: words::retry(state)?,
        asked_ms: asked_ms.unwrap_or_default(),
        ended_ms,
        failure,
    }))
}

impl TryFrom<VideoRow> for Video {
    type Error = anyhow::Error;

    fn try_from(row: VideoRow) -> anyhow::Result<Self> {
        Ok(Self {
            retry: retry(
                row.retry_rendition,
                row.retry_state.as_deref(),
                row.retry_asked_ms,
                row.retry_ended_ms,
                failure(row.retry_code, row.retry_message)?,
            )?,
            as_of: None,
            id: VideoId(row.id),
            owner: Owner(row.owner),
            details: Details {
                title: row.title,
                description: row.description,
                tags: row.tags,
                visibility: words::visibility(&row.visibility)?,
            },
            status: words::status(&row.status)?,
            playable: row.playable,
            created_ms: row.created_ms,
            ready_ms: row.ready_ms,
            declared: Declared {
                file_name: row.file_name,
                content_type: row.content_type,
                size_bytes: row.size_bytes.try_into()?,
                checksum_sha256: row.checksum_sha256,
            },
            upload_key: row.upload_key,
            expires_at_ms: row.expires_at_ms,
            job: row.job.map(JobId),
            segments_planned: row.segments_planned.try_into()?,
            segments_published: row.segments_published.try_into()?,
            duration_ms: row.duration_ms.map(u64::try_from).transpose()?,
            width: row.width.map(u32::try_from).transpose()?,
            height: row.height.map(u32::try_from).transpose()?,
            poster_key: row.poster_key,
            failure: failure(row.failure_code, row.failure_message)?,
            commit: row.position.try_into()?,
        })
    }
}

pub(super) struct RenditionRow {
    pub job: Uuid,
    pub rendition: String,
    #[expect(dead_code, reason = "the queries sort by it")]
    pub ordinal: i64,
    pub bitrate_kbps: i64,
    pub kind: String,
    pub width: Option<i64>,
    pub height: Option<i64>,
    pub frame_rate_num: Option<i64>,
    pub frame_rate_den: Option<i64>,
    pub channels: Option<i64>,
    pub sample_rate: Option<i64>,
    pub segments_planned: i64,
    pub segments_published: i64,
    pub size_bytes: i64,
    pub init_key: Option<String>,
    pub init_size_bytes: Option<i64>,
    pub codec: Option<String>,
    pub timescale: Option<i64>,
    pub segment_us_max: i64,
}

impl RenditionRow {
    fn rendition(&self) -> anyhow::Result<Rendition> {
        let kind = match self.kind.as_str() {
            "video" => Kind::Video {
                width: number(self.width)?,
                height: number(self.height)?,
                frame_rate: Ratio {
                    num: number(self.frame_rate_num)?,
                    den: number(self.frame_rate_den)?,
                },
            },
            "audio" => Kind::Audio {
                channels: number(self.channels)?,
                sample_rate: number(self.sample_rate)?,
            },
            other => anyhow::bail!("unknown kind of rendition {other}"),
        };
        Ok(Rendition {
            id: RenditionId(self.rendition.clone()),
            bitrate_kbps: self.bitrate_kbps.try_into()?,
            kind,
        })
    }

    /// With its init, and no segments yet.
    pub(super) fn published(self) -> anyhow::Result<Published> {
        let rendition = self.rendition()?;
        let init = match (self.init_key, self.codec) {
            (Some(key), Some(codec)) => Some(Init {
                key,
                size_bytes: self.init_size_bytes.unwrap_or(0).try_into()?,
                codec,
                timescale: number(self.timescale)?,
            }),
            _ => None,
        };
        Ok(Published {
            init,
            ..Published::nothing_of(rendition, self.segment_us_max.try_into()?)
        })
    }
}

impl TryFrom<RenditionRow> for RenditionState {
    type Error = anyhow::Error;

    fn try_from(row: RenditionRow) -> anyhow::Result<Self> {
        Ok(Self {
            job: JobId(row.job),
            rendition: row.rendition()?,
            codec: row.codec,
            size_bytes: row.size_bytes.try_into()?,
            segments_planned: row.segments_planned.try_into()?,
            segments_published: row.segments_published.try_into()?,
        })
    }
}

pub(super) fn failure(
    code: Option<String>,
    message: Option<String>,
) -> anyhow::Result<Option<Failure>> {
    let Some(code) = code else { return Ok(None) };
    Ok(Some(Failure {
        code: Code::parse(&code).with_context(|| format!("unknown code {code}"))?,
        message: message.unwrap_or_default(),
    }))
}

fn number(column: Option<i64>) -> anyhow::Result<u32> {
    let value = column.context("a column of this kind of rendition is empty")?;
    Ok(value.try_into()?)
}
