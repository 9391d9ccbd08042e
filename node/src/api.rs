//! The REST API: what clients see of the node, under `/v1`. This is the table of routes, from which
//! the OpenAPI document is made too; handlers are grouped by resource, shapes stand beside the
//! handlers that send them.

pub mod accounts;
mod answer;
pub mod bans;
pub mod blocks;
pub mod chain;
pub mod dev;
mod docs;
mod events;
pub mod extract;
mod health;
pub mod hosts;
pub mod jobs;
mod limit;
pub mod mempool;
mod metrics;
pub mod mining;
mod number;
mod openapi;
pub mod page;
pub mod peers;
pub mod problem;
mod refusal;
mod rpc;
pub mod server;
mod shape;
mod socket;
pub mod solutions;
mod table;
pub mod tls;
pub mod token;
pub mod transactions;
pub mod transfer;
mod wait;
mod ws;

use crate::daemon::Node;
use crate::explorer;
use crate::metrics::exposition;
use crate::metrics::requests::Count;
use anyhow::Result;
use axum::Extension;
use docs::Documentation;
use hosts::Hosts;
use page::List;
use problem::Kind;
use server::Guarded;
use std::net::SocketAddr;
use std::sync::Arc;
use table::{Table, delete, get, post};
use token::Token;

/// Every route behind its guards.
pub fn routes(node: Node, token: &Token, bound: SocketAddr, hosts: &[String]) -> Result<Guarded> {
    let hosts = Hosts::new(bound.ip(), hosts)?;
    let table = table(token, &hosts);
    let patterns = table.patterns().chain(explorer::patterns());
    let count = Count::new(Arc::clone(&node.metrics), patterns);
    let (routes, document) = table.finish();
    let routes = routes.merge(explorer::routes());
    let routes = routes.layer(Extension(Documentation::new(&document))).with_state(node);
    Ok(Guarded::new(routes, hosts, count))
}

/// Every route there is.
fn table(token: &Token, hosts: &Hosts) -> Table {
    chain_routes()
        .and(money_routes())
        .and(network_routes())
        .and(event_routes(hosts))
        .and(about_routes())
        .and(steering_routes().protected(token))
}

/// Blocks, for everyone who can reach them; and so with the next three.
fn chain_routes() -> Table {
    Table::new([
        get("/v1/chain", "Where the chain stands", chain::chain).shows::<chain::Chain>(),
        get("/v1/chain/params", "The network's parameters", chain::params)
            .shows::<chain::Parameters>(),
        get("/v1/chain/tips", "The ends of all branches, the best first", chain::tips)
            .shows::<Vec<chain::Tip>>(),
        get("/v1/blocks", "The best chain, newest first", blocks::list)
            .lists::<blocks::Summary>(&[List::Blocks]),
        post("/v1/blocks", "Hand a mined block in", blocks::submit)
            .limited(server::MAX_BLOCK_BODY)
            .makes::<blocks::HandedIn>("It is new.")
            .answers::<blocks::HandedIn>(200, "It is known.")
            .fails(&refusal::of_blocks()),
        get("/v1/blocks/{id}", "A block", blocks::one)
            .says("One that left the best chain is shown too, with `in_best_chain` false.")
            .shows::<blocks::Whole>(),
        get("/v1/blocks/{id}/header", "A block's 80 bytes", blocks::header).shows_bytes(),
        get("/v1/blocks/{id}/raw", "A whole block, encoded", blocks::raw).shows_bytes(),
        get("/v1/blocks/{id}/transactions", "A block's transactions", blocks::transactions)
            .lists::<transfer::Shown>(&[List::OfBlock]),
        get("/v1/headers", "Headers of the best chain", blocks::headers)
            .says("80 bytes each, or a line of hexadecimal each.")
            .shows_bytes(),
    ])
}

