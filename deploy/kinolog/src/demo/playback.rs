//! A player's view: the master, every playlist, every segment, and what decodes from them.

use std::time::Duration;

use anyhow::{Context, bail};
use m3u8_rs::{MasterPlaylist, MediaPlaylist, Playlist};
use reqwest::Url;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::media::{Counted, Decoder};
use crate::{client::Client, platform::Addresses};

/// Between two looks at what is growing.
const PAUSE: Duration = Duration::from_millis(300);
/// How long what is left may take to be played once the video is ready.
const REST_MAX: Duration = Duration::from_secs(600);

/// One rendition, played to its end.
pub struct Played {
    pub name: String,
    /// What its playlist promises.
    pub listed_ms: u64,
    pub counted: Counted,
}

/// Plays everything that a player could ask for, as it is published, until the video is ready
/// and all of it was played.
pub async fn all(
    client: &Client,
    addresses: &Addresses,
    video: &str,
) -> anyhow::Result<Vec<Played>> {
    let base = Url::parse(&addresses.api)?;
    let mut playing: JoinSet<anyhow::Result<(usize, Played)>> = JoinSet::new();
    let mut known: Vec<String> = vec![];
    let playback = loop {
        let (is_ready, playback) = look(client, video).await?;
        if let Some(hls) = playback["hls"].as_str() {
            let hls = base.join(hls)?;
            let Playlist::MasterPlaylist(master) = playlist(client, &hls).await? else {
                bail!("{hls} is no master playlist");
            };
            for uri in uris(&master) {
                if known.contains(&uri) {
                    continue;
                }
                let (client, url, place) = (client.clone(), hls.join(&uri)?, known.len());
                println!("playing: {}", name_of(&url));
                playing.spawn(async move { Ok((place, one(&client, &url).await?)) });
                known.push(uri);
            }
        }
        if is_ready {
            break playback;
        }
        tokio::time::sleep(PAUSE).await;
    };
    if known.is_empty() {
        bail!("the video is ready, but there is nothing to play");
    }
    let dash = playback["dash"]
        .as_str()
        .context("the video has no DASH address")?;
    let dash = base.join(dash)?;
    if !text(client, &dash).await?.contains("<MPD") {
        bail!("{dash} is no DASH manifest");
    }
    tokio::time::timeout(REST_MAX, to_the_end(playing))
        .await
        .context("the rest of the video is not played in time")?
}

/// Whether the video is ready, and where it is played.
async fn look(client: &Client, video: &str) -> anyhow::Result<(bool, Value)> {
    let query = "query($id: ID!) { video(id: $id) { status playback { hls dash } } }";
    let data = client.query(query, json!({"id": video})).await?;
    let video = &data["video"];
    Ok((video["status"] == "READY", video["playback"].clone()))
}

/// In the order of the master.
async fn to_the_end(
    mut playing: JoinSet<anyhow::Result<(usize, Played)>>,
) -> anyhow::Result<Vec<Played>> {
    let mut played = vec![];
    while let Some(one) = playing.join_next().await {
        played.push(one??);
    }
    played.sort_by_key(|(place, _)| *place);
    Ok(played.into_iter().map(|(_, one)| one).collect())
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

/// Loads a media playlist again and again until it has ended, and decodes what it lists.
async fn one(client: &Client, url: &Url) -> anyhow::Result<Played> {
    let name = name_of(url);
    let mut decoder = Decoder::start()?;
    let mut init: Option<String> = None;
    let mut taken = 0;
    let media = loop {
        let Playlist::MediaPlaylist(media) = playlist(client, url).await? else {
            bail!("{url} is no media playlist");
        };
        feed(client, url, &media, taken, &mut init, &mut decoder).await?;
        taken = media.segments.len();
        if media.end_list {
            break media;
        }
        tokio::time::sleep(PAUSE).await;
    };
    let counted = decoder.end().await?;
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

/// The init, and the segments after the first `taken`, one behind the other: a fragmented MP4.
async fn feed(
    client: &Client,
    url: &Url,
    media: &MediaPlaylist,
    taken: usize,
    init: &mut Option<String>,
    decoder: &mut Decoder,
) -> anyhow::Result<()> {
    if media.segments.len() < taken {
        bail!("{url} has lost segments");
    }
    for segment in media.segments.iter().skip(taken) {
        let map = segment.map.as_ref().map(|map| map.uri.clone());
        if map.is_some() && map != *init {
            if init.is_some() {
                bail!("{url} changes its init on the way");
            }
            let uri = map.as_deref().context("a map")?;
            decoder.take(&client.get(&url.join(uri)?).await?).await?;
            *init = map;
        }
        if init.is_none() {
            bail!("{url} names no init before its first segment");
        }
        // One segment at a time is held, so that it can be fetched again as a whole.
        let bytes = client.get(&url.join(&segment.uri)?).await?;
        decoder.take(&bytes).await?;
    }
    Ok(())
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
