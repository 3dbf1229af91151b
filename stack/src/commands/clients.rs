//! `tambo clients …`.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::PathBuf};

use client::control::{self, ClientNew, ClientRotation, ClientsWhich};
use platform::oauth::Credential;
use serde_json::Value;
use tenants::{
    contract::{Binding, Method},
    id::{ClientId, EnvironmentId, OrganizationId},
};
use uuid::Uuid;

use super::session::{Connection, Failure, Session};

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
            let (method, key) = by.made()?;
            let keys = key.iter().map(|key| key.public().into()).collect();
            let (thumbprints, binding) = (Vec::new(), Binding::None);
            let new = ClientNew { name, method, keys, thumbprints, scopes: scope, binding };
            let made = match (of.environment, of.organization) {
                (Some(id), _) => session.done(control::environment_client_create(id, &new)).await?,
                (None, Some(id)) => session.done(control::organization_client_create(id, &new)).await?,
                (None, None) => return Err(Failure::Usage("name whose it is".to_owned())),
            };
            by.keep(key, &made)?;
            session.show(&made)
        }
        Command::Rotate { id, by, revoke_tokens } => {
            let version = session.client.read(control::client_get(id)).await?.version;
            let (_, key) = by.made()?;
            let keys = key.iter().map(|key| key.public().into()).collect();
            let rotation = ClientRotation { keys, thumbprints: Vec::new(), revoke_tokens };
            let made = session.done(control::client_rotate(id, version, &rotation)).await?;
            by.keep(key, &made)?;
            session.show(&made)
        }
        Command::Revoke { id } => session.effect(control::client_revoke(id)).await,
    }
}

impl By {
    /// The method, and a key if it is by one.
    fn made(&self) -> Result<(Method, Option<Credential>), Failure> {
        let Some(file) = &self.file else { return Ok((Method::Secret, None)) };
        // Said before anything is made.
        if file.exists() {
            return Err(Failure::Usage(format!("{} is there: name a new file", file.display())));
        }
        let nobody = ClientId::from_uuid(Uuid::nil());
        let made = Credential::make(nobody).map_err(|error| Failure::Other(error.into()))?;
        Ok((Method::PrivateKeyJwt, Some(made)))
    }

    /// Keeps the key under the id that the control plane has given.
    fn keep(&self, key: Option<Credential>, made: &Value) -> Result<(), Failure> {
        let (Some(key), Some(file)) = (key, &self.file) else { return Ok(()) };
        let id = made["id"].as_str().and_then(|id| id.parse().ok());
        let id: ClientId = id.ok_or_else(|| Failure::Other("the answer has no id".into()))?;
        let open = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
        let written = open.and_then(|mut open| open.write_all(key.of(id).written().as_bytes()));
        written.map_err(|error| Failure::Other(format!("cannot write {}: {error}", file.display()).into()))
    }
}
