//! The element that makes 8-bit SDR of whatever was decoded.
//!
//! # Invariants
//!
//! * What leaves is 8-bit 4:2:0 of limited range, SDR, and its caps say so: they become the
//!   tags of the stream and of the file.
//! * Ordinary colours of television (BT.601, BT.709, or not told) keep their tags; only depth
//!   and range are made to fit. All others become BT.709, see [`mapping`].
//! * What an HDR source says about its mastering does not describe what leaves, and is let go.

mod mapping;
mod table;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer::glib;
use gstreamer_base as gst_base;
use gstreamer_video as gst_video;
use gstreamer_video::{VideoColorimetry, VideoFormat};

use crate::failure::{Code, Failure};
use mapping::{Mapping, is_limited, is_ordinary};
use table::{Codes, Table};

/// How the element is called in the text of a graph.
pub(crate) const NAME: &str = "kinologsdr";

glib::wrapper! {
    pub struct ToSdr(ObjectSubclass<imp::ToSdr>)
        @extends gst_video::VideoFilter, gst_base::BaseTransform, gst::Element, gst::Object;
}

/// Lets graphs name the element.
pub(crate) fn register() -> Result<(), Failure> {
    gst::Element::register(None, NAME, gst::Rank::NONE, ToSdr::static_type()).map_err(|_| {
        Failure::new(
            Code::ProcessingCrashed,
            "the worker could not register its colours",
        )
    })
}

/// What the colours of a source come out as.
fn colours_out(colorimetry: &VideoColorimetry) -> VideoColorimetry {
    if !is_ordinary(colorimetry) {
        return VideoColorimetry::new(
            gst_video::VideoColorRange::Range16_235,
            gst_video::VideoColorMatrix::Bt709,
            gst_video::VideoTransferFunction::Bt709,
            gst_video::VideoColorPrimaries::Bt709,
        );
    }
    VideoColorimetry::new(
        gst_video::VideoColorRange::Range16_235,
        colorimetry.matrix(),
        colorimetry.transfer(),
        colorimetry.primaries(),
    )
}

/// The way from these pictures to SDR; `None` where they are it.
fn table(info: &gst_video::VideoInfo) -> Option<Table> {
    let colorimetry = info.colorimetry();
    let codes = Codes {
        limited: is_limited(&colorimetry),
        ten_bits: info.format() == VideoFormat::I42010le,
    };
    if !is_ordinary(&colorimetry) {
        return Some(Table::colours(&Mapping::of(&colorimetry), codes));
    }
    (codes.ten_bits || !codes.limited).then(|| Table::levels(codes))
}

mod imp {
    use std::sync::{LazyLock, Mutex};

    use gst_base::subclass::prelude::*;
    use gst_video::prelude::*;
    use gst_video::subclass::prelude::*;
    use gst_video::{VideoFormat, VideoFrameRef, VideoInfo};

    use super::table::{Dither, OutRows, Rows, Table};
    use super::{colours_out, glib, gst, gst_base, gst_video, table};

    #[derive(Default)]
    pub struct ToSdr {
        table: Mutex<Option<Table>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for ToSdr {
        const NAME: &'static str = "KinologToSdr";
        type Type = super::ToSdr;
        type ParentType = gst_video::VideoFilter;
    }

    impl ObjectImpl for ToSdr {}

    impl GstObjectImpl for ToSdr {}

