//! `tambo clients …`.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use client::control::{self, ClientChange, ClientNew, ClientRotation, ClientsWhich, Jwk};
use platform::{ctx::Clock, hash::sha256_base64url, oauth::Credential, pki};
use serde_json::Value;
use tenants::{
    contract::{Binding, Method},
    id::{ClientId, EnvironmentId, OrganizationId},
};
use uuid::Uuid;

use super::session::{Connection, Failure, Session};
use crate::console;

/// What to do, and where.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub connection: Connection,
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Lists them, the oldest first
    List {
        /// Those of this environment
        #[arg(long, value_name = "ID")]
        environment: Option<EnvironmentId>,
        /// Those of this organization
        #[arg(long, value_name = "ID")]
        organization: Option<OrganizationId>,
    },
    /// Reads one
    Get {
        /// Which
        id: ClientId,
    },
    /// Makes one: with a key, that is kept in a new file, with a certificate, or with a secret, that is shown once
    Create {
        #[command(flatten)]
        of: Of,
        /// For people
        #[arg(long)]
        name: String,
        /// What it may do; again for each
        #[arg(long, required = true, value_name = "SCOPE")]
        scope: Vec<String>,
        /// What its tokens are bound to, in live mode something: `dpop`, its key; `certificate`, one for its key, which
        /// is made here and kept in the same file
        #[arg(long, default_value = "none", value_parser = binding)]
        binding: Binding,
        #[command(flatten)]
        by: By,
    },
    /// Changes one's name, or what it may do; where it loses a scope, its tokens end
    Update {
        /// Which
        id: ClientId,
        /// For people
        #[arg(long)]
        name: Option<String>,
        /// What it may do from now on, all of it; again for each
        #[arg(long, value_name = "SCOPE")]
        scope: Vec<String>,
        /// Only if this is still its version; else the one that it has now
        #[arg(long, value_name = "VERSION")]
        if_version: Option<i64>,
        /// Shows what would change, and changes nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Gives one another key, that is kept in a new file, or another secret or certificate
    Rotate {
        /// Which
        id: ClientId,
        #[command(flatten)]
        by: By,
        /// Ends the tokens that it has
        #[arg(long)]
        revoke_tokens: bool,
    },
    /// Revokes one, for ever
    Revoke {
        /// Which
        id: ClientId,
        /// Checks everything, and shows what would change
        #[arg(long)]
        dry_run: bool,
    },
}

/// Whose it is.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub struct Of {
    /// Of an environment: it asks its cell for tokens
    #[arg(long, value_name = "ID")]
    environment: Option<EnvironmentId>,
    /// Of an organization itself: it asks the control plane
    #[arg(long, value_name = "ID")]
    organization: Option<OrganizationId>,
}

/// How it proves who it is.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub struct By {
    /// By a key, which is made here; the new file is for its owner alone
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// By a certificate that it has, PEM: it connects with that
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// By a secret; sandboxes only
    #[arg(long)]
    secret: bool,
}

fn binding(text: &str) -> Result<Binding, &'static str> {
    match text {
        "none" => Ok(Binding::None),
        "dpop" => Ok(Binding::Dpop),
        "certificate" => Ok(Binding::Certificate),
        _ => Err("none, dpop or certificate"),
    }
}

/// What a client is registered with.
struct Registered {
    method: Method,
    keys: Vec<Jwk>,
    thumbprints: Vec<String>,
    /// Its key, if it was made here.
    made: Option<Credential>,
}

/// Does it.
pub async fn run(session: &Session, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { environment, organization } => {
            let which = ClientsWhich { organization_id: organization, environment_id: environment };
            let columns = ["id", "organization_id", "environment_id", "name", "method", "revoked"];
            session.list(control::client_list(&which), &columns).await
        }
        Command::Get { id } => session.read(control::client_get(id)).await,
        Command::Create { of, name, scope, binding, by } => {
            // The control plane names its clients.
            let by_what = by.made(ClientId::from_uuid(Uuid::nil()), binding)?;
            let Registered { method, keys, thumbprints, made: key } = by_what;
            let new = ClientNew { name, method, keys, thumbprints, scopes: scope, binding };
            let made = match (of.environment, of.organization) {
                (Some(id), _) => session.done(control::environment_client_create(id, &new)).await,
                (None, Some(id)) => session.done(control::organization_client_create(id, &new)).await,
                (None, None) => Err(Failure::Usage("name whose it is".to_owned())),
            };
            let made = by.settled(made)?;
            by.name(key, &made)?;
            session.show(&made)
        }
        Command::Update { id, name, scope, if_version, dry_run } => {
            let version = match if_version {
                Some(version) => version,
                None => session.client.read(control::client_get(id)).await?.version,
            };
            let change = ClientChange { name, scopes: (!scope.is_empty()).then_some(scope) };
            session.planned(control::client_change(id, version, &change), dry_run).await
        }
        Command::Rotate { id, by, revoke_tokens } => {
            let known = session.client.read(control::client_get(id)).await?;
            let Registered { keys, thumbprints, .. } = by.made(id, known.binding)?;
            let rotation = ClientRotation { keys, thumbprints, revoke_tokens };
            let made = session.done(control::client_rotate(id, known.version, &rotation)).await;
            session.show(&by.settled(made)?)
        }
        Command::Revoke { id, dry_run } => session.planned(control::client_revoke(id), dry_run).await,
    }
}

