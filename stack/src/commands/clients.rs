//! `tambo clients …`.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use client::control::{self, ClientNew, ClientRotation, ClientsWhich};
use platform::oauth::Credential;
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
    /// Makes one: with a key, that is kept in a new file, or with a secret, that is shown once
    Create {
        #[command(flatten)]
        of: Of,
        /// For people
        #[arg(long)]
        name: String,
        /// What it may do; again for each
        #[arg(long, required = true, value_name = "SCOPE")]
        scope: Vec<String>,
        #[command(flatten)]
        by: By,
    },
    /// Gives one another key, that is kept in a new file, or another secret
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
    /// By a secret; sandboxes only
    #[arg(long)]
    secret: bool,
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
        Command::Create { of, name, scope, by } => {
            // The control plane names its clients.
            let (method, key) = by.made(ClientId::from_uuid(Uuid::nil()))?;
            let keys = key.iter().map(|key| key.public().into()).collect();
            let (thumbprints, binding) = (Vec::new(), Binding::None);
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
        Command::Rotate { id, by, revoke_tokens } => {
            let version = session.client.read(control::client_get(id)).await?.version;
            let (_, key) = by.made(id)?;
            let keys = key.iter().map(|key| key.public().into()).collect();
            let rotation = ClientRotation { keys, thumbprints: Vec::new(), revoke_tokens };
            let made = session.done(control::client_rotate(id, version, &rotation)).await;
            session.show(&by.settled(made)?)
        }
        Command::Revoke { id } => session.effect(control::client_revoke(id)).await,
    }
}

impl By {
    /// The method, and a key of this client if it is by one. The key is in its file before the control plane hears of it:
    /// an answer that is lost must not take the only one along.
    fn made(&self, id: ClientId) -> Result<(Method, Option<Credential>), Failure> {
        let Some(file) = &self.file else { return Ok((Method::Secret, None)) };
        let made = Credential::make(id).map_err(|error| Failure::Other(error.into()))?;
        write_new(file, &made).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Failure::Usage(format!("{} is there: name a new file", file.display()))
            }
            _ => unwritten(file, &error),
        })?;
        Ok((Method::PrivateKeyJwt, Some(made)))
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
        let by = By { file: Some(file.clone()), secret: false };
        let id = ClientId::from_uuid(Uuid::from_u128(7));
        let kept = || Credential::read(&fs::read_to_string(&file).unwrap()).unwrap();
        let (_, made) = by.made(id).unwrap();
        assert_eq!((kept().id(), kept().public()), (id, made.as_ref().unwrap().public()));
        assert!(matches!(by.made(id), Err(Failure::Usage(_))), "a file that is there is nobody's to replace");

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
