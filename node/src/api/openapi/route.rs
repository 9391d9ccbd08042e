//! The table of routes: each row is an axum route and its description at once, so that there is no
//! route without one. What a handler takes is read off its own type.

use crate::api::http::auth;
use crate::api::http::content::{Form, Json, OCTETS, TEXT};
use crate::api::http::extract::{Bytes, Encoded, Path, Query};
use crate::api::http::host_check::{self, Hosts};
use crate::api::http::page::{List, Page};
use crate::api::http::problem::Kind;
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

/// A part of what a handler takes, as the document tells of it.
pub trait Input {
    /// Adds it to an operation.
    fn describe(operation: &mut Operation);
}

/// Declares what is no business of clients.
macro_rules! internal {
    ($($type:ty),*) => {$(
        impl Input for $type {
            fn describe(_: &mut Operation) {}
        }
    )*};
}

internal!(State<Arc<NodeState>>, Uri, HeaderMap, Form, Result<WebSocketUpgrade, WebSocketUpgradeRejection>);

impl<T> Input for Extension<T> {
    fn describe(_: &mut Operation) {}
}

impl<T: JsonSchema> Input for Path<T> {
    fn describe(operation: &mut Operation) {
        operation.takes_path::<T>();
    }
}

impl<T: JsonSchema> Input for Query<T> {
    fn describe(operation: &mut Operation) {
        operation.takes_query::<T>();
    }
}

impl<T: JsonSchema> Input for Json<T> {
    fn describe(operation: &mut Operation) {
        operation.takes_json::<T>();
    }
}

impl Input for Encoded {
    fn describe(operation: &mut Operation) {
        operation.takes_body(OCTETS, &json!({}));
        operation.takes_body("text/plain", &json!({"type": "string", "pattern": Hex::PATTERN}));
    }
}

/// Anything, to be read by the handler.
impl Input for Bytes {
    fn describe(operation: &mut Operation) {
        operation.takes_anything("application/json");
    }
}

/// All that a handler takes.
pub trait Inputs {
    /// Adds it to an operation.
    fn describe(operation: &mut Operation);
}

/// Declares this for handlers of so many arguments; the first member of axum's tuple marks how the
/// last argument is taken.
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

/// One method of one path, with its handler.
pub struct Row {
    operation: Operation,
    route: MethodRouter<Arc<NodeState>>,
}

/// A row for `GET`.
pub fn get<H, T>(path: &'static str, summary: &'static str, handler: H) -> Row
where
    H: Handler<T, Arc<NodeState>>,
    T: Inputs + 'static,
{
    Row::new("get", MethodFilter::GET, path, summary, handler)
}

/// A row for `POST`.
pub fn post<H, T>(path: &'static str, summary: &'static str, handler: H) -> Row
where
    H: Handler<T, Arc<NodeState>>,
    T: Inputs + 'static,
{
    Row::new("post", MethodFilter::POST, path, summary, handler)
}

/// A row for `DELETE`.
pub fn delete<H, T>(path: &'static str, summary: &'static str, handler: H) -> Row
where
    H: Handler<T, Arc<NodeState>>,
    T: Inputs + 'static,
{
    Row::new("delete", MethodFilter::DELETE, path, summary, handler)
}

