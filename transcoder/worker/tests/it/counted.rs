//! Films whose pictures say their number, so that it shows which of them was made into what.

use axum::body::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

pub const WIDTH: usize = 192;
pub const HEIGHT: usize = 112;
/// One upright bar for each.
const BITS: usize = 12;
const BAR: usize = WIDTH / BITS;
const BARS_HEIGHT: usize = HEIGHT / 2;

/// The brightness of picture number `n`: its number in bars, and below them something that moves.
pub fn drawn(n: u64) -> Vec<u8> {
    let mut luma = Vec::with_capacity(WIDTH * HEIGHT);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let bit = n >> (x / BAR) & 1;
            let wave = ((x as u64 * 3 + y as u64 * 5 + n * 4) % 256) as i64;
            luma.push(match (y < BARS_HEIGHT, bit) {
                (true, 0) => 40,
                (true, _) => 210,
                (false, _) => (40 + (wave - 128).abs()) as u8,
            });
        }
    }
    luma
}

/// A film of these pictures, each shown at its time in ms. `between` goes from raw pictures
/// into `mux`, and says what that is.
pub fn film(times_ns: &[u64], rate: &str, between: &str) -> Bytes {
    let last = *times_ns.last().unwrap();
    let usual = last / (times_ns.len() as u64 - 1).max(1);
    film_until(times_ns, last + usual, rate, between)
}

/// The same, whose last picture stays until `end_ns`.
pub fn film_until(times_ns: &[u64], end_ns: u64, rate: &str, between: &str) -> Bytes {
    gst::init().unwrap();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let place = folder.path().join("film");
    let description = format!(
        "appsrc name=in format=time max-buffers=8 block=true \
         caps=video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate={rate} ! \
         queue ! {between} mux. ! filesink location={}",
        place.display()
    );
    let pipeline = gst::parse::launch(&description)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let source = pipeline.by_name("in").unwrap();
    let source = source.downcast::<gst_app::AppSrc>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for (n, at) in times_ns.iter().enumerate() {
        let mut bytes = drawn(n as u64);
        bytes.resize(WIDTH * HEIGHT * 3 / 2, 128);
        let mut buffer = gst::Buffer::from_mut_slice(bytes);
        let next = times_ns.get(n + 1).copied().unwrap_or(end_ns);
        let times = buffer.get_mut().unwrap();
        times.set_pts(gst::ClockTime::from_nseconds(*at));
        times.set_duration(gst::ClockTime::from_nseconds(next - at));
        source.push_buffer(buffer).unwrap();
    }
    source.end_of_stream().unwrap();
    let bus = pipeline.bus().unwrap();
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds);
    pipeline.set_state(gst::State::Null).unwrap();
    match message.expect("the film took too long").view() {
        gst::MessageView::Error(error) => panic!("{error:?}"),
        _ => std::fs::read(place).unwrap().into(),
    }
}

/// Times at a constant rate.
pub fn every(count: u64, num: u64, den: u64) -> Vec<u64> {
    (0..count).map(|n| n * den * 1_000_000_000 / num).collect()
}

/// A picture as it is shown.
pub struct Shown {
    pub at_ns: u64,
    pub luma: Vec<u8>,
}

impl Shown {
    /// The number that its bars say.
    pub fn number(&self) -> u64 {
        let bit = |bar: usize| {
            let column = bar * BAR + BAR / 2;
            let rows = (BARS_HEIGHT / 4..BARS_HEIGHT * 3 / 4).map(|y| y * WIDTH + column);
            let bright = rows.clone().filter(|at| self.luma[*at] > 125).count();
            u64::from(bright * 2 > rows.count())
        };
        (0..BITS).map(|bar| bit(bar) << bar).sum()
    }

    /// How like the drawn picture it is, in dB.
    pub fn psnr(&self) -> f64 {
        let drawn = drawn(self.number());
        let pairs = drawn.iter().zip(&self.luma);
        let squares: f64 = pairs.map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
        let mean = squares / drawn.len() as f64;
        10.0 * (255.0f64.powi(2) / mean.max(0.01)).log10()
    }
}

/// All pictures of a rendition, in the order they are shown.
pub fn shown(film: &[u8]) -> Vec<Shown> {
    gst::init().unwrap();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let place = folder.path().join("film.mp4");
    std::fs::write(&place, film).unwrap();
    let description = format!(
        "filesrc location={} ! qtdemux ! h264parse ! avdec_h264 ! videoconvert ! \
         video/x-raw,format=GRAY8 ! appsink name=out sync=false",
        place.display()
    );
    let pipeline = gst::parse::launch(&description)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let out = pipeline.by_name("out").unwrap();
    let out = out.downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut all = Vec::new();
    while let Ok(sample) = out.pull_sample() {
        let segment = sample.segment().unwrap();
        let segment = segment.downcast_ref::<gst::ClockTime>().unwrap();
        let buffer = sample.buffer().unwrap();
        let at = segment.to_running_time(buffer.pts()).unwrap();
        let map = buffer.map_readable().unwrap();
        assert_eq!(map.len(), WIDTH * HEIGHT);
        all.push(Shown {
            at_ns: at.nseconds(),
            luma: map.to_vec(),
        });
    }
    pipeline.set_state(gst::State::Null).unwrap();
    all
}
