//! The embedded store: plain files in a folder, served to this process on loopback.
//!
//! It is `s3s-fs`, less what that answers without doing it (locks), and with what it leaves out: of two who put at once
//! one does, what has not the hash that was announced is not kept, and an object that is removed leaves nothing behind. One
//! process has a folder; that it is the only one is seen by a lock on a file, which ends with the process.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    net::Ipv4Addr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::{
    S3, S3Request, S3Response, S3Result,
    auth::SimpleAuth,
    dto::{
        DeleteObjectsInput, DeleteObjectsOutput, GetObjectInput, GetObjectOutput, ListObjectsV2Input,
        ListObjectsV2Output, PutObjectInput, PutObjectOutput,
    },
    s3_error,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use tokio::{net::TcpListener, sync::RwLock, task::JoinSet};
use tokio_util::task::AbortOnDropHandle;

use super::{
    StartError, check_key,
    config::{Bucket, KeyFiles},
};
use crate::{
    egress::{Egress, EgressConfig},
    random,
};

/// The one bucket.
const BUCKET: &str = "objects";
/// How long a process that ends may hold the folder.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// The store, and how to reach it.
pub(super) struct Local {
    pub bucket: Bucket,
    pub egress: Egress,
    pub server: AbortOnDropHandle<()>,
}

/// Starts the store of a folder, which is made if it is not there, on a port of its own.
pub(super) async fn start(folder: &Path) -> Result<Local, StartError> {
    let failed = |error| StartError::Folder { folder: folder.display().to_string(), error };
    let root = folder.join("store");
    fs::create_dir_all(root.join(BUCKET)).map_err(failed)?;
    let lock = held(folder).await?;
    prune(&root.join(BUCKET)).map_err(failed)?;
    let keys = KeyFiles { id: folder.join("access.key"), secret: folder.join("secret.key") };
    let (id, secret) = (key(&keys.id).map_err(failed)?, key(&keys.secret).map_err(failed)?);
    let files = FileSystem::new(&root).map_err(|error| failed(io::Error::other(format!("{error:?}"))))?;
    let mut service = S3ServiceBuilder::new(Files { files, root, changes: RwLock::default() });
    service.set_auth(SimpleAuth::from_single(id, secret));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    // It may talk to itself whatever the configuration says of others.
    let egress = Egress::new(&EgressConfig { allow: vec![address.to_string()], ..EgressConfig::default() })?;
    let server = AbortOnDropHandle::new(tokio::spawn(serve(listener, service.build(), lock)));
    let bucket = Bucket {
        endpoint: format!("http://{address}"),
        region: "local".to_owned(),
        bucket: BUCKET.to_owned(),
        keys,
    };
    Ok(Local { bucket, egress, server })
}

/// Takes the folder; whoever has it may be about to end.
async fn held(folder: &Path) -> Result<File, StartError> {
    let failed = |error| StartError::Folder { folder: folder.display().to_string(), error };
    let lock = File::create(folder.join("lock")).map_err(failed)?;
    let taken = async {
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(PAUSE).await,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    };
    let in_use = || StartError::InUse(folder.display().to_string());
    tokio::time::timeout(ENDS_WITHIN, taken).await.map_err(|_| in_use())??;
    Ok(lock)
}

/// The half of a key pair that this file has; made, for its owner only, if there is none.
fn key(file: &Path) -> io::Result<String> {
    match fs::read_to_string(file) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Ok(_) => Err(io::Error::other(format!("{} is empty: remove it", file.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = hex::encode(random::bytes::<24>());
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(file)?
                .write_all(text.as_bytes())?;
            Ok(text)
        }
        Err(error) => Err(error),
    }
}

async fn serve(listener: TcpListener, service: S3Service, _lock: File) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new());
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = http.serve_connection(TokioIo::new(stream), service.clone());
                connections.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "a connection to the embedded object store broke off");
                    }
                });
            }
            // Too many files are open: some will be closed.
            Err(error) => {
                tracing::warn!(%error, "the embedded object store cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// What is asked of the files. Everything else is answered with `NotImplemented`.
struct Files {
    files: FileSystem,
    root: PathBuf,
    /// `s3s-fs` looks whether an object is there and then writes it: nobody else may in between. And it fails to list what
    /// goes away meanwhile.
    changes: RwLock<()>,
}

impl Files {
    /// Removes what `s3s-fs` keeps beside an object; before the object goes, so that who dies in between finds it again.
    fn forget(&self, key: &str) -> io::Result<()> {
        let name = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let beside = format!(".bucket-{}.object-{}", name(BUCKET), name(key));
        for kind in ["metadata", "internal"] {
            match fs::remove_file(self.root.join(format!("{beside}.{kind}.json"))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes the folders that an object was the last in.
    fn leave(&self, key: &str) {
        let mut folder = Path::new(key);
        while let Some(above) = folder.parent().filter(|above| !above.as_os_str().is_empty()) {
            folder = above;
            // One that is not empty stays.
            if fs::remove_dir(self.root.join(BUCKET).join(folder)).is_err() {
                break;
            }
        }
    }
}

/// Removes the folders in this one that have nothing in them, which who dies between an object and its folder leaves behind;
/// whether nothing is left in it.
fn prune(folder: &Path) -> io::Result<bool> {
    let mut is_empty = true;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_gone = path.is_dir() && prune(&path)?;
        if is_gone {
            fs::remove_dir(&path)?;
        }
        is_empty &= is_gone;
    }
    Ok(is_empty)
}

#[async_trait::async_trait]
impl S3 for Files {
    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let PutObjectInput { key, if_none_match, object_lock_mode, object_lock_retain_until_date, .. } =
            &req.input;
        if object_lock_mode.is_some() || object_lock_retain_until_date.is_some() {
            return Err(s3_error!(NotImplemented, "the embedded store has no locks"));
        }
        if if_none_match.is_none() {
            return Err(s3_error!(NotImplemented, "the embedded store changes no object"));
        }
        check_key(key).map_err(|error| s3_error!(error, InvalidArgument))?;
        let (key, file) = (key.clone(), self.root.join(BUCKET).join(key));
        let _alone = self.changes.write().await;
        let there = file.exists();
        let put = self.files.put_object(req).await;
        if put.is_err() && !there && file.exists() {
            // `s3s-fs` writes first, and then looks whether the content has the hash that was announced.
            self.forget(&key)
                .and_then(|()| fs::remove_file(&file))
                .map_err(|error| s3_error!(error, InternalError))?;
            self.leave(&key);
        }
        put
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.files.get_object(req).await
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let _unchanged = self.changes.read().await;
        self.files.list_objects_v2(req).await
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let keys: Vec<String> = req.input.delete.objects.iter().map(|one| one.key.clone()).collect();
        let _alone = self.changes.write().await;
        for key in &keys {
            self.forget(key).map_err(|error| s3_error!(error, InternalError))?;
        }
        let deleted = self.files.delete_objects(req).await?;
        keys.iter().for_each(|key| self.leave(key));
        Ok(deleted)
    }
}
