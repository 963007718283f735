//! The grid as a GStreamer element: decoded pictures in, the pictures of a chunk out.
//!
//! # Invariants
//!
//! * What leaves begins at [`ORIGIN`], one picture after the other without a gap: the chunk's
//!   place in the film is the concern of who numbers its segments.
//! * After the chunk's last picture the end is sent on, and whoever still brings pictures
//!   is told that it is over: nothing more of the source is read.
//! * A source that ends too early is judged before its last picture is held.
//! * A chunk whose first picture may lie before where reading began is refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gst::subclass::prelude::*;
use gstreamer as gst;
use gstreamer::glib;
use gstreamer_video as gst_video;

use super::{Grid, Seen, Taken};
use crate::child::chunk::Chunk;
use crate::child::coverage::Coverage;
use crate::child::front_end::{Trouble, missing};
use crate::child::seek::ROUNDING_NS;
use crate::failure::{Code, Failure};

pub(crate) const NAME: &str = "kinologgrid";

/// When a chunk's first picture is shown, as far as the encoder is concerned. `x264enc` moves
/// whatever comes before this time, and mixes up both times until its first picture leaves: it
/// forgets all key frames asked for in the meantime but one, and slow films have many segments
/// within its lookahead.
pub(crate) const ORIGIN: gst::ClockTime = gst::ClockTime::from_seconds(1000 * 3600);

/// Lets graphs name the element.
pub(crate) fn register() -> Result<(), Failure> {
    let kind = GridElement::static_type();
    gst::Element::register(None, NAME, gst::Rank::NONE, kind).map_err(|_| missing(NAME))
}

glib::wrapper! {
    pub struct GridElement(ObjectSubclass<imp::GridElement>) @extends gst::Element, gst::Object;
}

impl GridElement {
    /// Says what it makes; before that it refuses all data.
    pub(crate) fn attach(&self, order: Order) {
        let chunk = &order.chunk;
        let work = Work {
            grid: Grid::new(chunk.rate, chunk.begin(), chunk.end()),
            order,
            held: None,
            began: false,
            ended: false,
        };
        *self.imp().work.lock().expect("no streaming yet") = Some(work);
    }
}

/// What is to be made, and from what.
pub(crate) struct Order {
    pub(crate) chunk: Chunk,
    pub(crate) coverage: Arc<Coverage>,
    pub(crate) declared_ms: u64,
    pub(crate) trouble: Trouble,
    /// Pictures in front of the chunk should come first: it was moved to.
    pub(crate) moved: bool,
    /// They did not: the decoder could not begin where it was moved to.
    pub(crate) late: Arc<AtomicBool>,
}

/// The chunk as far as it is made.
struct Work {
    grid: Grid,
    order: Order,
    held: Option<gst::Buffer>,
    began: bool,
    ended: bool,
}

/// One picture of the source, and the pictures of the grid that it is.
struct Made {
    buffer: gst::Buffer,
    pictures: std::ops::Range<u64>,
}

impl Work {
    fn take(&mut self, buffer: gst::Buffer, at: gst::ClockTime) -> Option<Made> {
        let seen = Seen {
            at_ns: at.nseconds(),
            end_ns: (at + buffer.duration().unwrap_or(gst::ClockTime::ZERO)).nseconds(),
        };
        let first = self.grid.next;
        match self.grid.take(seen) {
            Taken::Late => None,
            Taken::Instead { times } => {
                let buffer = self.held.replace(buffer)?;
                let pictures = first..first + times;
                Some(Made { buffer, pictures })
            }
        }
    }

    /// Whether the chunk's first picture may be one that was never decoded.
    fn begins_late(&self, at: gst::ClockTime) -> bool {
        let begin_ns = self.order.chunk.begin_ns() + ROUNDING_NS;
        let late = self.order.moved && self.held.is_none() && at.nseconds() > begin_ns;
        if late {
            self.order.late.store(true, Ordering::Release);
        }
        late
    }

