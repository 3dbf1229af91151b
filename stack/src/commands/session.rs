//! Where a control plane is, with which credential it is called, and what is done with its answers.

use std::{
    collections::HashMap,
    error::Error,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use client::{Call, Client, Page, Planned, control::Operation};
use futures::TryStreamExt;
use platform::{ctx::Clock, egress::Trust, oauth::Credential};
use serde_json::Value;
use tenants::contract::Binding;

use super::{operations, show};
use crate::transport::Http;

/// Where `tambo control-plane serve` listens unless told otherwise.
const USUAL_URL: &str = "http://127.0.0.1:8070";
/// How long a request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(35);

/// Which control plane, and who calls it. There is no option for the token itself: what is on a command line, everybody
/// on the machine can read.
#[derive(clap::Args)]
pub struct Connection {
    /// The control plane; else TAMBO_URL, else http://127.0.0.1:8070
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// The file with the access token; else TAMBO_TOKEN_FILE, else the token itself in TAMBO_TOKEN
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The file of a client's id and key, which gets a token; else TAMBO_CLIENT_FILE
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "token_file")]
    client_file: Option<PathBuf>,
    /// Roots that the server's certificate may lead to besides the system's, PEM; else TAMBO_CA_FILE
    #[arg(long, global = true, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Prints the API's objects instead of tables
    #[arg(long, global = true)]
    json: bool,
    /// The idempotency key: of commands with the same one, one has an effect
    #[arg(long, global = true, value_name = "KEY")]
    key: Option<String>,
}

/// For whom, and how.
#[derive(clap::Args)]
pub struct TokenArgs {
    #[command(flatten)]
    connection: Connection,
    /// Binds the token to the client's key (RFC 9449); one whose file says so is bound anyway
    #[arg(long)]
    dpop: bool,
    /// Prints the headers of one request, with the proof that a bound token needs: for `curl -H @-`
    #[arg(long, num_args = 2, value_names = ["METHOD", "URL"])]
    headers_for: Option<Vec<String>>,
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// It was not asked rightly.
    Usage(String),
    /// The control plane refused, or did not answer.
    Api(client::Error),
    /// An operation ended otherwise than well; that has been said.
    Ended,
    /// Anything else.
    Other(Box<dyn Error>),
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        Self::Api(error)
    }
}

impl Failure {
    /// For people.
    pub fn text(&self) -> String {
        match self {
            Self::Usage(text) => format!("tambo: {text}"),
            Self::Api(client::Error::Problem { problem, .. }) => {
                let mut text = format!("tambo: {}: {}", problem.code, problem.detail);
                for fault in &problem.errors {
                    // A text takes all that is written.
                    let _written = write!(text, "\n  {}: {} ({})", fault.pointer, fault.detail, fault.code);
                }
                format!("{text}\n  → {}\n  (request {})", problem.remedy, problem.request_id)
            }
            Self::Api(error) => format!("tambo: {error}"),
            Self::Ended => "tambo: the operation has not succeeded".to_owned(),
            Self::Other(error) => format!("tambo: {error}"),
        }
    }

    /// For programs.
    pub fn code(&self) -> ExitCode {
        if matches!(self, Self::Usage(_)) { ExitCode::from(2) } else { ExitCode::FAILURE }
    }
}

/// With what a control plane is called.
enum Caller {
    Token(String),
    Client(Box<Credential>),
}