/// Transactions and accounts.
fn money_routes() -> Table {
    Table::new([
        post("/v1/transactions", "Hand a signed transfer in", transactions::submit)
            .makes::<transactions::Transaction>("It is new.")
            .answers::<transactions::Transaction>(200, "It is known.")
            .fails(&refusal::of_transfers()),
        post("/v1/transactions/check", "Judge a signed transfer", transactions::check)
            .says("As handing it in does; it is not taken.")
            .shows::<transactions::Verdict>()
            .fails(&refusal::of_transfers()),
        post("/v1/transactions/batch", "Hand several signed transfers in", transactions::batch)
            .says("At most 100, taken in order; one result each.")
            .answers::<Vec<transactions::Handled>>(200, "What became of each.")
            .fails(&refusal::of_transfers()),
        get("/v1/transactions/{id}", "A transaction and where it stands", transactions::one)
            .says(
                "With `wait=confirmed` it is answered once the transaction has so many \
                   `confirmations`, was dropped, or `timeout` seconds are over.",
            )
            .shows::<transactions::Transaction>(),
        get("/v1/transactions/{id}/proof", "That it is in a block", transactions::proof)
            .says("Enough for `chain verify-proof` to check it offline.")
            .shows::<transactions::Proof>(),
        get("/v1/transactions/{id}/raw", "A transaction, encoded", transactions::raw).shows_bytes(),
        get("/v1/accounts/{address}", "What an address holds", accounts::one)
            .shows::<accounts::Holdings>(),
        get("/v1/accounts/{address}/transactions", "What names an address", accounts::transactions)
            .says("Those that wait for a block first, each newest first.")
            .lists::<accounts::Movement>(&[List::OfAddressWaiting, List::OfAddress]),
        get("/v1/mempool", "What waits for a block, as a whole", mempool::pool)
            .shows::<mempool::Pool>(),
        get("/v1/mempool/transactions", "What waits for a block", mempool::transactions)
            .lists::<transactions::Transaction>(&[List::Waiting]),
        get("/v1/fees", "Rates that bring a transfer into one of the next blocks", mempool::fees)
            .says("By the number of blocks; base units per byte.")
            .shows::<mempool::Rates>(),
    ])
}

/// Other nodes, and miners.
fn network_routes() -> Table {
    Table::new([
        get("/v1/peers", "Who is connected", peers::list).shows::<page::Page<peers::Peer>>(),
        get("/v1/bans", "Who is kept out", bans::list).shows::<page::Page<bans::Ban>>(),
        get("/v1/mining", "What this node's threads do", mining::mining).shows::<mining::Mining>(),
        get("/v1/mining/template", "A block that lacks its nonce", mining::template)
            .says(
                "With `after` it is answered once there is a better one than that, or \
                   `timeout` seconds are over.",
            )
            .answers::<mining::Candidate>(200, "For a child of the tip.")
            .fails(&[Kind::NO_MINER]),
        get("/v1/mining/workers", "Who ever mined here by Stratum", mining::workers)
            .shows::<Vec<crate::mining::stratum::Known>>(),
        post("/v1/mining/solutions", "Hand in what was found in a template", solutions::submit)
            .makes::<blocks::HandedIn>("It is a new block.")
            .answers::<blocks::HandedIn>(200, "The block is known.")
            .fails(&refusal::of_blocks())
            .fails(&[Kind::STALE_TEMPLATE]),
        get("/v1/mining/jobs", "Mining jobs, newest first", jobs::list)
            .lists::<jobs::Job>(&[List::Jobs]),
        get("/v1/mining/jobs/{id}", "A mining job", jobs::one)
            .says("With `wait` it is answered when its state changes, or after so many seconds.")
            .shows::<jobs::Job>(),
        post("/", "Calls of Bitcoin's miners, as JSON-RPC", rpc::serve)
            .says(
                "`getblocktemplate`, `submitblock`, `getmininginfo`; the user name is the \
                   address to pay. Errors of a call come with status 200.",
            )
            .limited(server::MAX_BLOCK_BODY)
            .answers::<serde_json::Value>(200, "What came of the call.")
            .answers::<serde_json::Value>(401, "The user name is no address."),
    ])
}

/// Events as they come.
fn event_routes(hosts: &Hosts) -> Table {
    Table::new([
        get("/v1/events", "What happens, as server-sent events", events::events)
            .says(
                "From now on, or from the event after `since` or `Last-Event-ID`. `topics` and \
                   `address` let only some through.",
            )
            .answers_as("text/event-stream", "Events, and a comment now and then.")
            .fails(&[Kind::TOO_MANY_READERS]),
        get("/v1/ws", "The same over a WebSocket", ws::open)
            .says(
                "It also takes `subscribe` and `submit_transaction`. Pages of other sites are \
                   turned away.",
            )
            .switches("The WebSocket is open.")
            .for_own_pages(hosts)
            .fails(&[Kind::TOO_MANY_READERS]),
    ])
}

