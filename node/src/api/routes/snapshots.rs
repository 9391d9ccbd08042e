//! Snapshots of a node on a development network, and the return to them.

use crate::api::http::content::Json;
use crate::api::http::extract::Path;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::response::blocking;
use crate::api::openapi::route::{Routes, delete, get, post};
use crate::api::openapi::schema::BlockHash;
use crate::api::routes::dev::require_dev_network;
use crate::auth::Token;
use crate::json_file;
use crate::snapshot::{Copier, DESCRIPTION, Name, Size, Store, VERSION};
use crate::state::NodeState;
use anyhow::{Context, ensure};
use axum::extract::State;
use axum::http::StatusCode;
use chain::ledger::Reader;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

/// Number of attempts to copy files some of which may be replaced meanwhile.
const ATTEMPTS: usize = 3;

pub fn routes(token: &Token) -> Routes {
    Routes::new([
        post("/v1/dev/snapshot", "Take a snapshot", take)
            .description(
                "Contains what the node has stored: chain, mempool, clock, jobs, events and bans.",
            )
            .response::<Snapshot>(201, "The snapshot was taken.")
            .errors(&[Kind::NOT_AVAILABLE, Kind::SNAPSHOT_EXISTS, Kind::DISK_FULL]),
        get("/v1/dev/snapshots", "List the snapshots", list)
            .response::<Snapshots>(200, "The snapshots.")
            .errors(&[Kind::NOT_AVAILABLE]),
        delete("/v1/dev/snapshots/{name}", "Remove a snapshot", remove)
            .no_content("The snapshot was removed.")
            .errors(&[Kind::NOT_AVAILABLE, Kind::NOT_FOUND]),
        post("/v1/dev/revert", "Return to a snapshot", revert)
            .description(
                "The node ends all connections and starts again, in the state of the snapshot, at the same \
                 address: the next request waits until then. The ids of later events are used again; \
                 subscribers that resume after one that does not exist receive a `reset`.",
            )
            .response::<Snapshot>(200, "The node returns to the snapshot.")
            .errors(&[Kind::NOT_AVAILABLE, Kind::NOT_FOUND, Kind::HAS_PEERS, Kind::DISK_FULL]),
    ])
    .protected(token)
}

/// A request that names a snapshot.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRequest {
    /// The name: letters, digits, `-`, `_` and `.`, of which the first is none of `-` and `.`.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"))]
    pub name: String,
}

/// A snapshot.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// The name.
    pub name: String,
    /// The time at which it was taken, Unix seconds.
    pub created: u64,
    /// The height of the tip.
    pub height: u32,
    /// The hash of the tip.
    #[schemars(with = "BlockHash")]
    pub tip: String,
    /// The size of its files in bytes.
    pub bytes: u64,
}

/// The snapshots of a node, sorted by name.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Snapshots {
    /// The snapshots.
    pub items: Vec<Snapshot>,
}

/// What the file beside the data of a snapshot contains.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    version: u32,
    created: u64,
    height: u32,
    tip: String,
    size: Size,
}

impl Description {
    fn read(store: &Store, name: &Name) -> anyhow::Result<Description> {
        let path = store.find(name)?.join(DESCRIPTION);
        let context = || format!("cannot read {}", path.display());
        let text = fs::read_to_string(&path).with_context(context)?;
        let description: Description = serde_json::from_str(&text).with_context(context)?;
        let version = description.version;
        ensure!(version == VERSION, "{} has version {version}, not {VERSION}", path.display());
        Ok(description)
    }

    fn into_response(self, name: &Name) -> Snapshot {
        let Description { created, height, tip, size: Size { bytes, .. }, .. } = self;
        Snapshot { name: name.to_string(), created, height, tip, bytes }
    }
}

fn parse(name: &str) -> Result<Name, Problem> {
    name.parse().map_err(|error: anyhow::Error| Problem::new(Kind::BAD_REQUEST, error.to_string()))
}

/// The problem of an error of the file system.
fn problem(error: &anyhow::Error) -> Problem {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    let kind = match kind {
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Kind::DISK_FULL,
        _ => Kind::INTERNAL,
    };
    Problem::new(kind, format!("{error:#}"))
}

