//! Objects: bytes under a key in a bucket of any store that speaks S3.
//!
//! **Promise.** A process has one bucket and sees no other. Whoever works for one environment has a [`Folder`], from which
//! no key of another environment can be named. What was put once is not changed: [`Folder::put_new`] never overwrites, so
//! that a repetition after a death finds what the first run did. No key or secret is ever logged.
//!
//! **Stores.** With `folder` in the configuration the store is in this process, on loopback, for one process on one
//! machine (`local`); with `endpoint` it is any S3. Both are spoken to in the same way, over [`Egress`].
//!
//! **What is not promised.** The embedded store neither locks nor encrypts, and does not wait for the disk: a machine that
//! loses power may lose what was put in the last seconds. Where the bucket keeps versions, removing an object leaves its
//! older versions to the rules of the bucket.
//!
//! **Cost.** One request per call, never repeated here: whoever calls repeats, and decides how long it waits.

mod carrier;
mod config;
mod link;
mod local;
mod probe;

use std::{fmt, future::Future, io, sync::Arc, time::Duration};

use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation,
        SharedCredentialsProvider, retry::RetryConfig, timeout::TimeoutConfig,
    },
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
    types::{Delete, ObjectIdentifier},
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use tokio_util::task::AbortOnDropHandle;

use self::{
    carrier::Carrier,
    config::{Bucket, Place},
};
use crate::{ctx::Clock, egress::Egress};

pub use self::{
    config::ObjectsConfig,
    link::{Link, LinkError, Upload},
};

/// The most objects that one call lists or removes.
pub const PAGE: i32 = 500;

/// Why there is no answer, or not the wanted one. The text names no secret.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// No answer, or one that says "not now". What was asked for may have happened.
    #[error("the object store cannot be reached: {0}")]
    Unreachable(String),
    /// The store does not know the access key, or does not let it do this.
    #[error("the object store refuses the access key: {0}")]
    Denied(String),
    /// There is no such bucket.
    #[error("the bucket {0} is not there")]
    NoBucket(String),
    /// This process cannot ask: its configuration stands in the way.
    #[error("the object store cannot be asked: {0}")]
    Configuration(String),
    /// The store refuses for another reason.
    #[error("the object store refuses: {0}")]
    Refused(String),
    /// The key has characters that are not for keys, or leads out of its folder. A mistake of this program.
    #[error("`{0}` is not a key of an object")]
    Key(String),
}

impl ObjectsError {
    /// Why, as a stable word.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "Unreachable",
            Self::Denied(_) => "Denied",
            Self::NoBucket(_) => "BucketMissing",
            Self::Configuration(_) => "Misconfigured",
            Self::Refused(_) => "Refused",
            Self::Key(_) => "BadKey",
        }
    }
}

/// Why a process has no object store.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration was not checked.
    #[error("[objects] holds either `folder`, or `endpoint`, `region`, `bucket` and two files")]
    Configuration,
    /// The embedded store cannot use its folder.
    #[error("the embedded object store cannot use {folder}: {error}")]
    Folder {
        /// Which folder.
        folder: String,
        /// Why.
        error: io::Error,
    },
    /// Another process has the folder.
    #[error(
        "another process has the objects in {0}: a folder is for one process, several need an `endpoint`"
    )]
    InUse(String),
    /// The embedded store's client cannot be made.
    #[error(transparent)]
    Egress(#[from] crate::egress::EgressError),
    /// The configuration promises locks.
    #[error(
        "objects.lock is true, and the bucket {bucket} does not lock: {why}. Either let the bucket have object lock and \
         versions (it is a setting made with the bucket), or set objects.lock to false and promise nobody what it does \
         not do"
    )]
    NoLock {
        /// Which bucket.
        bucket: String,
        /// What was seen.
        why: String,
    },
    /// The configuration promises locks, and whether there are any cannot be seen.
    #[error(
        "objects.lock is true, and whether the bucket {bucket} locks cannot be seen: {error}. The process starts when it \
         can be shown"
    )]
    Unproven {
        /// Which bucket.
        bucket: String,
        /// Why not.
        error: ObjectsError,
    },
}

/// What became of an object that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is there now.
    Made,
    /// One was there before, and stays as it is.
    There,
}

/// The objects of this process. Clones are the same ones.
#[derive(Clone)]
pub struct Objects(Arc<Store>);

struct Store {
    client: Client,
    bucket: String,
    /// The embedded store, which ends with the last clone.
    _local: Option<AbortOnDropHandle<()>>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Objects({})", self.0.bucket)
    }
}