impl By {
    /// What this client is registered with; a key of its own if it is by one. The key is in its file before the control
    /// plane hears of it: an answer that is lost must not take the only one along.
    fn made(&self, id: ClientId, binding: Binding) -> Result<Registered, Failure> {
        let (keys, thumbprints) = (Vec::new(), Vec::new());
        if let Some(file) = &self.certificate {
            let pem = fs::read_to_string(file).map_err(|error| error.to_string());
            let der = pem.and_then(|pem| pki::der(&pem).map_err(|error| error.to_string()));
            let der = der.map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
            return Ok(Registered {
                method: Method::Tls,
                keys,
                thumbprints: vec![sha256_base64url(der)],
                made: None,
            });
        }
        let Some(file) = &self.file else {
            return Ok(Registered { method: Method::Secret, keys, thumbprints, made: None });
        };
        let made = Credential::make(id).and_then(|made| match binding {
            Binding::Dpop => Ok(made.with_dpop()),
            Binding::Certificate => made.with_certificate(Clock::system().now()),
            Binding::None | Binding::Unknown => Ok(made),
        });
        let made = made.map_err(|error| Failure::Other(error.into()))?;
        write_new(file, &made).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Failure::Usage(format!("{} is there: name a new file", file.display()))
            }
            _ => unwritten(file, &error),
        })?;
        let (keys, thumbprints) = (vec![made.public().into()], made.thumbprint().into_iter().collect());
        Ok(Registered { method: Method::PrivateKeyJwt, keys, thumbprints, made: Some(made) })
    }

    /// What came of it. Of what was refused no file stays; what was not answered may have been done.
    fn settled(&self, done: Result<Value, Failure>) -> Result<Value, Failure> {
        let (Err(failure), Some(file)) = (&done, &self.file) else { return done };
        match failure {
            Failure::Api(client::Error::Problem { problem, .. })
                if problem.status < 500 && !problem.retryable =>
            {
                fs::remove_file(file).map_err(|error| unwritten(file, &error))?;
            }
            _ => console::say(format_args!(
                "It is not known whether it was done: look with `tambo clients`. The key is in {}.",
                file.display()
            )),
        }
        done
    }

    /// Writes under which id the control plane knows the key.
    fn name(&self, key: Option<Credential>, made: &Value) -> Result<(), Failure> {
        let (Some(key), Some(file)) = (key, &self.file) else { return Ok(()) };
        let id = made["id"].as_str().and_then(|id| id.parse().ok());
        let id: ClientId = id.ok_or_else(|| Failure::Other("the answer has no id".into()))?;
        let named = file.with_extension("part");
        write_new(&named, &key.of(id))
            .and_then(|()| fs::rename(&named, file))
            .map_err(|error| unwritten(file, &error))
    }
}

/// Writes a new file for its owner alone.
fn write_new(file: &Path, key: &Credential) -> io::Result<()> {
    let mut open = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    open.write_all(key.written().as_bytes())?;
    open.sync_all()
}

fn unwritten(file: &Path, error: &io::Error) -> Failure {
    Failure::Other(format!("cannot write {}: {error}", file.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_its_file_before_it_is_sent_and_stays_unless_it_was_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.json");
        let by = By { file: Some(file.clone()), certificate: None, secret: false };
        let id = ClientId::from_uuid(Uuid::from_u128(7));
        let kept = || Credential::read(&fs::read_to_string(&file).unwrap()).unwrap();
        let made = by.made(id, Binding::None).unwrap().made;
        assert_eq!((kept().id(), kept().public()), (id, made.as_ref().unwrap().public()));
        assert!(
            matches!(by.made(id, Binding::None), Err(Failure::Usage(_))),
            "a file that is there is nobody's to replace"
        );

        let lost = || Failure::Api(client::Error::Shape { request: String::new(), reason: String::new() });
        assert!(by.settled(Err(lost())).is_err());
        assert_eq!(kept().id(), id, "it may have been done");
        let other = ClientId::from_uuid(Uuid::from_u128(8));
        by.name(made, &serde_json::json!({"id": other})).unwrap();
        assert_eq!(kept().id(), other);

        let problem = |status: u16| {
            let text = serde_json::json!({"type": "", "title": "", "status": status, "code": "", "detail": "",
                "remedy": "", "request_id": "", "retryable": false});
            let problem = serde_json::from_value(text).unwrap();
            Failure::Api(client::Error::Problem { request: String::new(), problem })
        };
        assert!(by.settled(Err(problem(500))).is_err() && file.exists());
        assert!(by.settled(Err(problem(409))).is_err() && !file.exists());
    }
}
