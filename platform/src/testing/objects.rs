//! A store that speaks S3, in memory: it keeps versions and locks, and has the troubles that it is told to have.
//!
//! It stands for those stores that no test can have: whether a real one locks, it does not say.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::{
    S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    auth::SimpleAuth,
    dto::{
        CommonPrefix, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput,
        DeletedObject, GetObjectInput, GetObjectOutput, ListObjectsV2Input, ListObjectsV2Output, Object,
        PutObjectInput, PutObjectOutput, PutObjectRetentionInput, PutObjectRetentionOutput, StreamingBlob,
        Timestamp,
    },
    service::S3ServiceBuilder,
};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    egress::{Egress, EgressConfig},
    objects::ObjectsConfig,
};

/// What is the matter with a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// It answers everything with "not now".
    Busy,
    /// It lets the access key do nothing.
    Denied,
    /// It has no bucket.
    NoBucket,
    /// It puts what is put, and then cannot say so.
    Mute,
    /// It takes no more than so many puts, then is busy.
    After(usize),
}

#[derive(Debug, Default)]
struct State {
    trouble: Trouble,
    locks: bool,
    next: u64,
    puts: usize,
    objects: BTreeMap<String, Vec<Version>>,
}

#[derive(Debug)]
struct Version {
    id: String,
    bytes: Vec<u8>,
    until: Option<Timestamp>,
}

/// The store. It ends when this is dropped.
pub struct TestStore {
    state: Arc<Mutex<State>>,
    folder: TempDir,
    address: String,
    _server: AbortOnDropHandle<()>,
}

const BUCKET: &str = "cell-test";

impl TestStore {
    /// A store that locks what is put with a lock.
    ///
    /// # Panics
    /// The machine has no port or no temporary folder.
    pub async fn start() -> Self {
        Self::serving(|state| Memory(state.clone())).await
    }

    /// A store of something else that speaks S3.
    ///
    /// # Panics
    /// As [`TestStore::start`].
    pub async fn of(other: impl S3) -> Self {
        Self::serving(|_| other).await
    }

    #[expect(clippy::unwrap_used, reason = "a panic is the failure report of a test")]
    async fn serving<T: S3>(made: impl FnOnce(&Arc<Mutex<State>>) -> T) -> Self {
        let state = Arc::new(Mutex::new(State { locks: true, ..State::default() }));
        let mut service = S3ServiceBuilder::new(made(&state));
        service.set_auth(SimpleAuth::from_single("test-id", "test-secret"));
        let service = service.build();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("id"), "test-id\n").unwrap();
        std::fs::write(folder.path().join("secret"), "test-secret\n").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
                connections.spawn(connection);
            }
        });
        Self { state, folder, address, _server: AbortOnDropHandle::new(server) }
    }

    /// How it is configured; its keys are in files that a test may change.
    #[must_use]
    pub fn config(&self) -> ObjectsConfig {
        let file = |name: &str| Some(self.folder.path().join(name));
        ObjectsConfig {
            folder: None,
            endpoint: Some(format!("http://{}", self.address)),
            region: Some("mx-central-1".to_owned()),
            bucket: Some(BUCKET.to_owned()),
            access_key_file: file("id"),
            secret_key_file: file("secret"),
            lock: false,
        }
    }

    /// What may call it, and nothing else.
    ///
    /// # Panics
    /// Never: the address is one.
    #[must_use]
    #[expect(clippy::unwrap_used, reason = "a panic is the failure report of a test")]
    pub fn egress(&self) -> Egress {
        Egress::new(&EgressConfig { allow: vec![self.address.clone()], ..EgressConfig::default() }).unwrap()
    }

    /// Where it is: `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// From now on it has this trouble.
    pub fn trouble(&self, trouble: Trouble) {
        let mut state = self.state();
        (state.trouble, state.puts) = (trouble, 0);
    }

    /// From now on it takes locks and keeps to none.
    pub fn forget_locks(&self) {
        self.state().locks = false;
    }

    /// The keys of all objects.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    /// Puts other bytes under a key, as somebody else might.
    pub fn replace(&self, key: &str, bytes: &[u8]) {
        let version = Version { id: "0".to_owned(), bytes: bytes.to_vec(), until: None };
        self.state().objects.insert(key.to_owned(), vec![version]);
    }

    /// The bytes under a key.
    #[must_use]
    pub fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        Some(self.state().objects.get(key)?.last()?.bytes.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Memory(Arc<Mutex<State>>);

impl Memory {
    fn open(&self, bucket: &str) -> S3Result<MutexGuard<'_, State>> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.trouble {
            Trouble::Busy => Err(S3ErrorCode::SlowDown.into()),
            Trouble::Denied => Err(S3ErrorCode::AccessDenied.into()),
            Trouble::NoBucket => Err(S3ErrorCode::NoSuchBucket.into()),
            _ if bucket != BUCKET => Err(S3ErrorCode::NoSuchBucket.into()),
            Trouble::None | Trouble::Mute | Trouble::After(_) => Ok(state),
        }
    }
}

