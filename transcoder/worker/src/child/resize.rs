//! The element that scales pictures to the size of a rendition.
//!
//! # Invariants
//!
//! * The whole picture fills the whole result, in square pixels: who asks for a size has kept
//!   the aspect.
//! * A picture of the right size passes as it is.

use gst::prelude::*;
use gstreamer as gst;
use gstreamer::glib;
use gstreamer_base as gst_base;
use gstreamer_video as gst_video;

use super::front_end::missing;
use crate::failure::Failure;

/// How the element is called in the text of a graph.
pub(crate) const NAME: &str = "kinologscale";

glib::wrapper! {
    pub struct Resize(ObjectSubclass<imp::Resize>)
        @extends gst_video::VideoFilter, gst_base::BaseTransform, gst::Element, gst::Object;
}

/// Lets graphs name the element.
pub(crate) fn register() -> Result<(), Failure> {
    gst::Element::register(None, NAME, gst::Rank::NONE, Resize::static_type())
        .map_err(|_| missing(NAME))
}

mod imp {
    use std::sync::{LazyLock, Mutex};

    use gst_base::subclass::prelude::*;
    use gst_video::prelude::*;
    use gst_video::subclass::prelude::*;
    use gst_video::{VideoFormat, VideoFrameRef, VideoInfo};
    use scale::{Plane, Scaler, Size};

    use super::{glib, gst, gst_base, gst_video};

    /// One for the brightness, one for both planes of colour.
    struct Scalers {
        luma: Scaler,
        chroma: Scaler,
    }

    #[derive(Default)]
    pub struct Resize {
        scalers: Mutex<Option<Scalers>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Resize {
        const NAME: &'static str = "KinologResize";
        type Type = super::Resize;
        type ParentType = gst_video::VideoFilter;
    }

    impl ObjectImpl for Resize {}

    impl GstObjectImpl for Resize {}

    impl ElementImpl for Resize {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
                gst::subclass::ElementMetadata::new(
                    "Scale",
                    "Filter/Converter/Video/Scaler",
                    "Scales 8-bit pictures",
                    "Kinolog",
                )
            });
            Some(&METADATA)
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
                let caps = gst_video::VideoCapsBuilder::new()
                    .format(VideoFormat::I420)
                    .build();
                let ends = [
                    ("sink", gst::PadDirection::Sink),
                    ("src", gst::PadDirection::Src),
                ];
                ends.map(|(name, direction)| {
                    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps)
                        .expect("a pad of raw video is valid")
                })
                .into()
            });
            &TEMPLATES
        }
    }

    impl BaseTransformImpl for Resize {
        const MODE: gst_base::subclass::BaseTransformMode =
            gst_base::subclass::BaseTransformMode::NeverInPlace;
        const PASSTHROUGH_ON_SAME_CAPS: bool = true;
        const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

        fn transform_caps(
            &self,
            _: gst::PadDirection,
            caps: &gst::Caps,
            filter: Option<&gst::Caps>,
        ) -> Option<gst::Caps> {
            let mut other = caps.clone();
            for structure in other.make_mut().iter_mut() {
                for side in ["width", "height"] {
                    structure.set(side, gst::IntRange::new(1, i32::MAX));
                }
                structure.remove_field("pixel-aspect-ratio");
            }
            Some(match filter {
                Some(filter) => filter.intersect_with_mode(&other, gst::CapsIntersectMode::First),
                None => other,
            })
        }
    }

    impl VideoFilterImpl for Resize {
        fn set_info(
            &self,
            _: &gst::Caps,
            from: &VideoInfo,
            _: &gst::Caps,
            to: &VideoInfo,
        ) -> Result<(), gst::LoggableError> {
            let plane = |info: &VideoInfo, number: usize| Size {
                width: info.comp_width(number as u8) as usize,
                height: info.comp_height(number as u8) as usize,
            };
            let scalers = Scalers {
                luma: Scaler::new(plane(from, 0), plane(to, 0)),
                chroma: Scaler::new(plane(from, 1), plane(to, 1)),
            };
            *self.scalers.lock().expect("no picture panics") = Some(scalers);
            Ok(())
        }

        fn transform_frame(
            &self,
            from: &VideoFrameRef<&gst::BufferRef>,
            to: &mut VideoFrameRef<&mut gst::BufferRef>,
        ) -> Result<gst::FlowSuccess, gst::FlowError> {
            let mut scalers = self.scalers.lock().expect("no picture panics");
            let scalers = scalers.as_mut().ok_or(gst::FlowError::NotNegotiated)?;
            for number in 0..3 {
                let stride = from.plane_stride()[number as usize] as usize;
                let bytes = from.plane_data(number).map_err(|_| gst::FlowError::Error)?;
                let to_stride = to.plane_stride()[number as usize] as usize;
                let out = to
                    .plane_data_mut(number)
                    .map_err(|_| gst::FlowError::Error)?;
                let scaler = match number {
                    0 => &mut scalers.luma,
                    _ => &mut scalers.chroma,
                };
                scaler.scale(Plane { bytes, stride }, out, to_stride);
            }
            Ok(gst::FlowSuccess::Ok)
        }
    }
}
