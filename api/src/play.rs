//! `/play/{grant}/{video}/…`: playlists, segments and posters for players.
//!
//! # Invariants
//!
//! * Nothing unpublished is served; a key outside the video's published ones does not exist.
//! * A wrong or expired grant has one answer, whether there is such a video or not.
//! * Bytes are streamed from the object store at the player's pace. No object is held in memory.
//! * An object's key is written once, so that its name is its version: the ETag needs no store.

pub(crate) mod grant;
mod range;
pub(crate) mod shelf;

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    response::Response,
};
use domain::{id::VideoId, playlist, video::Visibility};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{
        ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
        IF_NONE_MATCH, IF_RANGE, RANGE,
    },
};
use sha2::{Digest, Sha256};

use crate::{
    app::{App, now_ms},
    error::{ApiError, Code, internal},
    play::{
        grant::Grant,
        range::Asked,
        shelf::{File, Shelved},
    },
};

const HLS: &str = "application/vnd.apple.mpegurl";
const DASH: &str = "application/dash+xml";
const JPEG: &str = "image/jpeg";

/// What grows is asked for again soon; what is final, never within the year.
const GROWING: &str = "max-age=1";
const FINAL: &str = "max-age=86400";
const IMMUTABLE: &str = "max-age=31536000, immutable";

/// Where a video is played, by someone who may see it: HLS, and DASH once all is there.
pub(crate) struct Urls {
    base: String,
}

impl Urls {
    pub(crate) fn of(app: &App, video: VideoId, visibility: Visibility) -> Self {
        let grant = match visibility {
            Visibility::Public | Visibility::Unlisted => grant::PUBLIC.to_owned(),
            Visibility::Private => {
                let expires_at = now_seconds() + grant::SECONDS;
                grant::signed(&app.config.playback_secret, video, expires_at)
            }
        };
        let public_url = app.config.public_url.trim_end_matches('/');
        Self {
            base: format!("{public_url}/play/{grant}/{video}"),
        }
    }

    pub(crate) fn hls(&self) -> String {
        format!("{}/master.m3u8", self.base)
    }

    pub(crate) fn dash(&self) -> String {
        format!("{}/manifest.mpd", self.base)
    }

    pub(crate) fn poster(&self) -> String {
        format!("{}/poster.jpg", self.base)
    }
}