    /// What is left when the source ends.
    fn finish(&mut self) -> Result<Option<Made>, Failure> {
        if self.grid.is_complete() {
            return Ok(None);
        }
        self.order.coverage.is_whole(self.order.declared_ms)?;
        let (Some(end_ns), Some(buffer)) = (self.grid.end_ns(), self.held.take()) else {
            let message = "the file is damaged: none of its pictures could be decoded";
            return Err(Failure::new(Code::SourceCorrupt, message));
        };
        let declared_ms = self.order.declared_ms;
        let declared_ns = declared_ms.saturating_mul(1_000_000);
        let end_ns = self.order.coverage.last_picture_end_ns(end_ns, declared_ms);
        let first = self.grid.next;
        let times = self
            .grid
            .finish(self.order.chunk.pictures_of_film(end_ns, declared_ns));
        let pictures = first..first + times;
        Ok(Some(Made { buffer, pictures }))
    }

    /// When a picture is shown, the chunk's first being shown at the origin.
    fn at(&self, picture: u64) -> gst::ClockTime {
        let since = picture.saturating_sub(self.order.chunk.begin());
        ORIGIN + gst::ClockTime::from_nseconds(self.order.chunk.rate.at_ns(since))
    }
}

mod imp {
    use std::sync::LazyLock;

    use super::*;
    use super::{
        ElementImpl, GstObjectImpl, Made, Mutex, ObjectImpl, ObjectImplExt, ObjectSubclass, Work,
        glib, gst, gst_video,
    };

    pub struct GridElement {
        sink: gst::Pad,
        src: gst::Pad,
        pub(super) work: Mutex<Option<Work>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for GridElement {
        const NAME: &'static str = "KinologGrid";
        type Type = super::GridElement;
        type ParentType = gst::Element;

        fn with_class(class: &Self::Class) -> Self {
            let refused = || Err(gst::FlowError::Error);
            let sink = class.pad_template("sink").expect("it is listed below");
            let sink = gst::Pad::builder_from_template(&sink)
                .chain_function(move |_, parent, buffer| {
                    Self::catch_panic_pad_function(parent, refused, |it| it.take(buffer))
                })
                .event_function(|pad, parent, event| {
                    Self::catch_panic_pad_function(parent, || false, |it| it.event(pad, event))
                })
                .query_function(|pad, parent, query| {
                    Self::catch_panic_pad_function(parent, || false, |it| it.query(pad, query))
                })
                .flags(gst::PadFlags::PROXY_CAPS)
                .build();
            let src = class.pad_template("src").expect("it is listed below");
            let src = gst::Pad::builder_from_template(&src)
                .flags(gst::PadFlags::PROXY_CAPS | gst::PadFlags::FIXED_CAPS)
                .build();
            GridElement {
                sink,
                src,
                work: Mutex::default(),
            }
        }
    }

    impl ObjectImpl for GridElement {
        fn constructed(&self) {
            self.parent_constructed();
            for pad in [&self.sink, &self.src] {
                self.obj().add_pad(pad).expect("their names differ");
            }
        }
    }

    impl GstObjectImpl for GridElement {}

