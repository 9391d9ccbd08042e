//! The table of methods. A new method is a row here, its function, and its line in `docs/rpc.md`.

use super::context::Context;
use super::error::Error;
use super::params::Params;
use super::{blockchain, control, credentials, mining, network, submission, template};
use crate::api::http::rate_limit::{READ, SUBMISSION};
use serde_json::Value;
use serde_json::value::RawValue;
use std::pin::Pin;

/// The execution of a call.
type Running<'a> = Pin<Box<dyn Future<Output = Result<Value, Error>> + Send + 'a>>;

/// A method.
struct Method {
    name: &'static str,
    /// The names of its parameters, in order.
    params: &'static [&'static str],
    /// Whether it needs the API token.
    is_protected: bool,
    /// The tokens of the rate limit that it costs in a batch.
    cost: u32,
    run: for<'a> fn(&'a Context, Params<'a>) -> Running<'a>,
}

/// Declares the methods: name, names of the parameters, who may call it, cost, function.
macro_rules! methods {
    ($($name:literal $params:tt $access:ident $cost:ident $run:path;)*) => {
        const METHODS: &[Method] = &[$(
            Method {
                name: $name,
                params: &$params,
                is_protected: is_protected!($access),
                cost: $cost,
                run: |context, params| Box::pin($run(context, params)),
            },
        )*];
    };
}

macro_rules! is_protected {
    (public) => {
        false
    };
    (protected) => {
        true
    };
}

methods! {
    "getblocktemplate" ["template_request"] public SUBMISSION template::get;
    "submitblock" ["hexdata", "parameters"] public SUBMISSION submission::submit;
    "getmininginfo" [] public READ mining::mining_info;
    "getnetworkhashps" ["nblocks", "height"] public READ mining::network_hashps;
    "validateaddress" ["address"] public READ mining::validate_address;
    "getblockchaininfo" [] public READ blockchain::blockchain_info;
    "getblockcount" [] public READ blockchain::block_count;
    "getbestblockhash" [] public READ blockchain::best_block_hash;
    "getblockhash" ["height"] public READ blockchain::block_hash;
    "getblockheader" ["blockhash", "verbose"] public READ blockchain::block_header;
    "getchaintips" [] public READ blockchain::chain_tips;
    "getmempoolinfo" [] public READ blockchain::mempool_info;
    "getpeerinfo" [] public READ network::peer_info;
    "generatetoaddress" ["nblocks", "address"] protected SUBMISSION control::generate_to_address;
    "invalidateblock" ["blockhash"] protected SUBMISSION control::invalidate_block;
    "reconsiderblock" ["blockhash"] protected SUBMISSION control::reconsider_block;
    "setmocktime" ["timestamp"] protected SUBMISSION control::set_mock_time;
    "stop" [] protected SUBMISSION control::stop;
}

fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

/// The tokens of the rate limit that a call costs in a batch.
pub(super) fn cost(name: &str) -> u32 {
    find(name).map_or(READ, |method| method.cost)
}

/// Executes a call.
pub(super) async fn call(
    context: &Context,
    name: &str,
    params: Option<&RawValue>,
) -> Result<Value, Error> {
    let method = find(name).ok_or_else(|| {
        let names: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
        let message = format!(
            "method `{}` not found: available are {}; the REST API is under /v1",
            name.escape_debug(),
            names.join(", ")
        );
        Error::new(Error::METHOD_NOT_FOUND, message)
    })?;
    if method.is_protected {
        credentials::require_token(&context.headers, &context.token)?;
    }
    (method.run)(context, Params::bind(params, method.params)?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_lists_every_method_with_its_parameters() {
        let document = include_str!("../../../../../docs/rpc.md");
        let rows = document.lines().filter(|line| line.starts_with("| `"));
        let documented: Vec<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
        let methods =
            METHODS.iter().map(|method| [&[method.name][..], method.params].concat().join(" "));
        assert_eq!(documented, methods.collect::<Vec<_>>());
    }

    #[test]
    fn protected_methods_are_those_that_change_the_node() {
        let protected = METHODS.iter().filter(|method| method.is_protected);
        let protected: Vec<&str> = protected.map(|method| method.name).collect();
        assert_eq!(
            protected,
            ["generatetoaddress", "invalidateblock", "reconsiderblock", "setmocktime", "stop"]
        );
    }
}