/// `GET|HEAD /play/{grant}/{video}/{file}`
pub(crate) async fn play(
    State(app): State<App>,
    Path((grant, video, file)): Path<(String, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id: VideoId = video.parse().map_err(|_| nothing_here())?;
    let grant =
        grant::check(&app.config.playback_secret, &grant, id, now_seconds()).ok_or_else(|| {
            ApiError::new(
                Code::Forbidden,
                "this playback link is wrong or expired; ask for the video again to get a new one",
            )
        })?;
    let shelved = app
        .shelf
        .video(id)
        .await
        .map_err(internal(format!("look up what can be played of {id}")))?
        .filter(|shelved| is_granted(grant, shelved.visibility))
        .ok_or_else(nothing_here)?;
    let request = Request {
        app,
        id,
        grant,
        shelved,
        method,
        headers,
    };
    request.answer(&file).await
}

fn is_granted(grant: Grant, visibility: Visibility) -> bool {
    match grant {
        Grant::Signed => true,
        Grant::Public => match visibility {
            Visibility::Public | Visibility::Unlisted => true,
            Visibility::Private => false,
        },
    }
}

fn nothing_here() -> ApiError {
    ApiError::new(Code::NotFound, "there is nothing to play here")
}

fn now_seconds() -> u64 {
    u64::try_from(now_ms() / 1000).unwrap_or(0)
}

struct Request {
    app: App,
    id: VideoId,
    grant: Grant,
    shelved: Arc<Shelved>,
    method: Method,
    headers: HeaderMap,
}

impl Request {
    async fn answer(self, file: &str) -> Result<Response, ApiError> {
        let playback = &self.shelved.playback;
        let prefix = shelf::prefix(self.id);
        let uri = |key: &str| key.strip_prefix(&prefix).unwrap_or(key).to_owned();
        let caching = if playback.complete { FINAL } else { GROWING };
        match file {
            "master.m3u8" => {
                let text = playlist::hls_master(&playback.renditions, &|id| format!("{id}.m3u8"));
                self.text(HLS, caching, text)
            }
            // Over the same segments, once all of them are there.
            "manifest.mpd" if playback.complete => {
                let text = playlist::dash(&playback.renditions, &uri);
                self.text(DASH, caching, text)
            }
            "poster.jpg" => {
                let key = playback.poster_key.clone().ok_or_else(nothing_here)?;
                self.poster(&key, caching).await
            }
            _ => {
                if let Some(found) = self.shelved.file(file) {
                    let key = format!("{prefix}{file}");
                    return self.bytes(&key, found, IMMUTABLE).await;
                }
                let id = file.strip_suffix(".m3u8").ok_or_else(nothing_here)?;
                let published = self.shelved.rendition(id).ok_or_else(nothing_here)?;
                let text = playlist::hls_media(published, playback.complete, &uri);
                self.text(HLS, caching, text)
            }
        }
    }

    fn text(
        &self,
        content_type: &'static str,
        caching: &str,
        text: String,
    ) -> Result<Response, ApiError> {
        let etag = etag(text.as_bytes());
        let mut response = self.head(content_type, caching, &etag);
        if range::is_known(self.header(&IF_NONE_MATCH), &etag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
        if self.method != Method::HEAD {
            *response.body_mut() = Body::from(text);
        }
        Ok(response)
    }

    /// Its size is not in the catalogue, so the store is asked for it.
    async fn poster(&self, key: &str, caching: &str) -> Result<Response, ApiError> {
        let head = self.app.objects.head(key).await.map_err(internal(format!(
            "look at the poster of {} in the object store",
            self.id
        )))?;
        let found = File {
            size_bytes: head.ok_or_else(nothing_here)?.size_bytes,
            content_type: JPEG,
        };
        self.bytes(key, found, caching).await
    }

    async fn bytes(&self, key: &str, file: File, caching: &str) -> Result<Response, ApiError> {
        let etag = etag(key.as_bytes());
        let mut response = self.head(file.content_type, caching, &etag);
        let headers = response.headers_mut();
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if range::is_known(self.header(&IF_NONE_MATCH), &etag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
        let size = file.size_bytes;
        let unchanged = self
            .header(&IF_RANGE)
            .is_none_or(|validator| validator == etag);
        let asked = match self.header(&RANGE) {
            Some(_) if !unchanged => Asked::Whole,
            header => range::parse(header, size),
        };
        let part = match asked {
            Asked::Whole => 0..size,
            Asked::Part(part) => {
                let text = format!("bytes {}-{}/{size}", part.start, part.end - 1);
                headers.insert(CONTENT_RANGE, ascii(&text));
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                part
            }
            Asked::Unsatisfiable => {
                headers.insert(CONTENT_RANGE, ascii(&format!("bytes */{size}")));
                headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
                *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
                return Ok(response);
            }
        };
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(part.end - part.start));
        if self.method != Method::HEAD && !part.is_empty() {
            let got = self.app.objects.get(key, Some(part), None).await;
            let got = match got {
                Err(objects::Error::NotFound) => return Err(nothing_here()),
                other => other.map_err(internal(format!("read {key} from the object store")))?,
            };
            *response.body_mut() = Body::from_stream(got.stream);
        }
        Ok(response)
    }

    /// The headers that every answer has. What a signed grant opens is kept by its viewer alone.
    fn head(&self, content_type: &'static str, caching: &str, etag: &str) -> Response {
        let whose = match self.grant {
            Grant::Public => "public",
            Grant::Signed => "private",
        };
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, ascii(&format!("{whose}, {caching}")));
        headers.insert(ETAG, ascii(etag));
        response
    }

    fn header(&self, name: &http::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// A strong ETag, with its quotes.
fn etag(of: &[u8]) -> String {
    format!("\"{}\"", hex::encode(&Sha256::digest(of)[..16]))
}

fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits, letters and punctuation are a header value")
}