    impl ElementImpl for ToSdr {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
                gst::subclass::ElementMetadata::new(
                    "To SDR",
                    "Filter/Converter/Video",
                    "Makes 8-bit SDR of limited range of any colours",
                    "Kinolog",
                )
            });
            Some(&METADATA)
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
                let pad = |name, direction, formats: &[VideoFormat]| {
                    let caps = gst_video::VideoCapsBuilder::new()
                        .format_list(formats.iter().copied())
                        .build();
                    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps)
                        .expect("a pad of raw video is valid")
                };
                let sink = [VideoFormat::I420, VideoFormat::I42010le];
                vec![
                    pad("sink", gst::PadDirection::Sink, &sink),
                    pad("src", gst::PadDirection::Src, &[VideoFormat::I420]),
                ]
            });
            &TEMPLATES
        }
    }

    impl BaseTransformImpl for ToSdr {
        const MODE: gst_base::subclass::BaseTransformMode =
            gst_base::subclass::BaseTransformMode::NeverInPlace;
        const PASSTHROUGH_ON_SAME_CAPS: bool = false;
        const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

        fn transform_caps(
            &self,
            direction: gst::PadDirection,
            caps: &gst::Caps,
            filter: Option<&gst::Caps>,
        ) -> Option<gst::Caps> {
            let mut other = caps.clone();
            for structure in other.make_mut().iter_mut() {
                structure.remove_fields(["mastering-display-info", "content-light-level"]);
                let told = structure.get::<&str>("colorimetry").ok();
                let told = told.and_then(|told| told.parse().ok());
                if direction == gst::PadDirection::Src {
                    structure.remove_field("colorimetry");
                    let formats = [VideoFormat::I420, VideoFormat::I42010le];
                    structure.set("format", gst::List::new(formats.map(|f| f.to_str())));
                    continue;
                }
                structure.set("format", VideoFormat::I420.to_str());
                match told {
                    Some(told) => structure.set("colorimetry", colours_out(&told).to_string()),
                    None => structure.remove_field("colorimetry"),
                }
            }
            Some(match filter {
                Some(filter) => filter.intersect_with_mode(&other, gst::CapsIntersectMode::First),
                None => other,
            })
        }
    }

    impl VideoFilterImpl for ToSdr {
        fn set_info(
            &self,
            _: &gst::Caps,
            from: &VideoInfo,
            _: &gst::Caps,
            _: &VideoInfo,
        ) -> Result<(), gst::LoggableError> {
            let table = table(from);
            self.obj().set_passthrough(table.is_none());
            *self.table.lock().expect("no picture is mapped by a panic") = table;
            Ok(())
        }

        fn transform_frame(
            &self,
            from: &VideoFrameRef<&gst::BufferRef>,
            to: &mut VideoFrameRef<&mut gst::BufferRef>,
        ) -> Result<gst::FlowSuccess, gst::FlowError> {
            let table = self.table.lock().expect("no picture is mapped by a panic");
            let table = table.as_ref().ok_or(gst::FlowError::NotNegotiated)?;
            mapped(table, from, to).ok_or(gst::FlowError::Error)?;
            Ok(gst::FlowSuccess::Ok)
        }
    }

    fn mapped(
        table: &Table,
        from: &VideoFrameRef<&gst::BufferRef>,
        to: &mut VideoFrameRef<&mut gst::BufferRef>,
    ) -> Option<()> {
        let (width, height) = (from.width() as usize, from.height() as usize);
        let half = width.div_ceil(2);
        let wide = from.format() == VideoFormat::I42010le;
        let strides = [0, 1, 2].map(|n| from.plane_stride()[n] as usize);
        let to_strides = [0, 1, 2].map(|n| to.plane_stride()[n] as usize);
        let planes = [
            from.plane_data(0).ok()?,
            from.plane_data(1).ok()?,
            from.plane_data(2).ok()?,
        ];
        let [y, u, v, _] = to.planes_data_mut();

        let mut rows = Rows::default();
        let out = y
            .chunks_mut(2 * to_strides[0])
            .zip(u.chunks_mut(to_strides[1]))
            .zip(v.chunks_mut(to_strides[2]));
        for (row, ((y, u), v)) in out.take(height.div_ceil(2)).enumerate() {
            let pair = height.saturating_sub(2 * row).min(2);
            read(
                planes[0],
                strides[0],
                2 * row,
                width,
                wide,
                &mut rows.luma[0],
            )?;
            rows.luma[1].clear();
            if pair == 2 {
                read(
                    planes[0],
                    strides[0],
                    2 * row + 1,
                    width,
                    wide,
                    &mut rows.luma[1],
                )?;
            }
            read(planes[1], strides[1], row, half, wide, &mut rows.blue)?;
            read(planes[2], strides[2], row, half, wide, &mut rows.red)?;
            let (first, second) = y.split_at_mut_checked(to_strides[0].min(y.len()))?;
            let mut out = OutRows {
                luma: [first, second],
                blue: u,
                red: v,
            };
            table.rows(&rows, &Dither::from_row(2 * row), &mut out);
        }
        Some(())
    }

    /// One row as codes of 10 bits.
    fn read(
        plane: &[u8],
        stride: usize,
        row: usize,
        width: usize,
        wide: bool,
        codes: &mut Vec<u16>,
    ) -> Option<()> {
        codes.clear();
        let row = plane.get(row * stride..)?;
        if wide {
            let pairs = row.get(..2 * width)?.chunks_exact(2);
            codes.extend(pairs.map(|pair| u16::from_le_bytes([pair[0], pair[1]])));
        } else {
            codes.extend(row.get(..width)?.iter().map(|code| u16::from(*code) << 2));
        }
        Some(())
    }
}