fn known(store: &Store, name: &Name) -> Result<(), Problem> {
    match store.contains(name) {
        true => Ok(()),
        false => Err(Problem::new(Kind::NOT_FOUND, format!("no snapshot `{name}`"))),
    }
}

pub async fn take(
    State(node): State<Arc<NodeState>>,
    Json(request): Json<SnapshotRequest>,
) -> Result<(StatusCode, Json<Snapshot>), Problem> {
    require_dev_network(&node)?;
    let name = parse(&request.name)?;
    let store = node.snapshots.lock().await;
    if store.contains(&name) {
        let detail = format!("there is a snapshot `{name}`");
        return Err(Problem::new(Kind::SNAPSHOT_EXISTS, detail));
    }
    let (taking, named, reader) = (store.clone(), name.clone(), node.reader.clone());
    let taken = node.writer.between_changes(move || copy(&taking, &named, &reader)).await?;
    let taken = taken.map_err(|error| problem(&error))?;
    tracing::info!(%name, height = taken.height, "took a snapshot");
    Ok((StatusCode::CREATED, Json(taken.into_response(&name))))
}

/// Takes a snapshot while the chain does not change.
fn copy(store: &Store, name: &Name, reader: &Reader) -> anyhow::Result<Description> {
    let tip = *reader.view().tip();
    let copied = || {
        store.create(name, |to| {
            Copier::default().copy_data_of_running(store.owner(), to)?;
            let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let description = Description {
                version: VERSION,
                created: created.as_secs(),
                height: tip.height.get(),
                tip: tip.hash.to_string(),
                size: Size::of(to)?,
            };
            json_file::write(&to.join(DESCRIPTION), &description)?;
            Ok(description)
        })
    };
    // Journals and logs may remove a file between the reading of a directory and that of the file.
    let is_missing = |error: &anyhow::Error| {
        let error = error.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let mut outcome = copied();
    for _ in 1..ATTEMPTS {
        match &outcome {
            Err(error) if is_missing(error) => outcome = copied(),
            _ => break,
        }
    }
    outcome
}

pub async fn list(State(node): State<Arc<NodeState>>) -> Result<Json<Snapshots>, Problem> {
    require_dev_network(&node)?;
    let store = node.snapshots.lock().await.clone();
    let listed = blocking(move || {
        let names = store.names()?.into_iter();
        names.map(|name| Ok(Description::read(&store, &name)?.into_response(&name))).collect()
    });
    let items: anyhow::Result<Vec<Snapshot>> = listed.await?;
    Ok(Json(Snapshots { items: items.map_err(|error| problem(&error))? }))
}

pub async fn remove(
    State(node): State<Arc<NodeState>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    require_dev_network(&node)?;
    let name = parse(&name)?;
    let store = node.snapshots.lock().await;
    known(&store, &name)?;
    let removing = store.clone();
    let removed = blocking(move || removing.remove(&name)).await?;
    removed.map_err(|error| problem(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn revert(
    State(node): State<Arc<NodeState>>,
    Json(request): Json<SnapshotRequest>,
) -> Result<Json<Snapshot>, Problem> {
    require_dev_network(&node)?;
    let name = parse(&request.name)?;
    let Some(restart) = &node.restart else {
        let detail = "this node ends with the command that runs it: only `chain node` starts again";
        return Err(Problem::new(Kind::NOT_AVAILABLE, detail));
    };
    let store = node.snapshots.lock().await;
    known(&store, &name)?;
    let peers = node.peers.peers().await.len();
    if peers > 0 {
        let detail = format!("{peers} peers would send the later blocks again");
        return Err(Problem::new(Kind::HAS_PEERS, detail));
    }
    let description = Description::read(&store, &name).map_err(|error| problem(&error))?;
    store.returns_to(&name).map_err(|error| problem(&error))?;
    // The next start completes it.
    restart.store(true, Ordering::Relaxed);
    node.shutdown.cancel();
    // After the response, each new connection reaches the node that has returned.
    node.api_closed.cancelled().await;
    Ok(Json(description.into_response(&name)))
}