impl State {
    fn locked(&self, key: &str, id: &str) -> bool {
        let versions = self.objects.get(key).into_iter().flatten();
        self.locks && versions.into_iter().any(|version| version.id == id && version.until.is_some())
    }
}

fn no(code: S3ErrorCode) -> S3Error {
    code.into()
}

#[async_trait::async_trait]
impl S3 for Memory {
    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        use futures::TryStreamExt;
        let input = req.input;
        drop(self.open(&input.bucket)?);
        let body = input.body.ok_or_else(|| no(S3ErrorCode::IncompleteBody))?;
        let parts: Vec<_> = body
            .try_collect()
            .await
            .map_err(|error| S3Error::with_source(S3ErrorCode::IncompleteBody, error))?;
        let bytes = parts.concat();
        let hash = STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, &bytes));
        if input.checksum_sha256.is_some_and(|announced| announced != hash) {
            return Err(no(S3ErrorCode::BadDigest));
        }
        let mut state = self.open(&input.bucket)?;
        if input.if_none_match.is_some() && state.objects.contains_key(&input.key) {
            return Err(no(S3ErrorCode::PreconditionFailed));
        }
        if matches!(state.trouble, Trouble::After(most) if state.puts >= most) {
            return Err(no(S3ErrorCode::SlowDown));
        }
        state.puts += 1;
        state.next += 1;
        let id = state.next.to_string();
        let until = input.object_lock_retain_until_date;
        let version = Version { id: id.clone(), bytes, until };
        state.objects.entry(input.key).or_default().push(version);
        if state.trouble == Trouble::Mute {
            return Err(no(S3ErrorCode::InternalError));
        }
        Ok(S3Response::new(PutObjectOutput { version_id: Some(id), ..PutObjectOutput::default() }))
    }

    async fn put_object_retention(
        &self,
        req: S3Request<PutObjectRetentionInput>,
    ) -> S3Result<S3Response<PutObjectRetentionOutput>> {
        let input = req.input;
        let state = self.open(&input.bucket)?;
        if state.locked(&input.key, &input.version_id.unwrap_or_default()) {
            return Err(no(S3ErrorCode::AccessDenied));
        }
        Ok(S3Response::new(PutObjectRetentionOutput::default()))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        let state = self.open(&input.bucket)?;
        let versions = state.objects.get(&input.key).ok_or_else(|| no(S3ErrorCode::NoSuchKey))?;
        let wanted = |version: &&Version| input.version_id.as_ref().is_none_or(|id| *id == version.id);
        let version = versions.iter().rev().find(wanted).ok_or_else(|| no(S3ErrorCode::NoSuchVersion))?;
        let bytes = version.bytes.clone();
        let length = i64::try_from(bytes.len()).ok();
        let body = s3s::Body::from(bytes);
        Ok(S3Response::new(GetObjectOutput {
            content_length: length,
            body: Some(StreamingBlob::from(body)),
            ..GetObjectOutput::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        let state = self.open(&input.bucket)?;
        let prefix = input.prefix.unwrap_or_default();
        let after = input.start_after.unwrap_or_default();
        let most = usize::try_from(input.max_keys.unwrap_or(1_000)).unwrap_or(0);
        let (mut contents, mut folders) = (Vec::new(), Vec::<String>::new());
        for (key, versions) in
            state.objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after)
        {
            if contents.len() + folders.len() == most {
                break;
            }
            let rest = &key[prefix.len()..];
            match input.delimiter.as_deref().and_then(|delimiter| rest.find(delimiter)) {
                Some(end) => {
                    let folder = key[..=prefix.len() + end].to_owned();
                    if folders.last() != Some(&folder) {
                        folders.push(folder);
                    }
                }
                None => contents.push(Object {
                    key: Some(key.clone()),
                    size: versions.last().and_then(|version| i64::try_from(version.bytes.len()).ok()),
                    ..Object::default()
                }),
            }
        }
        let folders: Vec<_> =
            folders.into_iter().map(|folder| CommonPrefix { prefix: Some(folder) }).collect();
        Ok(S3Response::new(ListObjectsV2Output {
            contents: Some(contents),
            common_prefixes: Some(folders),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = req.input;
        let mut state = self.open(&input.bucket)?;
        if state.locked(&input.key, &input.version_id.unwrap_or_default()) {
            return Err(no(S3ErrorCode::AccessDenied));
        }
        state.objects.remove(&input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let input = req.input;
        let mut state = self.open(&input.bucket)?;
        let mut deleted = Vec::new();
        for one in input.delete.objects {
            state.objects.remove(&one.key);
            deleted.push(DeletedObject { key: Some(one.key), ..DeletedObject::default() });
        }
        Ok(S3Response::new(DeleteObjectsOutput { deleted: Some(deleted), ..DeleteObjectsOutput::default() }))
    }
}

impl std::fmt::Debug for TestStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TestStore({})", self.address)
    }
}
