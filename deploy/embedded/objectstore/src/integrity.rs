//! What a client says its bytes hash to, and whether they do.
//!
//! Checked before anything becomes visible. SHA-256 and MD5 are computed for every body;
//! the other algorithms only where the client names one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1};
use s3s::dto::{Checksum, ChecksumAlgorithm};
use s3s::{S3Error, S3Result, TrailingHeaders, s3_error};

use crate::blob::Received;

/// The digests a request announces, in its headers or for its trailer.
#[derive(Default)]
pub(crate) struct Expected {
    /// Base64, as it came.
    pub(crate) md5: Option<String>,
    pub(crate) checksum: Checksum,
    /// Announced for the trailer.
    pub(crate) algorithm: Option<ChecksumAlgorithm>,
    pub(crate) trailer: Option<TrailingHeaders>,
}

impl Expected {
    /// What has to be computed besides MD5 and SHA-256.
    pub(crate) fn hasher(&self) -> ChecksumHasher {
        let named = |name: &str| {
            self.algorithm
                .as_ref()
                .is_some_and(|it| it.as_str() == name)
        };
        let wanted = |given: &Option<String>, name| given.is_some() || named(name);
        let sum = &self.checksum;
        ChecksumHasher {
            crc32: wanted(&sum.checksum_crc32, ChecksumAlgorithm::CRC32).then(Crc32::new),
            crc32c: wanted(&sum.checksum_crc32c, ChecksumAlgorithm::CRC32C).then(Crc32c::new),
            sha1: wanted(&sum.checksum_sha1, ChecksumAlgorithm::SHA1).then(Sha1::new),
            sha256: None,
            crc64nvme: wanted(&sum.checksum_crc64nvme, ChecksumAlgorithm::CRC64NVME)
                .then(Crc64Nvme::new),
        }
    }

    /// Refuses a body that is not what was announced; otherwise its checksums.
    pub(crate) fn verify(mut self, received: &Received) -> S3Result<Checksum> {
        if let Some(md5) = &self.md5 {
            let md5 = STANDARD
                .decode(md5)
                .ok()
                .filter(|digest| digest.len() == 16);
            let md5 = md5.ok_or_else(|| s3_error!(InvalidDigest, "Content-MD5 is not an MD5"))?;
            if md5 != received.md5 {
                return Err(bad_digest("Content-MD5"));
            }
        }
        if let Some(trailer) = self.trailer.take() {
            let headers = trailer.take().unwrap_or_default();
            self.take_trailer(&headers)?;
        }
        let mut computed = received.checksum.clone();
        computed.checksum_sha256 = Some(STANDARD.encode(received.sha256));
        let pairs = [
            (
                "x-amz-checksum-sha256",
                &self.checksum.checksum_sha256,
                &computed.checksum_sha256,
            ),
            (
                "x-amz-checksum-crc32",
                &self.checksum.checksum_crc32,
                &computed.checksum_crc32,
            ),
            (
                "x-amz-checksum-crc32c",
                &self.checksum.checksum_crc32c,
                &computed.checksum_crc32c,
            ),
            (
                "x-amz-checksum-sha1",
                &self.checksum.checksum_sha1,
                &computed.checksum_sha1,
            ),
            (
                "x-amz-checksum-crc64nvme",
                &self.checksum.checksum_crc64nvme,
                &computed.checksum_crc64nvme,
            ),
        ];
        for (name, expected, actual) in pairs {
            if expected.is_some() && expected != actual {
                return Err(bad_digest(name));
            }
        }
        Ok(computed)
    }

    /// A checksum announced for the trailer must be there.
    fn take_trailer(&mut self, headers: &HeaderMap) -> S3Result<()> {
        let Some(algorithm) = &self.algorithm else {
            return Ok(());
        };
        let name = format!("x-amz-checksum-{}", algorithm.as_str().to_ascii_lowercase());
        let value = headers
            .get(&name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let field = match algorithm.as_str() {
            ChecksumAlgorithm::CRC32 => &mut self.checksum.checksum_crc32,
            ChecksumAlgorithm::CRC32C => &mut self.checksum.checksum_crc32c,
            ChecksumAlgorithm::CRC64NVME => &mut self.checksum.checksum_crc64nvme,
            ChecksumAlgorithm::SHA1 => &mut self.checksum.checksum_sha1,
            ChecksumAlgorithm::SHA256 => &mut self.checksum.checksum_sha256,
            _ => {
                return Err(s3_error!(
                    InvalidRequest,
                    "the checksum algorithm is unknown"
                ));
            }
        };
        if field.is_none() {
            *field = value;
        }
        if field.is_none() {
            return Err(s3_error!(
                InvalidRequest,
                "the announced checksum trailer is missing"
            ));
        }
        Ok(())
    }
}

fn bad_digest(name: &str) -> S3Error {
    s3_error!(
        BadDigest,
        "the {name} you specified did not match what we received"
    )
}
