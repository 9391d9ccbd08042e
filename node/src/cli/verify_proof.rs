//! `chain verify-proof FILE`: checks offline that a transaction is in a block.
//! The proof shows that the block's header commits to the transaction and cost the work its bits
//! stand for. It cannot show that the block is in the best chain, nor at which height it stands.

use super::output::Rows;
use anyhow::{Context, Result, ensure};
use chain::block::{self, Header};
use chain::merkle::{self, Branch};
use chain::{Target, tx};
use serde::Deserialize;
use serde_json::json;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

/// Most bytes of a proof: 32 hashes and a header are below 3 kB.
const MAX_BYTES: u64 = 65_536;

/// Check a proof that a transaction is in a block, without a node
///
/// A node gives the proof at /v1/transactions/ID/proof. What it cannot prove is that the block is
/// in the best chain: compare the block's hash with a source you trust.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file with the proof, or - for stdin
    file: PathBuf,
}

/// A proof as nodes give it.
#[derive(Debug, Deserialize)]
struct Proof {
    id: String,
    header: String,
    branch: Vec<String>,
    position: u32,
    height: u32,
    block: String,
}

/// What a good proof proves.
#[derive(Debug)]
struct Proven {
    id: tx::Id,
    block: block::Hash,
    header: Header,
    target: Target,
}

/// Runs the command.
pub fn run(args: &Args, json: bool) -> Result<()> {
    let name = args.file.display();
    let text = read(&args.file).with_context(|| format!("cannot read {name}"))?;
    let proof: Proof =
        serde_json::from_str(&text).with_context(|| format!("{name} holds no proof"))?;
    let checked = check(&proof);
    if json {
        let verdict = match &checked {
            Ok(proven) => json!({
                "valid": true,
                "id": proven.id.to_string(),
                "block": proven.block.to_string(),
                "position": proof.position,
                "time": proven.header.time.get(),
                "bits": proven.header.bits.to_string(),
                "expected_hashes": proven.target.work().value().to_string(),
            }),
            Err(error) => json!({ "valid": false, "error": format!("{error:#}") }),
        };
        writeln!(io::stdout(), "{verdict}")?;
    }
    let proven = checked.context("the proof is wrong")?;
    if json {
        return Ok(());
    }
    let work = proven.target.work().value();
    Rows::new()
        .row("transaction", proven.id)
        .row("is in block", format!("{}, at position {}", proven.block, proof.position))
        .row("mined", format!("at {}, for some {work} hashes", proven.header.time))
        .row("not proven", "that the block is in the best chain: compare its hash with a node's")
        .row("said to be at", format!("height {}", proof.height))
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

fn check(proof: &Proof) -> Result<Proven> {
    let id: tx::Id = proof.id.parse().context("id")?;
    let said: block::Hash = proof.block.parse().context("block")?;
    let header = hex::decode(&proof.header).context("header")?;
    let header = Header::decode(&header).context("header")?;
    let siblings = proof.branch.iter().map(|sibling| {
        // Nodes of the tree are written as ids are.
        sibling.parse().map(|sibling: tx::Id| *sibling.as_bytes())
    });
    let siblings = siblings.collect::<Result<Vec<_>, _>>().context("branch")?;
    ensure!(siblings.len() <= merkle::MAX_DEPTH, "the branch is deeper than any block's");
    let branch = Branch { siblings, position: proof.position };
    let root = branch.root(id).context("the position does not fit the branch")?;
    ensure!(root == header.merkle_root, "the branch does not lead to the header's Merkle root");
    let block = header.hash();
    ensure!(block == said, "the header is that of block {block}");
    let target = header.bits.target().context("the header's bits")?;
    ensure!(target.is_met_by(block.as_bytes()), "the header does not meet its own target");
    Ok(Proven { id, block, header, target })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Bitcoin's block 170 and the first payment in it, as every explorer shows them.
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
        format!("{:#}", check(&changed).unwrap_err())
    }

    #[test]
    fn a_proof_of_bitcoins_first_payment_holds() {
        let proven = check(&proof()).unwrap();
        assert_eq!(proven.target.work().value().to_string(), "4295032833");
        assert_eq!(proven.header.time.get(), 1_231_731_025);
    }

    #[test]
    fn every_change_breaks_the_proof() {
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

    // A header that nobody mined proves nothing, however well it commits.
    #[test]
    fn a_header_without_its_work_proves_nothing() {
        let message = error(|proof| {
            proof.header.replace_range(152..160, "00000000");
            let header = Header::decode(&hex::decode(&proof.header).unwrap()).unwrap();
            proof.block = header.hash().to_string();
        });
        assert_eq!(message, "the header does not meet its own target");
    }
}
