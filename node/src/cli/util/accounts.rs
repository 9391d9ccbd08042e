//! Addresses, signatures and the commitment to accounts.

use super::input::{lines, unhex};
use super::report::{InputError, Report, ReportResult};
use chain::accounts::LtHash;
use chain::signature::{PublicKey, Signature};
use chain::{Account, Address, Amount, Params};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::io::BufRead;

#[derive(Debug, Serialize)]
pub(super) struct NoInfo {}

/// Decodes a key or a signature, which is invalid with another length.
fn fixed<const N: usize>(what: &str, hex: &str) -> Result<[u8; N], InputError> {
    let bytes = unhex(hex)?;
    bytes.as_slice().try_into().map_err(|_| {
        InputError::new("bad-signature", format!("{what} has {N} bytes, not {}", bytes.len()))
    })
}

pub(super) fn verify_signature(key: &str, message: &str, signature: &str) -> ReportResult<NoInfo> {
    let key = PublicKey::from_bytes(fixed("a public key", key)?);
    let signature = Signature::from_bytes(fixed("a signature", signature)?);
    if key.verify(&unhex(message)?, &signature) {
        Ok(Report::valid(NoInfo {}))
    } else {
        let error = "the signature is not valid for this key and message";
        Err(InputError::new("bad-signature", error).into())
    }
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum AddressInfo {
    /// Information about an address.
    Text {
        /// The prefix of the address.
        hrp: String,
        /// The built-in network of the prefix, if any.
        network: Option<String>,
        bytes: String,
    },
    /// Information about a public key.
    Key {
        public_key: String,
        bytes: String,
        /// Address by built-in network.
        addresses: BTreeMap<String, String>,
    },
}

pub(super) fn address(text: &str) -> ReportResult<AddressInfo> {
    let mut key = [0; 32];
    if hex::decode_to_slice(text, &mut key).is_ok() {
        return Ok(Report::valid(of_key(key)));
    }
    let (hrp, address) = Address::decode(text).map_err(|error| request(error.to_string()))?;
    let networks = Params::built_in();
    let network = networks.iter().find(|params| params.hrp() == hrp);
    Ok(Report::valid(AddressInfo::Text {
        hrp: hrp.to_string(),
        network: network.map(|params| params.name().to_owned()),
        bytes: hex::encode(address.as_bytes()),
    }))
}

/// An error that no rule covers.
fn request(error: impl Into<String>) -> InputError {
    InputError::new("bad-request", error)
}

fn of_key(key: [u8; 32]) -> AddressInfo {
    let address = Address::of(&key);
    AddressInfo::Key {
        public_key: hex::encode(key),
        bytes: hex::encode(address.as_bytes()),
        addresses: Params::built_in()
            .iter()
            .map(|params| (params.name().to_owned(), address.encode(params.hrp())))
            .collect(),
    }
}

#[derive(Debug, Serialize)]
pub(super) struct CommitmentInfo {
    /// Number of accounts with a balance or a nonce.
    accounts: usize,
    commitment: String,
}

pub(super) fn commitment(input: impl BufRead) -> ReportResult<CommitmentInfo> {
    let (mut commitment, mut seen) = (LtHash::empty(), HashSet::new());
    let mut accounts = 0;
    for line in lines(input) {
        let (number, text) = line?;
        let (address, account) = account(&text).map_err(|error| error.at(number))?;
        if !seen.insert(address) {
            return Err(request("duplicate address").at(number).into());
        }
        commitment.add(&address, &account);
        accounts += usize::from(!account.is_absent());
    }
    let commitment = hex::encode(commitment.digest());
    Ok(Report::valid(CommitmentInfo { accounts, commitment }))
}

/// Parses `address balance nonce`.
fn account(line: &str) -> Result<(Address, Account), InputError> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [address, balance, nonce] = words[..] else {
        return Err(request("a line is `address balance nonce`"));
    };
    let mut bytes = [0; 20];
    let address = match hex::decode_to_slice(address, &mut bytes) {
        Ok(()) => Address::from_bytes(bytes),
        Err(_) => Address::decode(address).map_err(|error| request(error.to_string()))?.1,
    };
    let balance = balance.parse().ok().and_then(Amount::new).ok_or_else(|| {
        request(format!("a balance is 0 to {} base units, not {balance:?}", Amount::MAX.units()))
    })?;
    let nonce =
        nonce.parse().map_err(|_| request(format!("a nonce is a whole number, not {nonce:?}")))?;
    Ok((address, Account { balance, nonce }))
}