impl Objects {
    /// Opens the store: starts the embedded one, or looks at nothing, for a store that is down now may be there later.
    /// Where the configuration promises locks, they are tried.
    ///
    /// # Errors
    /// The folder cannot be used, or what is promised is not so.
    pub async fn start(config: &ObjectsConfig, egress: &Egress, clock: &Clock) -> Result<Self, StartError> {
        let objects = match config.place().ok_or(StartError::Configuration)? {
            Place::Folder(folder) => {
                let local = local::start(&folder).await?;
                Self::of(&local.bucket, &local.egress, Some(local.server))
            }
            Place::Bucket(bucket) => Self::of(&bucket, egress, None),
        };
        if config.lock {
            objects.prove_lock(clock.now()).await?;
        }
        Ok(objects)
    }

    fn of(bucket: &Bucket, egress: &Egress, local: Option<AbortOnDropHandle<()>>) -> Self {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(bucket.region.clone()))
            .endpoint_url(&bucket.endpoint)
            .force_path_style(true)
            .credentials_provider(SharedCredentialsProvider::new(bucket.keys.clone()))
            // The files are read at each request.
            .identity_cache(IdentityCache::no_cache())
            .http_client(Carrier(egress.clone()))
            .retry_config(RetryConfig::disabled())
            // Every body is hashed into its request's signature already.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .timeout_config(TimeoutConfig::builder().operation_timeout(LONGEST).build())
            .build();
        let client = Client::from_conf(config);
        Self(Arc::new(Store { client, bucket: bucket.bucket.clone(), _local: local }))
    }

    /// The objects whose keys begin with `name/`.
    ///
    /// # Errors
    /// [`ObjectsError::Key`].
    pub fn folder(&self, name: &impl ToString) -> Result<Folder, ObjectsError> {
        let name = name.to_string();
        check_key(&name)?;
        Ok(Folder { objects: self.clone(), prefix: format!("{name}/") })
    }

    /// The names of folders after `after`, in their order, at most [`PAGE`].
    ///
    /// # Errors
    /// As [`ObjectsError`] says.
    pub async fn folders(&self, after: Option<&str>) -> Result<Vec<String>, ObjectsError> {
        let Store { client, bucket, .. } = &*self.0;
        // A sign that sorts after `/` and before everything in names: skips all that is in the folder itself.
        let after = after.map(|name| format!("{name}/\u{7f}"));
        let list = client.list_objects_v2().bucket(bucket).delimiter("/").max_keys(PAGE);
        let listed = self.asked(list.set_start_after(after).send()).await?;
        let names = listed.common_prefixes().iter().filter_map(|one| one.prefix());
        Ok(names.map(|name| name.trim_end_matches('/').to_owned()).collect())
    }

    async fn asked<T, E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static>(
        &self,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, ObjectsError> {
        request.await.map_err(|error| self.why(&error))
    }

    fn why<E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static>(
        &self,
        error: &SdkError<E, HttpResponse>,
    ) -> ObjectsError {
        let SdkError::ServiceError(answer) = error else {
            let text = DisplayErrorContext(error).to_string();
            return match error {
                SdkError::ConstructionFailure(_) => ObjectsError::Configuration(text),
                // A host that is not allowed, or the files of the access key.
                SdkError::DispatchFailure(failure) if failure.is_user() || failure.is_other() => {
                    ObjectsError::Configuration(text)
                }
                _ => ObjectsError::Unreachable(text),
            };
        };
        let status = answer.raw().status().as_u16();
        let code = answer.err().code().unwrap_or("without a code");
        let text = format!("{status} {code}");
        match (status, code) {
            (_, "NoSuchBucket") => ObjectsError::NoBucket(self.0.bucket.clone()),
            (401 | 403, _) | (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch") => {
                ObjectsError::Denied(text)
            }
            (409 | 429 | 500.., _) => ObjectsError::Unreachable(text),
            _ => ObjectsError::Refused(text),
        }
    }
}

/// How long a request may take, unless its caller is less patient.
const LONGEST: Duration = Duration::from_secs(20);

/// The objects of one environment, or of something else that has a name. Keys are relative to it.
#[derive(Debug, Clone)]
pub struct Folder {
    objects: Objects,
    prefix: String,
}

/// An object that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key in the folder.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
}

