//! The source as a GStreamer element: every read is asked of the parent.
//!
//! # Invariants
//!
//! * Nothing is opened: the one descriptor was inherited.
//! * The size is known and reads may go anywhere, so demuxers run in pull mode.

use std::fs::File;
use std::sync::{Arc, Mutex};

use gst_base::prelude::*;
use gst_base::subclass::base_src::CreateSuccess;
use gst_base::subclass::prelude::*;
use gstreamer as gst;
use gstreamer::glib;
use gstreamer_base as gst_base;

use crate::wire;

/// The child's end of the source.
#[derive(Clone)]
pub(crate) struct SourceLink {
    socket: Arc<Mutex<File>>,
    pub(crate) size: u64,
}

impl SourceLink {
    pub(crate) fn new(socket: File, size: u64) -> Self {
        SourceLink {
            socket: Arc::new(Mutex::new(socket)),
            size,
        }
    }

    /// Reads at most `length` bytes; fewer only at the end of the source.
    pub(crate) fn read(&self, offset: u64, length: u32) -> std::io::Result<Vec<u8>> {
        let left = self.size.saturating_sub(offset);
        let length = u64::from(length.min(wire::READ_BYTES_MAX)).min(left) as u32;
        if length == 0 {
            return Ok(Vec::new());
        }
        let mut socket = self
            .socket
            .lock()
            .map_err(|_| std::io::Error::other("another reader panicked"))?;
        wire::read_source(&mut *socket, offset, length)
    }
}

glib::wrapper! {
    /// The element; made directly, so it needs no name in a registry.
    pub struct ParentSrc(ObjectSubclass<imp::ParentSrc>)
        @extends gst_base::BaseSrc, gst::Element, gst::Object;
}

impl ParentSrc {
    pub(crate) fn new(link: SourceLink) -> Self {
        let element: Self = glib::Object::new();
        element.set_blocksize(256 << 10);
        element.imp().attach(link);
        element
    }
}

mod imp {
    use std::sync::LazyLock;

    use super::*;
    use super::{
        Arc, BaseSrcImpl, CreateSuccess, ElementImpl, GstObjectImpl, Mutex, ObjectImpl,
        ObjectSubclass, SourceLink, glib, gst, gst_base,
    };

    #[derive(Default)]
    pub struct ParentSrc {
        link: Arc<Mutex<Option<SourceLink>>>,
    }

    impl ParentSrc {
        pub(super) fn attach(&self, link: SourceLink) {
            *self.link.lock().expect("the link is only swapped") = Some(link);
        }

        fn link(&self) -> Option<SourceLink> {
            self.link.lock().expect("the link is only swapped").clone()
        }
    }

    #[glib::object_subclass]
    impl ObjectSubclass for ParentSrc {
        const NAME: &'static str = "KinologParentSrc";
        type Type = super::ParentSrc;
        type ParentType = gst_base::BaseSrc;
    }

    impl ObjectImpl for ParentSrc {
        fn constructed(&self) {
            self.parent_constructed();
            self.obj().set_format(gst::Format::Bytes);
        }
    }

    impl GstObjectImpl for ParentSrc {}

    impl ElementImpl for ParentSrc {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
                gst::subclass::ElementMetadata::new(
                    "Source read through the parent",
                    "Source",
                    "Asks the parent process for ranges of bytes",
                    "Kinolog",
                )
            });
            Some(&METADATA)
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
                vec![
                    gst::PadTemplate::new(
                        "src",
                        gst::PadDirection::Src,
                        gst::PadPresence::Always,
                        &gst::Caps::new_any(),
                    )
                    .expect("a source pad of any caps is valid"),
                ]
            });
            &TEMPLATES
        }
    }

    impl BaseSrcImpl for ParentSrc {
        fn start(&self) -> Result<(), gst::ErrorMessage> {
            Ok(())
        }

        fn stop(&self) -> Result<(), gst::ErrorMessage> {
            Ok(())
        }

        fn is_seekable(&self) -> bool {
            true
        }

        fn size(&self) -> Option<u64> {
            self.link().map(|link| link.size)
        }

        fn create(
            &self,
            offset: u64,
            _buffer: Option<&mut gst::BufferRef>,
            length: u32,
        ) -> Result<CreateSuccess, gst::FlowError> {
            let link = self.link().ok_or(gst::FlowError::Error)?;
            if offset >= link.size {
                return Err(gst::FlowError::Eos);
            }
            let mut bytes = Vec::new();
            while bytes.len() < length as usize {
                let at = offset + bytes.len() as u64;
                let part = link
                    .read(at, length - bytes.len() as u32)
                    .map_err(|error| {
                        gst::element_imp_error!(
                            self,
                            gst::ResourceError::Read,
                            ["the source could not be read: {error}"]
                        );
                        gst::FlowError::Error
                    })?;
                if part.is_empty() {
                    break;
                }
                if bytes.is_empty() {
                    bytes = part;
                } else {
                    bytes.extend_from_slice(&part);
                }
            }
            let mut made = gst::Buffer::from_mut_slice(bytes);
            let end = offset + made.size() as u64;
            let buffer = made.get_mut().expect("the buffer was just made");
            buffer.set_offset(offset);
            buffer.set_offset_end(end);
            // When a buffer was handed in, the caller's is replaced: only for pull callers
            // that bring their own memory, which get a copy.
            if let Some(given) = _buffer {
                let map = made.map_readable().map_err(|_| gst::FlowError::Error)?;
                given
                    .copy_from_slice(0, &map)
                    .map_err(|_| gst::FlowError::Error)?;
                given.set_size(map.size());
                return Ok(CreateSuccess::FilledBuffer);
            }
            Ok(CreateSuccess::NewBuffer(made))
        }
    }
}
