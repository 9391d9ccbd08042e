//! The route table: each entry is an axum route together with its description, so that no route is
//! undocumented. Parameters and bodies are derived from the handler's argument types.

use crate::api::http::auth;
use crate::api::http::content::{Encoding, Json, OCTETS, TEXT};
use crate::api::http::extract::{self, Bytes, EncodedBody, EncodedItems, Path, Query};
use crate::api::http::host_check;
use crate::api::http::page::{List, Page};
use crate::api::http::problem::Kind;
use crate::api::http::resources::Client;
use crate::api::openapi::document::{self, Operation};
use crate::api::openapi::schema::Hex;
use crate::auth::Token;
use crate::state::NodeState;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::handler::Handler;
use axum::http::{HeaderMap, Uri};
use axum::routing::{self, MethodFilter, MethodRouter};
use axum::{Extension, Router, middleware};
use schemars::JsonSchema;
use serde_json::{Value, json};
use std::sync::Arc;

/// A handler argument that the document can describe.
pub trait Input {
    /// Adds the argument to an operation.
    fn describe(operation: &mut Operation);
}

/// Declares arguments that are not part of the interface.
macro_rules! internal {
    ($($type:ty),*) => {$(
        impl Input for $type {
            fn describe(_: &mut Operation) {}
        }
    )*};
}

internal!(State<Arc<NodeState>>, Client, Uri, HeaderMap, Encoding, Result<WebSocketUpgrade, WebSocketUpgradeRejection>);

impl<T> Input for Extension<T> {
    fn describe(_: &mut Operation) {}
}

impl<T: JsonSchema> Input for Path<T> {
    fn describe(operation: &mut Operation) {
        operation.path_parameter::<T>();
    }
}

impl<T: JsonSchema> Input for Query<T> {
    fn describe(operation: &mut Operation) {
        operation.query_parameters::<T>();
    }
}

impl<T: JsonSchema> Input for Json<T> {
    fn describe(operation: &mut Operation) {
        operation.json_body::<T>();
    }
}

impl Input for EncodedBody {
    fn describe(operation: &mut Operation) {
        operation.body(OCTETS, &json!({}));
        operation.body("text/plain", &json!({"type": "string", "pattern": Hex::PATTERN}));
    }
}

impl Input for EncodedItems {
    fn describe(operation: &mut Operation) {
        operation.body(OCTETS, &json!({}));
        operation.body(
            "text/plain",
            &json!({"type": "string", "pattern": "^(([0-9a-f]{2})*\\n)*([0-9a-f]{2})*$"}),
        );
    }
}

/// A body that the handler parses.
impl Input for Bytes {
    fn describe(operation: &mut Operation) {
        operation.any_body("application/json");
    }
}

/// The arguments of a handler.
pub trait Inputs {
    /// Adds the arguments to an operation.
    fn describe(operation: &mut Operation);
}

/// Implements `Inputs` for handlers with this number of arguments; the first element of axum's tuple
/// marks how the last argument is extracted.
macro_rules! inputs {
    ($($argument:ident),*) => {
        impl<Mark, $($argument: Input),*> Inputs for (Mark, $($argument,)*) {
            fn describe(_operation: &mut Operation) {
                $($argument::describe(_operation);)*
            }
        }
    };
}

inputs!();
inputs!(A);
inputs!(A, B);
inputs!(A, B, C);
inputs!(A, B, C, D);
inputs!(A, B, C, D, E);

/// A method of a path, with its handler and description.
pub struct Route {
    operation: Operation,
    handler: MethodRouter<Arc<NodeState>>,
    ignores_query: bool,
}

/// A route for `GET`.
pub fn get<H, T>(path: &'static str, summary: &'static str, handler: H) -> Route
where
    H: Handler<T, Arc<NodeState>>,
    T: Inputs + 'static,
{
    Route::new("get", MethodFilter::GET, path, summary, handler)
}

/// A route for `POST`.
pub fn post<H, T>(path: &'static str, summary: &'static str, handler: H) -> Route
where
    H: Handler<T, Arc<NodeState>>,
    T: Inputs + 'static,
{
    Route::new("post", MethodFilter::POST, path, summary, handler)
}

/// A route for `DELETE`.
pub fn delete<H, T>(path: &'static str, summary: &'static str, handler: H) -> Route
where
    H: Handler<T, Arc<NodeState>>,
    T: Inputs + 'static,
{
    Route::new("delete", MethodFilter::DELETE, path, summary, handler)
}