impl Folder {
    /// Puts an object, unless there is one of this key.
    ///
    /// # Errors
    /// As [`ObjectsError`] says; where there is no answer it may have been put.
    pub async fn put_new(&self, key: &str, content_type: &str, bytes: Vec<u8>) -> Result<Put, ObjectsError> {
        let Store { client, bucket, .. } = &*self.objects.0;
        let put = client.put_object().bucket(bucket).key(self.key(key)?).if_none_match("*");
        let put = put.content_type(content_type).body(ByteStream::from(bytes)).send().await;
        match put {
            Ok(_) => Ok(Put::Made),
            Err(error) if status(&error) == Some(412) => Ok(Put::There),
            Err(error) => Err(self.objects.why(&error)),
        }
    }

    /// The bytes of an object, if it is there and has no more than `limit`.
    ///
    /// # Errors
    /// As [`ObjectsError`] says; an object that is too large is [`ObjectsError::Refused`].
    pub async fn get(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, ObjectsError> {
        let Store { client, bucket, .. } = &*self.objects.0;
        let got = match client.get_object().bucket(bucket).key(self.key(key)?).send().await {
            Ok(got) => got,
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => {
                return Ok(None);
            }
            Err(error) => return Err(self.objects.why(&error)),
        };
        let too_large = || ObjectsError::Refused(format!("{key} has more than {limit} bytes"));
        let said = got.content_length().and_then(|length| u64::try_from(length).ok());
        if said.is_none_or(|length| length > limit) {
            return Err(too_large());
        }
        let bytes = got.body.collect().await.map_err(|error| ObjectsError::Unreachable(error.to_string()))?;
        Ok(Some(bytes.to_vec()))
    }

    /// The objects after the key `after`, in the order of their keys, at most [`PAGE`].
    ///
    /// # Errors
    /// As [`ObjectsError`] says.
    pub async fn list(&self, after: Option<&str>) -> Result<Vec<Listed>, ObjectsError> {
        let Store { client, bucket, .. } = &*self.objects.0;
        let after = after.map(|key| self.key(key)).transpose()?;
        let list = client.list_objects_v2().bucket(bucket).prefix(&self.prefix).max_keys(PAGE);
        let listed = self.objects.asked(list.set_start_after(after).send()).await?;
        let objects = listed.contents().iter().filter_map(|one| {
            let key = one.key()?.strip_prefix(&self.prefix)?.to_owned();
            let bytes = one.size().and_then(|bytes| u64::try_from(bytes).ok())?;
            Some(Listed { key, bytes })
        });
        Ok(objects.collect())
    }

    /// Removes the first [`PAGE`] objects; whether there were any.
    ///
    /// # Errors
    /// As [`ObjectsError`] says; some may have been removed.
    pub async fn remove_some(&self) -> Result<bool, ObjectsError> {
        let listed = self.list(None).await?;
        if listed.is_empty() {
            return Ok(false);
        }
        let Store { client, bucket, .. } = &*self.objects.0;
        let mut delete = Delete::builder().quiet(true);
        for one in &listed {
            let key = ObjectIdentifier::builder().key(format!("{}{}", self.prefix, one.key)).build();
            delete = delete.objects(key.map_err(|error| ObjectsError::Key(error.to_string()))?);
        }
        let delete = delete.build().map_err(|error| ObjectsError::Key(error.to_string()))?;
        let deleted = client.delete_objects().bucket(bucket).delete(delete).send();
        let deleted = self.objects.asked(deleted).await?;
        match deleted.errors().first() {
            None => Ok(true),
            Some(error) => {
                let (key, code) = (error.key().unwrap_or_default(), error.code().unwrap_or_default());
                Err(ObjectsError::Refused(format!("{key} is not removed: {code}")))
            }
        }
    }

    /// The whole key of an object of this folder.
    fn key(&self, key: &str) -> Result<String, ObjectsError> {
        check_key(key)?;
        Ok(format!("{}{key}", self.prefix))
    }
}

/// Names of `[a-z0-9_.-]` between slashes, none of which climbs; so that keys are paths everywhere, and lead nowhere else.
fn check_key(key: &str) -> Result<(), ObjectsError> {
    let name = |name: &str| {
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
        !matches!(name, "" | "." | "..") && name.bytes().all(plain)
    };
    if key.len() <= 128 && key.split('/').all(name) { Ok(()) } else { Err(ObjectsError::Key(key.to_owned())) }
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|answer| answer.status().as_u16())
}

#[test]
fn no_key_leads_out_of_its_folder() {
    for good in ["a", ".tambo", "export/transfers-000001.jsonl", "env_01jd4q8e7xf2r9k3m5n7p0s4t6"] {
        assert!(check_key(good).is_ok(), "{good}");
    }
    let long = "a".repeat(129);
    for bad in ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "A", "a b", "a\\b", "ä", "a%2f", &long] {
        assert!(check_key(bad).is_err(), "{bad}");
    }
}