impl Caller {
    /// What the command line names comes before the variables, and a token before a client.
    fn of<'a>(connection: &Connection, variable: impl Fn(&str) -> Option<&'a str>) -> Result<Self, Failure> {
        let file = |name| variable(name).map(PathBuf::from);
        let client = || file("TAMBO_CLIENT_FILE").map(Self::of_client);
        let token = || file("TAMBO_TOKEN_FILE").map(Self::of_token);
        match (&connection.client_file, &connection.token_file) {
            (Some(file), _) => Self::of_client(file.clone()),
            (None, Some(file)) => Self::of_token(file.clone()),
            (None, None) => {
                let plain = || variable("TAMBO_TOKEN").map(|token| Ok(Self::Token(token.trim().to_owned())));
                token().or_else(plain).or_else(client).unwrap_or_else(|| {
                    let text = "no credential: name a file with --client-file or --token-file, TAMBO_CLIENT_FILE or \
                                TAMBO_TOKEN_FILE";
                    Err(Failure::Usage(text.to_owned()))
                })
            }
        }
    }

    fn of_client(file: PathBuf) -> Result<Self, Failure> {
        let credential = Credential::read(&read(&file)?);
        let credential =
            credential.map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
        Ok(Self::Client(Box::new(credential)))
    }

    fn of_token(file: PathBuf) -> Result<Self, Failure> {
        Ok(Self::Token(read(&file)?.trim().to_owned()))
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file)
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", file.display())))
}

/// The way to the server that the command line or the variables name, with this certificate.
fn way<'a>(
    connection: &Connection,
    variable: impl Fn(&str) -> Option<&'a str>,
    identity_pem: Option<&str>,
) -> Result<Http, Failure> {
    let url = connection.url.as_deref().or_else(|| variable("TAMBO_URL")).unwrap_or(USUAL_URL);
    let roots = connection.ca_file.clone().or_else(|| variable("TAMBO_CA_FILE").map(PathBuf::from));
    let roots = roots.as_deref().map(read).transpose()?;
    let trust = Trust { roots_pem: roots.as_deref(), identity_pem };
    Http::trusting(url, REQUEST_LIMIT, &trust).map_err(|error| Failure::Usage(error.to_string()))
}

