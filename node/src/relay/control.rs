//! Control of a relay by the owner of its directory, who can read the token there. The relay accepts
//! requests at a loopback port: a line of JSON each, answered by a line.
//!
//! | file of the directory | content |
//! |---|---|
//! | `routes.json` | the routes at the start of the relay |
//! | `relay.json` | process id and control port of the running relay |
//! | `api-token` | the token that requests must carry |

use super::{Relay, Route, RouteStatus};
use crate::auth::Token;
use crate::json_file;
use anyhow::{Context, Result, anyhow, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Longest request and response: the routes of 64 nodes that are all connected take some 500 kB.
const MAX_LINE: u64 = 4 * 1024 * 1024;
/// Time limit of a request and its response.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of requests at a time.
const MAX_REQUESTS: usize = 8;

/// The routes of a relay, and the start value of its random numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// The start value of the random numbers by which segments are lost and delayed.
    pub seed: u64,
    /// All routes.
    pub routes: Vec<Route>,
}

/// The process id and control port of a running relay.
#[derive(Debug, Serialize, Deserialize)]
struct ControlFile {
    pid: u32,
    port: u16,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    token: String,
    action: Action,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    /// Replaces the routes.
    Routes(Vec<Route>),
    /// Requests the state of all routes.
    Status,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Reply {
    Status(Vec<RouteStatus>),
    Error(String),
}

fn routes_file(directory: &Path) -> PathBuf {
    directory.join("routes.json")
}

fn control_file(directory: &Path) -> PathBuf {
    directory.join("relay.json")
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    serde_json::from_str(&text?).with_context(|| path.display().to_string())
}

/// Writes the routes for the start of a relay.
pub fn write_setup(directory: &Path, setup: &Setup) -> Result<()> {
    json_file::write(&routes_file(directory), setup)
}

/// Runs the relay of a directory until `stop` completes.
pub async fn run(directory: &Path, stop: impl Future<Output = ()>) -> Result<()> {
    let setup: Setup = read_json(&routes_file(directory))?;
    let mut relay = Relay::new(setup.seed);
    relay.set_routes(setup.routes)?;
    let token = Token::open_or_create(directory)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("control port")?;
    let (pid, port) = (std::process::id(), listener.local_addr()?.port());
    json_file::write(&control_file(directory), &ControlFile { pid, port })?;
    tracing::info!(port, "relay started");
    let relay = Arc::new(Mutex::new(relay));
    let permits = Arc::new(Semaphore::new(MAX_REQUESTS));
    let serve = async {
        loop {
            let permit = Arc::clone(&permits).acquire_owned().await?;
            let (mut stream, _) = match listener.accept().await {
                Ok(accepted) => accepted,
                // Out of open files, perhaps, until some are closed.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a control request");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (relay, token) = (Arc::clone(&relay), token.clone());
            tokio::spawn(async move {
                let served = timeout(TIMEOUT, serve(&mut stream, &relay, &token)).await;
                if let Err(error) = served.unwrap_or_else(|late| Err(late.into())) {
                    tracing::debug!("control request: {error:#}");
                }
                drop(permit);
            });
        }
    };
    let ended = tokio::select! {
        ended = serve => ended,
        () = stop => Ok(()),
    };
    let _ = fs::remove_file(control_file(directory));
    ended
}

async fn serve(
    stream: &mut tokio::net::TcpStream,
    relay: &Mutex<Relay>,
    token: &Token,
) -> Result<()> {
    let (reads, mut writes) = stream.split();
    let mut line = String::new();
    tokio::io::BufReader::new(reads.take(MAX_LINE)).read_line(&mut line).await?;
    let reply = match reply(&line, relay, token) {
        Ok(status) => Reply::Status(status),
        Err(error) => Reply::Error(format!("{error:#}")),
    };
    let mut reply = serde_json::to_vec(&reply)?;
    reply.push(b'\n');
    Ok(writes.write_all(&reply).await?)
}

fn reply(line: &str, relay: &Mutex<Relay>, token: &Token) -> Result<Vec<RouteStatus>> {
    let request: Request = serde_json::from_str(line).context("not a request")?;
    if !token.is_equal_to(&request.token) {
        bail!("wrong token");
    }
    let mut relay = relay.lock().unwrap_or_else(PoisonError::into_inner);
    if let Action::Routes(routes) = request.action {
        relay.set_routes(routes)?;
    }
    Ok(relay.status())
}

/// The control of the running relay of a directory.
#[derive(Debug)]
pub struct Control {
    port: u16,
    token: Token,
}

impl Control {
    /// The control of the relay that runs as a process; `None` if it is still starting.
    pub fn open(directory: &Path, pid: u32) -> Result<Option<Control>> {
        match read_json::<ControlFile>(&control_file(directory)) {
            Ok(file) if file.pid == pid => {
                Ok(Some(Control { port: file.port, token: Token::read(directory)? }))
            }
            // Of an earlier process, or not written yet.
            _ => Ok(None),
        }
    }

    /// Replaces the routes of the relay, and its setup for the next start.
    pub fn set_routes(&self, directory: &Path, setup: &Setup) -> Result<()> {
        write_setup(directory, setup)?;
        self.request(Action::Routes(setup.routes.clone())).map(drop)
    }

    /// The state of all routes.
    pub fn status(&self) -> Result<Vec<RouteStatus>> {
        self.request(Action::Status)
    }

    fn request(&self, action: Action) -> Result<Vec<RouteStatus>> {
        let exchange = || {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            let mut request =
                serde_json::to_vec(&Request { token: self.token.text().to_owned(), action })?;
            request.push(b'\n');
            stream.write_all(&request)?;
            let mut line = String::new();
            BufReader::new(stream.take(MAX_LINE)).read_line(&mut line)?;
            Ok::<Reply, anyhow::Error>(serde_json::from_str(&line)?)
        };
        match exchange().context("the relay of the testnet does not respond")? {
            Reply::Status(status) => Ok(status),
            Reply::Error(error) => Err(anyhow!("relay: {error}")),
        }
    }
}
