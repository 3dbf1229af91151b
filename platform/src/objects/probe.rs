//! Whether a lock really locks: tried on an object at start, not believed.
//!
//! S3 stores differ in what they do with a lock that they do not have: some refuse it, some take the words and keep
//! nothing. So an object is put with a lock of [`KEPT`], and then somebody (we) tries to get rid of it in every way there
//! is: removing that version, ending its time earlier, putting another one in its place. Each start leaves one such object
//! behind, of a few bytes; a rule of the bucket may remove those whose time is over.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::{
    error::SdkError,
    primitives::{ByteStream, DateTime},
    types::{ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode},
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use chrono::Utc;

use super::{Objects, ObjectsError, StartError, Store, status};
use crate::random;

/// Where the objects of probes are.
const FOLDER: &str = ".tambo/lock-probes";
/// How long an object of a probe is kept; longer than the clocks of two machines differ.
const KEPT: Duration = Duration::from_secs(900);

impl Objects {
    /// Looks whether a locked object stays.
    ///
    /// # Errors
    /// It does not, or that cannot be seen now.
    pub(super) async fn prove_lock(&self, now: chrono::DateTime<Utc>) -> Result<(), StartError> {
        let bucket = self.0.bucket.clone();
        match self.try_lock(now).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(StartError::NoLock { bucket, why: why.to_owned() }),
            Err(ObjectsError::Refused(why)) => Err(StartError::NoLock { bucket, why }),
            Err(error) => Err(StartError::Unproven { bucket, error }),
        }
    }

    async fn try_lock(&self, now: chrono::DateTime<Utc>) -> Result<Result<(), &'static str>, ObjectsError> {
        let Store { client, bucket, .. } = &*self.0;
        let key = format!("{FOLDER}/{:032x}", random::bits());
        let until = SystemTime::from(now) + KEPT;
        let put = client
            .put_object()
            .bucket(bucket)
            .key(&key)
            .body(ByteStream::from_static(b"kept"))
            .object_lock_mode(ObjectLockMode::Compliance)
            .object_lock_retain_until_date(DateTime::from(until))
            .send();
        let put = self.asked(put).await?;
        let Some(version) = put.version_id().filter(|version| *version != "null") else {
            return Ok(Err("it keeps no versions, and a lock is of a version"));
        };
        let remove = client.delete_object().bucket(bucket).key(&key).version_id(version).send().await;
        if self.is_done(remove)? {
            return Ok(Err("an object with a lock was removed"));
        }
        let earlier = ObjectLockRetention::builder()
            .mode(ObjectLockRetentionMode::Compliance)
            .retain_until_date(DateTime::from(until - KEPT / 2))
            .build();
        let shorten = client.put_object_retention().bucket(bucket).key(&key).version_id(version);
        if self.is_done(shorten.retention(earlier).send().await)? {
            return Ok(Err("the time of a lock was made shorter"));
        }
        let other = client.put_object().bucket(bucket).key(&key).body(ByteStream::from_static(b"changed"));
        self.is_done(other.send().await)?;
        let kept = client.get_object().bucket(bucket).key(&key).version_id(version).send();
        let kept = self.asked(kept).await?.body.collect().await;
        let kept = kept.map_err(|error| ObjectsError::Unreachable(error.to_string()))?;
        Ok(if kept.to_vec() == b"kept" { Ok(()) } else { Err("an object with a lock was changed") })
    }

    /// Whether the store has done it, rather than refused it.
    fn is_done<T, E>(&self, answer: Result<T, SdkError<E, HttpResponse>>) -> Result<bool, ObjectsError>
    where
        E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        match answer {
            Ok(_) => Ok(true),
            Err(error) if matches!(status(&error), Some(400 | 403 | 409)) => Ok(false),
            Err(error) => Err(self.why(&error)),
        }
    }
}