impl Route {
    fn new<H, T>(
        method: &'static str,
        filter: MethodFilter,
        path: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Route
    where
        H: Handler<T, Arc<NodeState>>,
        T: Inputs + 'static,
    {
        let mut operation = Operation::new(method, path, summary);
        T::describe(&mut operation);
        Route { operation, handler: routing::on(filter, handler), ignores_query: false }
    }

    fn with(mut self, change: impl FnOnce(&mut Operation)) -> Route {
        change(&mut self.operation);
        self
    }

    /// Adds a description to the summary.
    pub fn description(self, description: &'static str) -> Route {
        self.with(|operation| operation.description(description))
    }

    /// Returns JSON read from the chain.
    pub fn returns<T: JsonSchema>(self) -> Route {
        self.with(|operation| {
            operation.json_response::<T>(200, "The state at one tip.");
            operation.chain_headers();
        })
    }

    /// Returns a page of JSON; `lists` are the lists of its cursors.
    pub fn returns_page<T: JsonSchema>(self, lists: &[List]) -> Route {
        self.with(|operation| {
            operation.json_response::<Page<T>>(200, "A page of the list.");
            operation.chain_headers();
            let link = json!({"type": "string"});
            operation.response_header(200, "link", false, &link, "The next page, if there is one.");
            operation.cursor_parameter(&List::pattern(lists));
            operation.errors(&[Kind::CURSOR_GONE]);
        })
    }

    /// Returns bytes read from the chain, raw or in hexadecimal.
    pub fn returns_bytes(self) -> Route {
        self.with(|operation| {
            let content = json!({
                OCTETS: {"schema": {}},
                TEXT: {"schema": {"type": "string"}},
            });
            let text = "Raw bytes if `Accept` names their type, otherwise hexadecimal text.";
            operation.response(200, text, content);
            operation.chain_headers();
        })
    }

    /// Adds a JSON response.
    pub fn response<T: JsonSchema>(self, status: u16, text: &str) -> Route {
        self.with(|operation| operation.json_response::<T>(status, text))
    }

    /// Returns created JSON with its location.
    pub fn returns_created<T: JsonSchema>(self, text: &str) -> Route {
        let location = json!({"type": "string", "pattern": "^/v1/"});
        self.response::<T>(201, text).with(|operation| {
            operation.response_header(
                201,
                "location",
                true,
                &location,
                "The path of the resource.",
            );
        })
    }

    /// Adds a response of another media type.
    pub fn response_as(self, media_type: &str, text: &str) -> Route {
        let of = if media_type == "application/json" { "object" } else { "string" };
        let content = json!({media_type: {"schema": {"type": of}}});
        self.with(|operation| operation.response(200, text, content))
    }

    /// Returns a stream of items as text of a media type; `T` has the schema of each.
    pub fn streams<T: JsonSchema>(self, media_type: &str, text: &str) -> Route {
        self.with(|operation| operation.stream_response::<T>(media_type, text))
    }

    /// Declares the messages of a WebSocket: what the node sends, and what it receives.
    pub fn messages<Sent: JsonSchema, Received: JsonSchema>(self) -> Route {
        self.with(Operation::messages::<Sent, Received>)
    }

    /// Adds the 304 of a conditional request.
    pub fn not_modified(self) -> Route {
        self.with(Operation::not_modified)
    }

    /// Adds a JSON body that the handler parses itself.
    pub fn body<T: JsonSchema>(self) -> Route {
        self.with(Operation::json_body::<T>)
    }

    /// Adds a protocol upgrade.
    pub fn upgrades(self, text: &str) -> Route {
        self.with(|operation| operation.response(101, text, Value::Null))
    }

    /// Rejects requests of pages of other hosts, as every route does that is no read: for a read
    /// that makes work.
    pub fn same_origin(mut self) -> Route {
        self.handler = self.handler.route_layer(middleware::from_fn(host_check::same_origin));
        self
    }

    /// Ignores query parameters: the script of a page reads them.
    pub fn ignores_query(mut self) -> Route {
        self.ignores_query = true;
        self
    }

    /// Adds a response without a body.
    pub fn no_content(self, text: &str) -> Route {
        self.with(|operation| operation.response(204, text, Value::Null))
    }

    /// Adds problems beyond those of every route and of the arguments.
    pub fn errors(self, kinds: &[Kind]) -> Route {
        self.with(|operation| operation.errors(kinds))
    }

    /// Sets the largest body in bytes.
    pub fn body_limit(mut self, bytes: usize) -> Route {
        self.handler = self.handler.layer(DefaultBodyLimit::max(bytes));
        self
    }
}

/// A set of routes of the API, each with its operation in the OpenAPI document.
#[derive(Default)]
pub struct Routes {
    routes: Vec<Route>,
}

impl Routes {
    /// Creates a set of routes.
    pub fn new(routes: impl IntoIterator<Item = Route>) -> Routes {
        Routes { routes: routes.into_iter().collect() }
    }

    /// Requires the token for all of these routes.
    #[must_use]
    pub fn protected(mut self, token: &Token) -> Routes {
        for route in &mut self.routes {
            route.operation.protect();
            let require = middleware::from_fn_with_state(token.clone(), auth::require);
            let handler = std::mem::take(&mut route.handler);
            route.handler = handler.route_layer(require);
        }
        self
    }

    /// Adds the routes of another set.
    #[must_use]
    pub fn merge(mut self, other: Routes) -> Routes {
        self.routes.extend(other.routes);
        self
    }

    /// Builds the router and the document that describes it.
    pub fn build(self) -> (Router<Arc<NodeState>>, Value) {
        let mut router = Router::new();
        let mut operations = Vec::with_capacity(self.routes.len());
        for Route { operation, mut handler, ignores_query } in self.routes {
            if !ignores_query && !operation.has_query_parameters() {
                handler = handler.route_layer(middleware::from_fn(extract::reject_query));
            }
            router = router.route(operation.path, handler);
            operations.push(operation);
        }
        (router, document::document(&operations))
    }
}
