//! `chain verify-proof FILE`: offline verification that a block contains a transaction.
//! A proof shows that the header of the block commits to the transaction and has the proof of work
//! that its bits demand. It shows neither that the block is in the best chain nor its height.

use super::output::Rows;
use crate::api::routes::transactions::Proof;
use anyhow::{Context, Result, ensure};
use chain::block::{self, Header};
use chain::merkle::{self, Branch};
use chain::{Target, tx};
use serde_json::json;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

/// Most bytes of a proof: 32 hashes and a header are below 3 kB.
const MAX_BYTES: u64 = 65_536;

/// Verify a proof that a block contains a transaction, without a node
///
/// Nodes serve proofs at /v1/transactions/ID/proof. A proof does not show that the block is in the
/// best chain: compare the block's hash with a source you trust.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File with the proof, or - for stdin
    file: PathBuf,
}

/// A verified proof.
#[derive(Debug)]
struct VerifiedProof {
    id: tx::Id,
    block: block::Hash,
    header: Header,
    target: Target,
}

pub fn run(args: &Args, json: bool) -> Result<()> {
    let name = args.file.display();
    let text = read(&args.file).with_context(|| format!("cannot read {name}"))?;
    let proof: Proof =
        serde_json::from_str(&text).with_context(|| format!("{name} holds no proof"))?;
    let verified = verify(&proof);
    if json {
        let value = match &verified {
            Ok(verified) => json!({
                "valid": true,
                "id": verified.id.to_string(),
                "block": verified.block.to_string(),
                "position": proof.position,
                "time": verified.header.time.get(),
                "bits": verified.header.bits.to_string(),
                "expected_hashes": verified.target.work().value().to_string(),
            }),
            Err(error) => json!({ "valid": false, "error": format!("{error:#}") }),
        };
        writeln!(io::stdout(), "{value}")?;
    }
    let verified = verified.context("invalid proof")?;
    if json {
        return Ok(());
    }
    let work = verified.target.work().value();
    Rows::new()
        .row("transaction", verified.id)
        .row("in block", format!("{}, at position {}", verified.block, proof.position))
        .row("mined", format!("at {}, about {work} hashes", verified.header.time))
        .row("not proven", "that the block is in the best chain: compare its hash with a node's")
        .row("claimed height", format!("{}", proof.height))
        .print()?;
    Ok(())
}

fn read(path: &PathBuf) -> io::Result<String> {
    let mut text = String::new();
    if path.as_os_str() == "-" {
        io::stdin().take(MAX_BYTES).read_to_string(&mut text)?;
    } else {
        File::open(path)?.take(MAX_BYTES).read_to_string(&mut text)?;
    }
    Ok(text)
}

fn verify(proof: &Proof) -> Result<VerifiedProof> {
    let id: tx::Id = proof.id.parse().context("id")?;
    let claimed: block::Hash = proof.block.parse().context("block")?;
    let header = hex::decode(&proof.header).context("header")?;
    let header = Header::decode(&header).context("header")?;
    let siblings = proof.branch.iter().map(|sibling| {
        // Nodes of the tree are written in the byte order of ids.
        sibling.parse().map(|sibling: tx::Id| *sibling.as_bytes())
    });
    let siblings = siblings.collect::<Result<Vec<_>, _>>().context("branch")?;
    ensure!(siblings.len() <= merkle::MAX_DEPTH, "the branch is deeper than any block's");
    let branch = Branch { siblings, position: proof.position };
    let root = branch.root(id).context("the position does not fit the branch")?;
    ensure!(root == header.merkle_root, "the branch does not lead to the header's Merkle root");
    let block = header.hash();
    ensure!(block == claimed, "the header is that of block {block}");
    let target = header.bits.target().context("the header's bits")?;
    ensure!(target.is_met_by(block.as_bytes()), "the header does not meet its own target");
    Ok(VerifiedProof { id, block, header, target })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Bitcoin's block 170 and the first payment in it.
    fn proof() -> Proof {
        let header = "0100000055bd840a78798ad0da853f68974f3d183e2bd1db6a842c1feecf222a00000000\
                      ff104ccb05421ab93e63f8c3ce5c2c2e9dbb37de2764b3a3175c8166562cac7d\
                      51b96a49ffff001d283e9e70";
        Proof {
            id: "f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16".to_owned(),
            header: header.to_owned(),
            branch: vec![
                "b1fea52486ce0c62bb442b530a3f0132b826c74e473d1f2c220bfa78111c5082".to_owned(),
            ],
            position: 1,
            height: 170,
            block: "00000000d1145790a8694403d4063f323d499e655c83426834d4ce2f8dd4a2ee".to_owned(),
        }
    }

    fn error(change: impl FnOnce(&mut Proof)) -> String {
        let mut changed = proof();
        change(&mut changed);
        format!("{:#}", verify(&changed).unwrap_err())
    }

    #[test]
    fn accepts_proof_of_bitcoins_first_payment() {
        let verified = verify(&proof()).unwrap();
        assert_eq!(verified.target.work().value().to_string(), "4295032833");
        assert_eq!(verified.header.time.get(), 1_231_731_025);
    }

    #[test]
    fn rejects_changed_proofs() {
        assert!(error(|proof| proof.position = 0).contains("Merkle root"));
        assert!(error(|proof| proof.position = 3).contains("position"));
        assert!(error(|proof| proof.branch.clear()).contains("position"));
        assert!(error(|proof| proof.branch.push(proof.id.clone())).contains("Merkle root"));
        assert!(error(|proof| proof.branch = vec![proof.id.clone(); 33]).contains("deeper"));
        assert!(error(|proof| proof.id.replace_range(0..1, "0")).contains("Merkle root"));
        assert!(error(|proof| proof.id.truncate(63)).starts_with("id: "));
        assert!(error(|proof| proof.block.replace_range(63..64, "f")).contains("is that of block"));
        assert!(error(|proof| proof.header.truncate(158)).starts_with("header: "));
        assert!(error(|proof| proof.header.push('x')).starts_with("header: "));
    }

    // A header without proof of work shows nothing, even if it commits to the transaction.
    #[test]
    fn rejects_header_without_proof_of_work() {
        let message = error(|proof| {
            proof.header.replace_range(152..160, "00000000");
            let header = Header::decode(&hex::decode(&proof.header).unwrap()).unwrap();
            proof.block = header.hash().to_string();
        });
        assert_eq!(message, "the header does not meet its own target");
    }
}