/// Prints a token for the client that the command line or the variables name.
pub async fn token(
    TokenArgs { connection, dpop, headers_for }: &TokenArgs,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<(), Failure> {
    let variables: HashMap<String, String> = variables.filter(|(_, value)| !value.is_empty()).collect();
    let variable = |name: &str| variables.get(name).map(String::as_str);
    let Caller::Client(credential) = Caller::of(connection, variable)? else {
        return Err(Failure::Usage("a token is for a client: name its file with --client-file".to_owned()));
    };
    let credential = if *dpop { credential.with_dpop() } else { *credential };
    let http = way(connection, variable, credential.identity_pem().as_deref())?;
    let token = http.token(&credential).await.map_err(|lost| Failure::Other(lost.into()))?;
    let Some([method, url]) = headers_for.as_deref() else { return show::line(&token) };
    let dpop = credential.binding() == Binding::Dpop;
    show::line(&format!("Authorization: {} {token}", if dpop { "DPoP" } else { "Bearer" }))?;
    if dpop {
        // What stands behind the path is no part of what is proved (RFC 9449 §4.2).
        let url = url.split(['?', '#']).next().unwrap_or_default();
        let proof = credential.proof(method, url, Some(&token), Clock::system().now());
        show::line(&format!("DPoP: {}", proof.map_err(|error| Failure::Other(error.into()))?))?;
    }
    Ok(())
}

/// One command's dealings with a control plane.
pub struct Session {
    pub client: Client<Http>,
    json: bool,
    key: Option<String>,
}

impl Session {
    /// With what the command line says, and else the variables.
    pub fn begin(
        connection: &Connection,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Failure> {
        let variables: HashMap<String, String> = variables.filter(|(_, value)| !value.is_empty()).collect();
        let variable = |name: &str| variables.get(name).map(String::as_str);
        let language = language(variable);
        let client = match Caller::of(connection, variable)? {
            Caller::Token(token) => way(connection, variable, None)?.client(&token, &language)?,
            Caller::Client(credential) => {
                let identity = credential.identity_pem();
                way(connection, variable, identity.as_deref())?.client_of(*credential, &language)?
            }
        };
        Ok(Self { client, json: connection.json, key: connection.key.clone() })
    }

    /// Reads one thing and shows it.
    pub async fn read<T, How>(&self, call: Call<T, How>) -> Result<(), Failure> {
        self.show(&self.client.read(call.raw()).await?)
    }

    /// Does something, and shows what came of it.
    pub async fn effect<T, How>(&self, call: Call<T, How>) -> Result<(), Failure> {
        self.show(&self.done(call).await?)
    }

    /// Does something; what came of it.
    pub async fn done<T, How>(&self, call: Call<T, How>) -> Result<Value, Failure> {
        let answer = self.client.send(self.keyed(call).raw()).await?;
        if answer.replayed {
            crate::console::say("It was done before, under the same key.");
        }
        Ok(answer.body)
    }

    /// Does something, or shows what it would do.
    pub async fn planned<T>(&self, call: Call<T, Planned>, dry_run: bool) -> Result<(), Failure> {
        if !dry_run {
            return self.effect(call).await;
        }
        let plan = self.client.read(call.dry_run().raw()).await?;
        let changes = plan["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
        match (self.json, changes) {
            (true, _) => show::json(&plan),
            (false, []) => show::line("Nothing would change."),
            (false, changes) => show::table(changes, &["pointer", "before", "after"]),
        }
    }

    /// Begins an operation, and follows it to its end if asked to.
    pub async fn operation<How>(&self, call: Call<Operation, How>, follow: bool) -> Result<(), Failure> {
        if !follow {
            return self.effect(call).await;
        }
        let operation = self.client.read(self.keyed(call)).await?;
        operations::follow(self, operation.id, None).await
    }

    /// Shows a list.
    pub async fn list<T>(&self, call: Call<Page<T>>, columns: &[&str]) -> Result<(), Failure> {
        let all: Vec<Value> = self.client.items(call.raw_items()).try_collect().await?;
        if self.json { show::json(&Value::Array(all)) } else { show::table(&all, columns) }
    }

    /// Shows one thing.
    pub fn show(&self, thing: &Value) -> Result<(), Failure> {
        if self.json { show::json(thing) } else { show::fields(thing) }
    }

    fn keyed<T, How>(&self, call: Call<T, How>) -> Call<T, How> {
        match &self.key {
            Some(key) => call.key(key),
            None => call,
        }
    }
}

/// The language of the person at the terminal (POSIX, XBD 8.2), as HTTP names it.
fn language<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> String {
    let locale = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find_map(variable).unwrap_or_default();
    let name = locale.split(['.', '@']).next().unwrap_or_default().replace('_', "-");
    let named = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if matches!(name.as_str(), "" | "C" | "POSIX") || !named { "en".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_that_of_the_terminal() {
        for (all, lang, expected) in [
            (None, Some("es_MX.UTF-8"), "es-MX"),
            (Some("pt_BR@latin"), Some("es_MX.UTF-8"), "pt-BR"),
            (None, Some("C.UTF-8"), "en"),
            (Some("POSIX"), None, "en"),
            (None, None, "en"),
            (None, Some("es\r\nx"), "en"),
        ] {
            let variable = |name: &str| match name {
                "LC_ALL" => all,
                "LANG" => lang,
                _ => None,
            };
            assert_eq!(language(variable), expected);
        }
    }

    #[test]
    fn a_credential_is_in_a_file_or_a_variable() {
        let begin = |file: Option<&str>, variables: &[(&str, &str)]| {
            let connection = Connection {
                url: None,
                token_file: file.map(PathBuf::from),
                client_file: None,
                ca_file: None,
                json: false,
                key: None,
            };
            let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            Session::begin(&connection, variables).err().map(|failure| failure.text())
        };
        assert_eq!(begin(None, &[("TAMBO_TOKEN", "x")]), None);
        assert!(begin(None, &[("TAMBO_TOKEN", "")]).unwrap().contains("--token-file"));
        assert!(begin(None, &[("TAMBO_CLIENT_FILE", "/nowhere/me")]).unwrap().contains("/nowhere/me"));
        assert!(begin(Some("/nowhere/token"), &[]).unwrap().contains("/nowhere/token"));
        let far = [("TAMBO_TOKEN", "x"), ("TAMBO_URL", "http://control.example")];
        assert!(begin(None, &far).unwrap().contains("https"), "a token does not go over a wire in the clear");
    }
}