    impl ElementImpl for GridElement {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
                gst::subclass::ElementMetadata::new(
                    "Pictures of a chunk at a constant rate",
                    "Filter/Effect/Video",
                    "Makes each picture of a chunk from the nearest one of the source",
                    "Kinolog",
                )
            });
            Some(&METADATA)
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
                let caps = gst::Caps::builder("video/x-raw").build();
                let always = gst::PadPresence::Always;
                let ends = [
                    ("sink", gst::PadDirection::Sink),
                    ("src", gst::PadDirection::Src),
                ];
                ends.map(|(name, direction)| {
                    gst::PadTemplate::new(name, direction, always, &caps)
                        .expect("a pad of raw video is valid")
                })
                .into()
            });
            &TEMPLATES
        }
    }

    impl GridElement {
        fn with_work<T>(&self, act: impl FnOnce(&mut Work) -> T) -> Result<T, gst::FlowError> {
            let mut work = self.work.lock().map_err(|_| gst::FlowError::Error)?;
            work.as_mut().map(act).ok_or(gst::FlowError::Error)
        }

        fn take(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
            let made = self.with_work(|work| {
                if work.ended {
                    return Err(gst::FlowError::Eos);
                }
                let Some(at) = work.order.coverage.at(&self.sink, &buffer) else {
                    return Ok(None);
                };
                if work.begins_late(at) {
                    return Err(gst::FlowError::Error);
                }
                Ok(work.take(buffer, at))
            })??;
            if let Some(made) = made {
                self.push(made)?;
            }
            if !self.with_work(|work| work.grid.is_complete())? {
                return Ok(gst::FlowSuccess::Ok);
            }
            self.end()?;
            Err(gst::FlowError::Eos)
        }

        fn push(&self, made: Made) -> Result<(), gst::FlowError> {
            let Made {
                mut buffer,
                pictures,
            } = made;
            let last = pictures.end.saturating_sub(1);
            for picture in pictures {
                // The last of them is the buffer itself: it goes back to its pool.
                let mut shown = match picture == last {
                    true => std::mem::take(&mut buffer),
                    false => buffer.copy(),
                };
                let (at, until) =
                    self.with_work(|work| (work.at(picture), work.at(picture + 1)))?;
                let times = shown.make_mut();
                times.set_pts(at);
                times.set_dts(None);
                times.set_duration(until - at);
                self.src.push(shown)?;
            }
            Ok(())
        }

        /// The end goes on once.
        fn end(&self) -> Result<(), gst::FlowError> {
            let first = self.with_work(|work| !std::mem::replace(&mut work.ended, true))?;
            if first {
                self.src.push_event(gst::event::Eos::new());
            }
            Ok(())
        }

        fn event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
            match event.view() {
                gst::EventView::Caps(caps) => self.rename_rate(caps.caps()),
                gst::EventView::Segment(_) => self.begin(event.seqnum()),
                gst::EventView::Eos(_) => self.finish().is_ok(),
                _ => gst::Pad::event_default(pad, Some(&*self.obj()), event),
            }
        }

        fn rename_rate(&self, caps: &gst::CapsRef) -> bool {
            let Ok(rate) = self.with_work(|work| work.order.chunk.rate) else {
                return false;
            };
            let (Ok(num), Ok(den)) = (i32::try_from(rate.num), i32::try_from(rate.den)) else {
                return false;
            };
            let mut caps = caps.to_owned();
            caps.make_mut()
                .set("framerate", gst::Fraction::new(num, den));
            self.src.push_event(gst::event::Caps::new(&caps))
        }

        /// One segment from 0 on, whatever comes.
        fn begin(&self, seqnum: gst::Seqnum) -> bool {
            let Ok(false) = self.with_work(|work| std::mem::replace(&mut work.began, true)) else {
                return true;
            };
            let plain = gst::FormattedSegment::<gst::ClockTime>::new();
            let plain = gst::event::Segment::builder(&plain).seqnum(seqnum).build();
            self.src.push_event(plain)
        }

        fn finish(&self) -> Result<(), gst::FlowError> {
            let (left, trouble) =
                self.with_work(|work| (work.finish(), work.order.trouble.clone()))?;
            match left {
                Ok(Some(made)) => self.push(made)?,
                Ok(None) => {}
                Err(failure) => {
                    let message = failure.message.clone();
                    trouble.note(failure);
                    gst::element_imp_error!(self, gst::StreamError::Failed, ["{message}"]);
                    return Err(gst::FlowError::Error);
                }
            }
            self.end()
        }

        fn query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
            if let gst::QueryViewMut::Allocation(asked) = query.view_mut() {
                // What is downstream reads pictures wherever their lines lie: without this a
                // decoder would copy each of them.
                asked.add_allocation_meta::<gst_video::VideoMeta>(None);
                return true;
            }
            gst::Pad::query_default(pad, Some(&*self.obj()), query)
        }
    }
}
