//! Links that let somebody else put or get one object, for a while, without a key.

use std::time::Duration;

use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, TimeDelta, Utc};

use super::{Folder, ObjectsError, Store};
use crate::ctx::Clock;

/// The longest that a link is good for. Whoever has it needs nothing else, so it is short.
pub const LONGEST: TimeDelta = TimeDelta::hours(1);
/// The largest object of one request in S3.
pub const LARGEST: u64 = 5 << 30;

/// An object that somebody else is to put.
#[derive(Debug, Clone, Copy)]
pub struct Upload<'a> {
    /// Its key in the folder.
    pub key: &'a str,
    /// What it says that it is.
    pub content_type: &'a str,
    /// Its exact size.
    pub bytes: u64,
    /// The SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

/// A request that is good without a key until it expires. It is a secret: whoever has it may do it.
#[derive(Clone, PartialEq, Eq)]
pub struct Link {
    /// How.
    pub method: String,
    /// Where.
    pub url: String,
    /// What has to be sent along, word for word: the signature holds for that only.
    pub headers: Vec<(String, String)>,
    /// Until when.
    pub expires_at: DateTime<Utc>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link({} until {})", self.method, self.expires_at)
    }
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It would be good for too long, or not at all.
    #[error("a link is good for 1 to {} seconds", LONGEST.num_seconds())]
    Life,
    /// It is empty or larger than one request may carry.
    #[error("an object that is uploaded has 1 to {LARGEST} bytes")]
    Size,
    /// It cannot be signed.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
}

impl Folder {
    /// A link to put an object once: of this size, type and content, and only if there is none of this key. The bytes go
    /// to the store and never through this process; whether they have the size and hash is the store's to look at.
    ///
    /// # Errors
    /// [`LinkError`]. Nothing is asked of the store.
    pub async fn upload_link(
        &self,
        upload: &Upload<'_>,
        clock: &Clock,
        life: TimeDelta,
    ) -> Result<Link, LinkError> {
        let bytes = i64::try_from(upload.bytes).ok().filter(|_| (1..=LARGEST).contains(&upload.bytes));
        let (config, expires_at) = config(clock, life)?;
        let Store { client, bucket, .. } = &*self.objects.0;
        let put = client
            .put_object()
            .bucket(bucket)
            .key(self.key(upload.key)?)
            .content_type(upload.content_type)
            .content_length(bytes.ok_or(LinkError::Size)?)
            .checksum_sha256(STANDARD.encode(upload.sha256))
            .if_none_match("*")
            .presigned(config)
            .await;
        Ok(link(&put.map_err(|error| self.objects.why(&error))?, expires_at))
    }

    /// A link to get an object, which a browser saves under `name`.
    ///
    /// # Errors
    /// [`LinkError`]. Nothing is asked of the store: the object may not be there.
    pub async fn download_link(
        &self,
        key: &str,
        name: &str,
        clock: &Clock,
        life: TimeDelta,
    ) -> Result<Link, LinkError> {
        super::check_key(name)?;
        let (config, expires_at) = config(clock, life)?;
        let Store { client, bucket, .. } = &*self.objects.0;
        let get = client
            .get_object()
            .bucket(bucket)
            .key(self.key(key)?)
            .response_content_disposition(format!("attachment; filename=\"{}\"", name.replace('/', "_")))
            .presigned(config)
            .await;
        Ok(link(&get.map_err(|error| self.objects.why(&error))?, expires_at))
    }
}

fn config(clock: &Clock, life: TimeDelta) -> Result<(PresigningConfig, DateTime<Utc>), LinkError> {
    let valid = life.to_std().ok().filter(|valid| *valid >= Duration::from_secs(1) && life <= LONGEST);
    let valid = valid.ok_or(LinkError::Life)?;
    let now = clock.now();
    let config = PresigningConfig::builder().start_time(now.into()).expires_in(valid).build();
    Ok((config.map_err(|_| LinkError::Life)?, now.checked_add_signed(life).unwrap_or(now)))
}

fn link(signed: &PresignedRequest, expires_at: DateTime<Utc>) -> Link {
    let headers = signed.headers().map(|(name, value)| (name.to_owned(), value.to_owned()));
    Link {
        method: signed.method().to_owned(),
        url: signed.uri().to_owned(),
        headers: headers.collect(),
        expires_at,
    }
}
