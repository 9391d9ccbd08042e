//! What is remembered of a wallet besides its keys, in a file `NAME.state.json` beside it: the key that
//! identifies the wallet, and by network the signed transfers and the fee rate of nodes. JSON, version 1.
//! Not secret, and not authenticated.

use super::file::{self, FileError};
use super::lock::Lock;
use super::sent::SentTransfers;
use chain::signature::PublicKey;
use chain::{Address, block};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;

/// Largest file in bytes: some 16,000 transfers.
const MAX_BYTES: u64 = 16 << 20;

/// Why the state of a wallet cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is damaged.
    #[error("cannot read {}: it has the transfers that wait; remove it once all are confirmed", path.display())]
    Format {
        /// The path of the file.
        path: PathBuf,
        /// The reason.
        source: serde_json::Error,
    },
    /// The file is of a later version.
    #[error("{} has version {found}, only version {VERSION} is supported", path.display())]
    Version {
        /// The path of the file.
        path: PathBuf,
        /// The version of the file.
        found: u32,
    },
}

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    version: u32,
    /// The wallet's identity in hexadecimal, once it is known.
    identity: Option<String>,
    /// By genesis hash.
    networks: BTreeMap<String, NetworkState>,
}

/// What is remembered of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkState {
    /// The minimum fee rate in base units per byte at the last transfer.
    min_fee_rate: Option<u64>,
    /// By address in hexadecimal.
    accounts: BTreeMap<String, SentTransfers>,
}

impl Default for State {
    fn default() -> State {
        State { version: VERSION, identity: None, networks: BTreeMap::new() }
    }
}

impl State {
    /// Whether the wallet was known by another identity.
    pub(super) fn is_other(&self, identity: &PublicKey) -> bool {
        self.identity.as_ref().is_some_and(|known| *known != hex::encode(identity.as_bytes()))
    }

    /// Whether the wallet is known by this identity.
    pub(super) fn is_known(&self, identity: &PublicKey) -> bool {
        self.identity.is_some() && !self.is_other(identity)
    }

    pub(super) fn set_identity(&mut self, identity: &PublicKey) {
        self.identity = Some(hex::encode(identity.as_bytes()));
    }

    /// The minimum fee rate of a network in base units per byte, as it was at the last transfer.
    pub fn min_fee_rate(&self, genesis: block::Hash) -> Option<u64> {
        self.networks.get(&genesis.to_string()).and_then(|network| network.min_fee_rate)
    }

    /// Remembers the minimum fee rate of a network.
    pub fn set_min_fee_rate(&mut self, genesis: block::Hash, rate: u64) {
        self.networks.entry(genesis.to_string()).or_default().min_fee_rate = Some(rate);
    }

    /// The signed transfers of an account on a network.
    pub fn sent(&self, genesis: block::Hash, account: &Address) -> SentTransfers {
        let network = self.networks.get(&genesis.to_string());
        let sent = network.and_then(|it| it.accounts.get(&hex::encode(account.as_bytes())));
        sent.cloned().unwrap_or_default()
    }

    /// The signed transfers of an account on a network, to change them.
    pub fn sent_mut(&mut self, genesis: block::Hash, account: &Address) -> &mut SentTransfers {
        let network = self.networks.entry(genesis.to_string()).or_default();
        network.accounts.entry(hex::encode(account.as_bytes())).or_default()
    }
}

/// The state file of a wallet.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
    lock: PathBuf,
}

impl StateFile {
    /// The state file of the wallet at a path.
    pub fn of(wallet: &Path) -> StateFile {
        StateFile { path: wallet.with_extension("state.json"), lock: lock_path(wallet) }
    }

    /// Reads the state, which is empty if there is no file.
    pub fn read(&self) -> Result<State, StateError> {
        let path = || self.path.clone();
        let bytes = match file::read_up_to(&self.path, MAX_BYTES) {
            Err(FileError::Missing { .. }) => return Ok(State::default()),
            bytes => bytes?,
        };
        match serde_json::from_slice::<State>(&bytes) {
            Ok(State { version, .. }) if version != VERSION => {
                Err(StateError::Version { path: path(), found: version })
            }
            Ok(state) => Ok(state),
            Err(source) => Err(StateError::Format { path: path(), source }),
        }
    }

    /// Changes the state; it is synced to disk when this returns. Other processes wait meanwhile.
    pub fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T, StateError> {
        let _lock = Lock::acquire(&self.lock)?;
        let before = self.read()?;
        let mut after = before.clone();
        let result = change(&mut after);
        if after != before {
            let mut json =
                serde_json::to_vec_pretty(&after).expect("numbers, texts and maps serialize");
            json.push(b'\n');
            file::replace(&self.path, &json)?;
        }
        Ok(result)
    }
}

/// The lock for changes of the wallet's files, held for milliseconds.
pub(super) fn lock_path(wallet: &Path) -> PathBuf {
    wallet.with_extension("lock")
}

#[cfg(test)]
mod tests {
    use super::*;
    use chain::Params;
    use std::fs;

    #[test]
    fn changes_of_parallel_processes_are_all_kept() {
        let home = tempfile::tempdir().unwrap();
        let file = StateFile::of(&home.path().join("w.json"));
        assert_eq!(file.read().unwrap(), State::default());
        let genesis = |number: u8| block::Hash::from_bytes([number; 32]);
        std::thread::scope(|scope| {
            for number in 0..8 {
                let file = &file;
                scope.spawn(move || {
                    let rate = u64::from(number);
                    file.update(|state| state.set_min_fee_rate(genesis(number), rate)).unwrap();
                });
            }
        });
        let state = file.read().unwrap();
        for number in 0..8 {
            assert_eq!(state.min_fee_rate(genesis(number)), Some(number.into()));
        }
        let sent = state.sent(Params::dev().genesis_hash(), &Address::ZERO);
        assert_eq!(sent, SentTransfers::default());
    }

    #[test]
    fn damaged_or_later_state_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let file = StateFile::of(&home.path().join("w.json"));
        file.update(|state| state.set_min_fee_rate(Params::dev().genesis_hash(), 1)).unwrap();
        let path = home.path().join("w.state.json");
        let intact = fs::read_to_string(&path).unwrap();
        for (from, to) in [("{", ""), ("\"version\": 1", "\"version\": 2"), ("1", "-1")] {
            fs::write(&path, intact.replace(from, to)).unwrap();
            assert!(file.read().is_err(), "{from}");
            assert!(file.update(|_| ()).is_err(), "{from}");
        }
    }
}
