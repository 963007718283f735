//! Small commands, for tests that are about how they travel and not about what they say.

use domain::{
    id::{CommandId, Owner, VideoId},
    video::{By, Changes, Command, Declared, Details, Priority, Visibility},
};
use eventlog::Envelope;
use uuid::Uuid;

pub const VIDEO: VideoId = VideoId(Uuid::from_u128(0xa));

pub fn by(command: u128) -> Envelope {
    Envelope::new(CommandId(Uuid::from_u128(command)), "ada")
}

pub fn request() -> Command {
    Command::RequestUpload {
        video: VIDEO,
        owner: owner(),
        details: Details {
            title: "a walk".to_owned(),
            description: String::new(),
            tags: vec![],
            visibility: Visibility::Public,
        },
        declared: Declared {
            file_name: "walk.mp4".to_owned(),
            content_type: "video/mp4".to_owned(),
            size_bytes: 7,
            checksum_sha256: None,
        },
        key: "sources/a/original".to_owned(),
        expires_at_ms: 10,
        priority: Priority::Normal,
        at_ms: 1,
    }
}

pub fn rename(title: &str) -> Command {
    Command::ChangeDetails {
        by: By::Owner(owner()),
        changes: Changes {
            title: Some(title.to_owned()),
            ..Changes::default()
        },
        at_ms: 2,
    }
}

pub fn owner() -> Owner {
    Owner("ada".to_owned())
}
