//! Where objects are kept, as the configuration says it.

use std::path::PathBuf;

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, error::CredentialsError, future::ProvideCredentials as ProvideFuture},
};
use serde::{Deserialize, Serialize};

use crate::config::Faults;

/// The `[objects]` table: either a `folder` of this machine, or a bucket of any store that speaks S3.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectsConfig {
    /// The folder of the embedded store, for one process on one machine; made if it is not there.
    pub folder: Option<PathBuf>,
    /// Where the store is: `https://host` or `https://host:port`, plain http on this machine only. The host has to be in
    /// `egress.allow`.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: Option<String>,
    /// The bucket, which has to be there.
    pub bucket: Option<String>,
    /// The file with the id of the access key. Read at each request, so that keys may change while the process runs.
    pub access_key_file: Option<PathBuf>,
    /// The file with the secret of the access key. As `access_key_file`.
    pub secret_key_file: Option<PathBuf>,
    /// Whether the store is to keep locked objects from everybody: the process does not start unless it does.
    #[serde(default)]
    pub lock: bool,
}

/// What [`ObjectsConfig`] comes to.
pub(super) enum Place {
    Folder(PathBuf),
    Bucket(Bucket),
}

pub(super) struct Bucket {
    pub endpoint: String,
    pub region: String,
    pub bucket: String,
    pub keys: KeyFiles,
}

impl ObjectsConfig {
    /// The embedded store in this folder.
    #[must_use]
    pub fn folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), ..Self::default() }
    }

    /// Adds what is wrong, as keys of the table `at`.
    pub fn check(&self, at: &str, faults: &mut Faults) {
        let Self { folder, endpoint, region, bucket, access_key_file, secret_key_file, lock } = self;
        if folder.is_some() == endpoint.is_some() {
            let reason = "hold either `folder` (the embedded store, one machine) or `endpoint` (any S3)";
            faults.add(at, reason);
            return;
        }
        if folder.is_some() {
            let alone =
                [region.is_none(), bucket.is_none(), access_key_file.is_none(), secret_key_file.is_none()];
            faults.unless(
                alone.iter().all(|absent| *absent),
                at,
                "have no other key than `folder`, where it has it",
            );
            faults.unless(
                !lock,
                &format!("{at}.lock"),
                "be false with `folder`: the embedded store has no locks",
            );
            return;
        }
        let there = [
            ("region", region.is_some()),
            ("bucket", bucket.is_some()),
            ("access_key_file", access_key_file.is_some()),
            ("secret_key_file", secret_key_file.is_some()),
        ];
        for (key, there) in there {
            faults.unless(there, &format!("{at}.{key}"), "be given with `endpoint`");
        }
        let url = endpoint.as_deref().and_then(|text| url::Url::parse(text).ok());
        let plain = url.is_some_and(|url| {
            matches!(url.scheme(), "https" | "http") && url.path() == "/" && url.query().is_none()
        });
        faults.unless(
            plain,
            &format!("{at}.endpoint"),
            "be `https://host` or `https://host:port`, without a path",
        );
    }

    /// Nothing if [`ObjectsConfig::check`] has something to say.
    pub(super) fn place(&self) -> Option<Place> {
        match (&self.folder, &self.endpoint) {
            (Some(folder), None) => Some(Place::Folder(folder.clone())),
            (None, Some(endpoint)) => Some(Place::Bucket(Bucket {
                endpoint: endpoint.clone(),
                region: self.region.clone()?,
                bucket: self.bucket.clone()?,
                keys: KeyFiles { id: self.access_key_file.clone()?, secret: self.secret_key_file.clone()? },
            })),
            _ => None,
        }
    }
}

/// The files of an access key. Says where they are and never what is in them.
#[derive(Debug, Clone)]
pub(super) struct KeyFiles {
    pub id: PathBuf,
    pub secret: PathBuf,
}

impl KeyFiles {
    async fn read(&self) -> Result<Credentials, String> {
        let text = async |path: &PathBuf| match tokio::fs::read_to_string(path).await {
            Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
            Ok(_) => Err(format!("the file {} is empty", path.display())),
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        };
        let (id, secret) = (text(&self.id).await?, text(&self.secret).await?);
        Ok(Credentials::builder().access_key_id(id).secret_access_key(secret).provider_name("files").build())
    }
}

impl ProvideCredentials for KeyFiles {
    fn provide_credentials<'a>(&'a self) -> ProvideFuture<'a>
    where
        Self: 'a,
    {
        ProvideFuture::new(async { self.read().await.map_err(CredentialsError::provider_error) })
    }
}
