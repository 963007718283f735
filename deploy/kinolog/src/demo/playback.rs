//! A player's view: the master, every playlist, every segment, and what decodes from them.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt};
use m3u8_rs::{MasterPlaylist, MediaPlaylist, Playlist};
use reqwest::Url;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::media::{self, Counted};
use crate::{client::Client, platform::Addresses};

/// Renditions fetched and decoded at the same time.
const PARALLEL: usize = 2;

/// One rendition, played to its end.
pub struct Played {
    pub name: String,
    /// What its playlist promises.
    pub listed_ms: u64,
    pub counted: Counted,
}

/// Fetches and decodes everything that a player could ask for.
pub async fn all(
    client: &Client,
    addresses: &Addresses,
    video: &str,
    folder: &Path,
) -> anyhow::Result<Vec<Played>> {
    let query = "query($id: ID!) { video(id: $id) { status playback { hls dash } posterUrl } }";
    let data = client.query(query, json!({"id": video})).await?;
    let playback = &data["video"]["playback"];
    let base = Url::parse(&addresses.api)?;
    let hls = base.join(
        playback["hls"]
            .as_str()
            .context("the video has no HLS address")?,
    )?;
    let dash = base.join(
        playback["dash"]
            .as_str()
            .context("the video has no DASH address")?,
    )?;

    let manifest = text(client, &dash).await?;
    if !manifest.contains("<MPD") {
        bail!("{dash} is no DASH manifest");
    }
    let master = match playlist(client, &hls).await? {
        Playlist::MasterPlaylist(master) => master,
        Playlist::MediaPlaylist(_) => bail!("{hls} is no master playlist"),
    };
    let uris = uris(&master);
    if uris.is_empty() {
        bail!("{hls} lists nothing to play");
    }
    println!("playing: {} renditions of {hls}", uris.len());
    futures::stream::iter(uris)
        .map(|uri| {
            let hls = hls.clone();
            async move { one(client, &hls.join(&uri)?, folder).await }
        })
        .buffered(PARALLEL)
        .try_collect()
        .await
}

/// The media playlists of a master, each once.
fn uris(master: &MasterPlaylist) -> Vec<String> {
    let variants = master.variants.iter().filter(|variant| !variant.is_i_frame);
    let mut uris: Vec<String> = vec![];
    let alternatives = master
        .alternatives
        .iter()
        .filter_map(|other| other.uri.clone());
    for uri in variants
        .map(|variant| variant.uri.clone())
        .chain(alternatives)
    {
        if !uris.contains(&uri) {
            uris.push(uri);
        }
    }
    uris
}

async fn one(client: &Client, url: &Url, folder: &Path) -> anyhow::Result<Played> {
    let name = name_of(url);
    let media = match playlist(client, url).await? {
        Playlist::MediaPlaylist(media) => media,
        Playlist::MasterPlaylist(_) => bail!("{url} is no media playlist"),
    };
    if !media.end_list {
        bail!("{url} is not final although the video is ready");
    }
    let path = folder.join(format!("{name}.mp4"));
    download(client, url, &media, &path).await?;
    let counted = media::count(path.clone()).await?;
    tokio::fs::remove_file(&path).await?;
    let seconds: f64 = media
        .segments
        .iter()
        .map(|segment| f64::from(segment.duration))
        .sum();
    println!(
        "played: {name}: {} segments, {} frames, {} samples",
        media.segments.len(),
        counted.frames,
        counted.audio_samples
    );
    Ok(Played {
        name,
        listed_ms: (seconds * 1000.0).round() as u64,
        counted,
    })
}

/// The init and all segments, one behind the other: a fragmented MP4.
async fn download(
    client: &Client,
    url: &Url,
    media: &MediaPlaylist,
    path: &PathBuf,
) -> anyhow::Result<()> {
    let mut file = tokio::fs::File::create(path).await?;
    let mut init: Option<String> = None;
    for segment in &media.segments {
        let map = segment.map.as_ref().map(|map| map.uri.clone());
        if map.is_some() && map != init {
            if init.is_some() {
                bail!("{url} changes its init on the way");
            }
            let map = map.context("a map")?;
            append(client, &url.join(&map)?, &mut file).await?;
            init = Some(map);
        }
        if init.is_none() {
            bail!("{url} names no init before its first segment");
        }
        append(client, &url.join(&segment.uri)?, &mut file).await?;
    }
    file.flush().await?;
    Ok(())
}

async fn append(client: &Client, url: &Url, file: &mut tokio::fs::File) -> anyhow::Result<()> {
    // One segment at a time is held, so that it can be fetched again as a whole.
    let segment = client.get(url).await?;
    Ok(file.write_all(&segment).await?)
}

async fn playlist(client: &Client, url: &Url) -> anyhow::Result<Playlist> {
    let text = text(client, url).await?;
    match m3u8_rs::parse_playlist_res(text.as_bytes()) {
        Ok(playlist) => Ok(playlist),
        Err(error) => bail!("{url} is no playlist: {error}"),
    }
}

async fn text(client: &Client, url: &Url) -> anyhow::Result<String> {
    let body = client.get(url).await?;
    String::from_utf8(body.into()).with_context(|| format!("{url} is no text"))
}

fn name_of(url: &Url) -> String {
    let file = url.path().rsplit('/').next().unwrap_or_default();
    file.strip_suffix(".m3u8").unwrap_or(file).to_owned()
}
