//! The bucket: its listings, and the table from the library's operations to ours.

use s3s::dto::*;
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};

use super::{Backend, etag, multipart, object, timestamp};
use crate::listing::{After, Entry, PAGE_MAX, Page, page, url_encoded};

/// `s3s` is given a request's input by value, and has one method per operation.
#[async_trait::async_trait]
impl S3 for Backend {
    async fn put_object(
        &self,
        req: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        object::put(self, req).await
    }

    async fn get_object(
        &self,
        req: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        object::get(self, req).await
    }

    async fn head_object(
        &self,
        req: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        object::head(self, req)
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        object::delete(self, req).await
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        object::delete_many(self, req).await
    }

    async fn copy_object(
        &self,
        req: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        object::copy(self, req).await
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        multipart::create(self, req).await
    }

    async fn upload_part(
        &self,
        req: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        multipart::put_part(self, req).await
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        multipart::complete(self, req).await
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        multipart::abort(self, req).await
    }

    async fn list_parts(
        &self,
        req: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        multipart::list_parts(self, req)
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        multipart::list_uploads(self, req)
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        list(self, req.input).map(S3Response::new)
    }

    async fn list_object_versions(
        &self,
        req: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        list_versions(self, req.input).map(S3Response::new)
    }

    async fn head_bucket(
        &self,
        req: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.check_bucket(&req.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    /// The bucket is made with the store; making it again is "already so".
    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        if req.input.bucket != self.bucket {
            return Err(s3_error!(TooManyBuckets, "this store has one bucket"));
        }
        let location = Some(format!("/{}", self.bucket));
        Ok(S3Response::new(CreateBucketOutput { location }))
    }

    async fn list_buckets(
        &self,
        _req: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let bucket = Bucket {
            name: Some(self.bucket.clone()),
            ..Default::default()
        };
        let output = ListBucketsOutput {
            buckets: Some(vec![bucket]),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.check_bucket(&req.input.bucket)?;
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }
}

fn list(backend: &Backend, input: ListObjectsV2Input) -> S3Result<ListObjectsV2Output> {
    backend.check_bucket(&input.bucket)?;
    let spell = spelling(input.encoding_type.as_ref());
    let after = match (&input.continuation_token, &input.start_after) {
        (Some(token), _) => After::parse(token).ok_or_else(bad_token)?,
        (None, Some(key)) => After::Key(key.clone()),
        (None, None) => After::Start,
    };
    let prefix = input.prefix.clone().unwrap_or_default();
    let max = page_size(input.max_keys);
    let Page { entries, next } = page(
        &backend.store.state(),
        &prefix,
        input.delimiter.as_deref(),
        &after,
        max,
    );
    let key_count = i32::try_from(entries.len()).ok();
    let mut contents = vec![];
    let mut common_prefixes = vec![];
    for entry in entries {
        match entry {
            Entry::Prefix(prefix) => {
                common_prefixes.push(CommonPrefix {
                    prefix: Some(spell(&prefix)),
                });
            }
            Entry::Object(key, object) => contents.push(Object {
                key: Some(spell(&key)),
                size: i64::try_from(object.meta.size).ok(),
                e_tag: Some(etag(&object.meta.etag)),
                last_modified: Some(timestamp(object.meta.at_ms)),
                storage_class: Some(ObjectStorageClass::from_static(
                    ObjectStorageClass::STANDARD,
                )),
                ..Default::default()
            }),
        }
    }
    Ok(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: input.prefix.as_deref().map(&spell),
        delimiter: input.delimiter.as_deref().map(&spell),
        start_after: input.start_after.as_deref().map(&spell),
        continuation_token: input.continuation_token,
        encoding_type: input.encoding_type,
        max_keys: i32::try_from(max).ok(),
        key_count,
        is_truncated: Some(next.is_some()),
        next_continuation_token: next.map(|after| after.token()),
        contents: Some(contents),
        common_prefixes: Some(common_prefixes),
        ..Default::default()
    })
}

/// There is one version of each object, called `null` as in a bucket without versions.
fn list_versions(
    backend: &Backend,
    input: ListObjectVersionsInput,
) -> S3Result<ListObjectVersionsOutput> {
    backend.check_bucket(&input.bucket)?;
    let spell = spelling(input.encoding_type.as_ref());
    let after = match (&input.key_marker, input.delimiter.as_deref()) {
        (None, _) => After::Start,
        (Some(key), Some(delimiter)) if key.ends_with(delimiter) => After::Prefix(key.clone()),
        (Some(key), _) => After::Key(key.clone()),
    };
    let prefix = input.prefix.clone().unwrap_or_default();
    let max = page_size(input.max_keys);
    let Page { entries, next } = page(
        &backend.store.state(),
        &prefix,
        input.delimiter.as_deref(),
        &after,
        max,
    );
    let mut versions = vec![];
    let mut common_prefixes = vec![];
    for entry in entries {
        match entry {
            Entry::Prefix(prefix) => {
                common_prefixes.push(CommonPrefix {
                    prefix: Some(spell(&prefix)),
                });
            }
            Entry::Object(key, object) => versions.push(ObjectVersion {
                key: Some(spell(&key)),
                version_id: Some("null".into()),
                is_latest: Some(true),
                size: i64::try_from(object.meta.size).ok(),
                e_tag: Some(etag(&object.meta.etag)),
                last_modified: Some(timestamp(object.meta.at_ms)),
                ..Default::default()
            }),
        }
    }
    let next = next.map(|after| match after {
        After::Start => String::new(),
        After::Key(text) | After::Prefix(text) => text,
    });
    Ok(ListObjectVersionsOutput {
        name: Some(input.bucket),
        prefix: input.prefix.as_deref().map(&spell),
        delimiter: input.delimiter.as_deref().map(&spell),
        key_marker: input.key_marker.as_deref().map(&spell),
        encoding_type: input.encoding_type,
        max_keys: i32::try_from(max).ok(),
        is_truncated: Some(next.is_some()),
        next_key_marker: next.as_deref().map(&spell),
        versions: Some(versions),
        common_prefixes: Some(common_prefixes),
        ..Default::default()
    })
}

fn spelling(encoding: Option<&EncodingType>) -> impl Fn(&str) -> String + use<> {
    let is_url = encoding.is_some_and(|it| it.as_str() == EncodingType::URL);
    move |text| {
        if is_url {
            url_encoded(text)
        } else {
            text.to_owned()
        }
    }
}

fn page_size(max_keys: Option<i32>) -> usize {
    max_keys.map_or(PAGE_MAX, |max| {
        usize::try_from(max).unwrap_or(0).min(PAGE_MAX)
    })
}

fn bad_token() -> S3Error {
    s3_error!(InvalidArgument, "the continuation token is not one of ours")
}
