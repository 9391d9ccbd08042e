//! The dashboard of a testnet: a page over all its nodes, at a port of the relay's process, which lives
//! as long as the testnet. It reads the APIs of the nodes, and its buttons execute commands of
//! `chain testnet`. Reading is free to programs of this machine; buttons need the token of the relay,
//! which is in the fragment of the printed link: browsers send it neither to servers nor as referrer.
//!
//! A thread and a runtime of its own, so that the relay forwards undisturbed.

mod action;
mod arrivals;
mod tree;
mod view;

use super::directory::Directory;
use super::process;
use crate::api::http::content::Json;
use crate::api::http::extract::Query;
use crate::api::http::host_check::{AllowedHosts, same_origin};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::resources::Resources;
use crate::api::http::server::{App, serve};
use crate::auth::Token;
use crate::{explorer, json_file};
use action::{Action, Outcome};
use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use view::View;

/// Maximum number of commands at a time; each waits for those that change the testnet before it.
const MAX_ACTIONS: usize = 4;
/// Largest body of a request in bytes: the sides of a partition of 64 nodes take some hundreds.
const MAX_BODY: usize = 16 << 10;

/// Process id and port of the running dashboard.
#[derive(Debug, Serialize, Deserialize)]
struct PortFile {
    pid: u32,
    port: u16,
}

fn port_file(relay: &Path) -> PathBuf {
    relay.join("dashboard.json")
}

fn read_port(relay: &Path) -> Option<PortFile> {
    serde_json::from_str(&fs::read_to_string(port_file(relay)).ok()?).ok()
}

/// The link to the dashboard of a testnet, with the token; `None` if its relay does not run.
pub fn link(directory: &Directory) -> Result<Option<String>> {
    let relay = directory.relay();
    let Some(process) = process::Process::find(&relay)? else { return Ok(None) };
    let Some(file) = read_port(&relay).filter(|file| file.pid == process.id()) else {
        return Ok(None);
    };
    let token = Token::read(&relay)?;
    Ok(Some(format!("http://127.0.0.1:{}/#token={}", file.port, token.text())))
}

/// Starts the dashboard in the process of the relay with a directory, at the port that it had before if
/// that is free.
pub fn start(relay: &Path) -> Result<()> {
    let token = Token::open_or_create(relay)?;
    let testnet = relay.parent().context("the relay's directory is in that of the testnet")?;
    let former = read_port(relay).and_then(|file| bind(file.port).ok());
    let listener = former.map_or_else(|| bind(0), Ok).context("port of the dashboard")?;
    listener.set_nonblocking(true)?;
    let (pid, port) = (std::process::id(), listener.local_addr()?.port());
    json_file::write(&port_file(relay), &PortFile { pid, port })?;
    let hosts = AllowedHosts::new(&[])?;
    let shared = Shared {
        view: View::new(Directory::at(testnet.to_owned())),
        directory: testnet.to_owned(),
        // Read now: the file may be replaced while the testnet runs.
        program: process::this_program()?,
        token,
        permits: Arc::new(Semaphore::new(MAX_ACTIONS)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || {
        runtime.block_on(async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => run(listener, hosts, shared).await,
                Err(error) => tracing::error!(%error, "the dashboard does not start"),
            }
        });
    };
    std::thread::Builder::new().name("dashboard".into()).spawn(run)?;
    tracing::info!(port, "dashboard started");
    Ok(())
}

fn bind(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

/// What request handlers share.
struct Shared {
    directory: PathBuf,
    program: PathBuf,
    token: Token,
    permits: Arc<Semaphore>,
    view: View,
}

async fn run(listener: tokio::net::TcpListener, hosts: AllowedHosts, shared: Shared) {
    let (_stop, stopped) = watch::channel(false);
    let (metrics, resources) = (Arc::default(), Resources::default());
    let app = App::new(routes(Arc::new(shared)), hosts, metrics, resources);
    let (_app, app) = watch::channel(app);
    serve(listener, None, app, stopped, CancellationToken::new()).await;
}

fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/state", get(state))
        .route("/v1/tree", get(tree))
        .route("/v1/actions", post(act))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        // Reading makes work, too.
        .layer(from_fn(same_origin))
        .with_state(shared)
        .merge(explorer::testnet_routes())
}

async fn state(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    shared.view.state().await.map(json).map_err(|error| unavailable(&error))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TreeQuery {
    /// The height around which the blocks are shown; the newest ones without it.
    height: Option<u32>,
}

async fn tree(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<TreeQuery>,
) -> Result<Response, Problem> {
    shared.view.tree(query.height).await.map(json).map_err(|error| unavailable(&error))
}

async fn act(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(action): Json<Action>,
) -> Result<Response, Problem> {
    if !shared.token.is_sent_in(&headers) {
        let detail = "open the link that `chain testnet status` prints: it has the token";
        return Err(Problem::new(Kind::UNAUTHORIZED, detail));
    }
    let Ok(permit) = Arc::clone(&shared.permits).try_acquire_owned() else {
        return Err(Problem::new(Kind::BUSY, "other commands are still running"));
    };
    let (program, directory) = (shared.program.clone(), shared.directory.clone());
    // Continues even if the page is closed meanwhile.
    let running = tokio::task::spawn_blocking(move || {
        let outcome = action.execute(&program, &directory);
        drop(permit);
        outcome
    });
    let outcome = running.await.map_err(|error| unavailable(&error.into()))?;
    let outcome: Outcome = outcome.map_err(|error| unavailable(&error))?;
    serde_json::to_string(&outcome).map(json).map_err(|error| unavailable(&error.into()))
}

fn json(text: String) -> Response {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], text).into_response()
}

fn unavailable(error: &anyhow::Error) -> Problem {
    Problem::new(Kind::NOT_READY, format!("{error:#}"))
}