impl Row {
    fn new<H, T>(
        method: &'static str,
        filter: MethodFilter,
        path: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Row
    where
        H: Handler<T, Arc<NodeState>>,
        T: Inputs + 'static,
    {
        let mut operation = Operation::new(method, path, summary);
        T::describe(&mut operation);
        Row { operation, route: routing::on(filter, handler) }
    }

    fn with(mut self, change: impl FnOnce(&mut Operation)) -> Row {
        change(&mut self.operation);
        self
    }

    /// Says more than the summary.
    pub fn says(self, description: &'static str) -> Row {
        self.with(|operation| operation.describe(description))
    }

    /// Shows something of the chain, as JSON.
    pub fn shows<T: JsonSchema>(self) -> Row {
        self.with(|operation| {
            operation.answers_json::<T>(200, "As it is at one tip.");
            operation.reads();
        })
    }

    /// Shows a page of a list; its cursors are those of these lists.
    pub fn lists<T: JsonSchema>(self, lists: &[List]) -> Row {
        self.with(|operation| {
            operation.answers_json::<Page<T>>(200, "A page.");
            operation.reads();
            let link = json!({"type": "string"});
            operation.sends_header(200, "link", false, &link, "The next page, if there is more.");
            operation.takes_cursor(&List::pattern(lists));
            operation.fails(&[Kind::CURSOR_GONE]);
        })
    }

    /// Shows bytes of the chain, raw or in hexadecimal.
    pub fn shows_bytes(self) -> Row {
        self.with(|operation| {
            let content = json!({
                OCTETS: {"schema": {}},
                TEXT: {"schema": {"type": "string"}},
            });
            let text = "The bytes if `Accept` names their type, otherwise hexadecimal text.";
            operation.answers(200, text, content);
            operation.reads();
        })
    }

    /// Answers with JSON.
    pub fn answers<T: JsonSchema>(self, status: u16, text: &str) -> Row {
        self.with(|operation| operation.answers_json::<T>(status, text))
    }

    /// Answers with JSON, and says where what it made is.
    pub fn makes<T: JsonSchema>(self, text: &str) -> Row {
        let location = json!({"type": "string", "pattern": "^/v1/"});
        self.answers::<T>(201, text).with(|operation| {
            operation.sends_header(201, "location", true, &location, "Where it is.");
        })
    }

    /// Answers with a body that is no JSON.
    pub fn answers_as(self, media_type: &str, text: &str) -> Row {
        let of = if media_type == "application/json" { "object" } else { "string" };
        let content = json!({media_type: {"schema": {"type": of}}});
        self.with(|operation| operation.answers(200, text, content))
    }

    /// Is kept by clients, who ask whether it is still right.
    pub fn revalidates(self) -> Row {
        self.with(Operation::revalidates)
    }

    /// Takes a body of this shape, whatever its handler calls it.
    pub fn takes<T: JsonSchema>(self) -> Row {
        self.with(Operation::takes_json::<T>)
    }

    /// Goes on in another protocol.
    pub fn switches(self, text: &str) -> Row {
        self.with(|operation| operation.answers(101, text, Value::Null))
    }

    /// Turns pages of other sites away.
    pub fn for_own_pages(mut self, hosts: &Hosts) -> Row {
        let check = middleware::from_fn_with_state(hosts.clone(), host_check::check_origin);
        self.route = self.route.route_layer(check);
        self
    }

    /// Answers with nothing.
    pub fn answers_nothing(self, text: &str) -> Row {
        self.with(|operation| operation.answers(204, text, Value::Null))
    }

    /// May end in these problems, besides those that every row has and those its inputs bring.
    pub fn fails(self, kinds: &[Kind]) -> Row {
        self.with(|operation| operation.fails(kinds))
    }

    /// Takes a body of at most so many bytes.
    pub fn limited(mut self, bytes: usize) -> Row {
        self.route = self.route.layer(DefaultBodyLimit::max(bytes));
        self
    }
}

/// Rows.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// These rows.
    pub fn new(rows: impl IntoIterator<Item = Row>) -> Table {
        Table { rows: rows.into_iter().collect() }
    }

    /// All of these need the token.
    #[must_use]
    pub fn protected(mut self, token: &Token) -> Table {
        for row in &mut self.rows {
            row.operation.protect();
            let require = middleware::from_fn_with_state(token.clone(), auth::require);
            let route = std::mem::take(&mut row.route);
            row.route = route.route_layer(require);
        }
        self
    }

    /// With the rows of another.
    #[must_use]
    pub fn and(mut self, other: Table) -> Table {
        self.rows.extend(other.rows);
        self
    }

    /// The paths of all rows, variable parts in braces.
    pub fn patterns(&self) -> impl Iterator<Item = &'static str> {
        self.rows.iter().map(|row| row.operation.path)
    }

    /// The routes, and the document that describes them.
    pub fn finish(self) -> (Router<Arc<NodeState>>, Value) {
        let mut router = Router::new();
        let mut operations = Vec::with_capacity(self.rows.len());
        for Row { operation, route } in self.rows {
            router = router.route(operation.path, route);
            operations.push(operation);
        }
        (router, document::document(&operations))
    }
}