/// The node and this interface.
fn about_routes() -> Table {
    Table::new([
        get("/", "The explorer, for people", explorer::home)
            .answers_as(explorer::DOCUMENT, "Its first page.")
            .revalidates(),
        get("/livez", "Whether the node lives", health::live).answers_as(extract::TEXT, "It does."),
        get("/readyz", "Whether the node is ready to be asked", health::ready)
            .answers_as(extract::TEXT, "It is."),
        get("/metrics", "What the node counts, for Prometheus", metrics::show)
            .answers_as(exposition::TEXT, "Its text format, version 0.0.4."),
        get("/openapi.json", "This interface, for programs", docs::document)
            .answers_as(docs::JSON, "An OpenAPI document."),
        get("/docs", "This interface, for people", docs::page).answers_as(docs::HTML, "A page."),
        get("/docs.css", "How that page looks", docs::style)
            .answers_as(docs::CSS, "A style sheet."),
    ])
}

/// For those who have the token: they change the node.
fn steering_routes() -> Table {
    Table::new([
        post("/v1/dev/generate", "Make blocks at once", dev::generate)
            .answers::<dev::Generated>(200, "They are the best chain's last ones.")
            .fails(&[Kind::NOT_AVAILABLE, Kind::NO_MINER, Kind::DISK_FULL])
            .fails(&[Kind::rule("time-too-new")]),
        post("/v1/dev/time", "Shift the clock", dev::time)
            .says(
                "By it this node judges and mines, until it stops. Peers keep theirs, and what \
                   they send is compared with this machine's first.",
            )
            .answers::<dev::Clock>(200, "It is shifted.")
            .fails(&[Kind::NOT_AVAILABLE]),
        post("/v1/dev/invalidate", "Turn away from a block", dev::invalidate)
            .says(
                "And from all that descends from it, over restarts: the tip moves to the best \
                   of the other branches. Other nodes are not told.",
            )
            .answers::<dev::Moved>(200, "It is not followed.")
            .fails(&[Kind::NOT_AVAILABLE, Kind::NOT_FOUND, Kind::DISK_FULL]),
        post("/v1/dev/reconsider", "Follow a block again, if it is the best", dev::reconsider)
            .says("Takes back what `invalidate` did to it, its ancestors and its descendants.")
            .answers::<dev::Moved>(200, "It may be followed.")
            .fails(&[Kind::NOT_AVAILABLE, Kind::NOT_FOUND, Kind::DISK_FULL]),
        post("/v1/dev/faucet", "Have coins sent to an address", dev::faucet)
            .says(
                "They come from the last of the ten accounts that own something on `dev`, whose \
                   words are public. They arrive with the next block.",
            )
            .makes::<transactions::Transaction>("They are on their way.")
            .fails(&refusal::of_transfers())
            .fails(&[Kind::NOT_AVAILABLE]),
        post("/v1/mining/jobs", "Have this node mine", jobs::create)
            .says("An `Idempotency-Key` makes the same order the same job.")
            .takes::<jobs::Order>()
            .answers::<jobs::Job>(202, "It begins when it may.")
            .fails(&[Kind::NO_MINER, Kind::INVALID_JOB, Kind::IDEMPOTENCY_KEY_USED])
            .fails(&[Kind::TOO_MANY_JOBS, Kind::DISK_FULL]),
        delete("/v1/mining/jobs/{id}", "Cancel a mining job", jobs::cancel)
            .answers::<jobs::Job>(200, "It is at its end.")
            .fails(&[Kind::DISK_FULL]),
        post("/v1/peers", "Connect with a node, and stay connected", peers::add)
            .makes::<peers::Added>("It has answered.")
            .answers::<peers::Added>(202, "It does not answer yet.")
            .fails(&[Kind::BANNED, Kind::NO_PEER]),
        delete("/v1/peers/{id}", "Disconnect from a node", peers::remove)
            .answers_nothing("It is not called again."),
        post("/v1/bans", "Keep somebody out", bans::add).makes::<bans::Ban>("Until then."),
        delete("/v1/bans/{who}", "Let somebody in again", bans::lift)
            .answers_nothing("Who it was may come."),
    ])
}

#[cfg(test)]
mod tests;
