//! The HTTP server under the API: limits on time, size and connections, and the checks that every
//! request passes. Knows no route but the fallbacks.
//!
//! The accept loop is not `hyper_util`'s: connections have shares by address, and give way to others.
//! Nor are timeouts `tower_http`'s: they would end long polls and streams, where only a client that
//! does not read is at fault.

use crate::api::http::extract::MAX_BODY;
use crate::api::http::guarded_body::until_sent;
use crate::api::http::host_check::{self, AllowedHosts};
use crate::api::http::parse_error::ProblemSocket;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::resources::{Connection, Resources};
use crate::api::http::response::IfNoneMatch;
use crate::api::http::write_timeout::{Pace, Socket, WriteTimeout};
use crate::explorer;
use crate::listener::is_client_error;
use crate::logging;
use crate::metrics::http::HttpMetrics;
use crate::shutdown::shutdown_requested;
use crate::tls::Tls;
use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::header::{CONNECTION, CONTENT_LENGTH};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Time limit for a request head, for an idle connection to send the next one, and for a TLS
/// handshake.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest request head in bytes; above that the response is 431.
const MAX_HEAD: usize = 16_384;
/// The slowest pace at which a client may read a response: 16 KiB/s.
const SLOWEST: Pace = Pace { bytes: 160 << 10, period: Duration::from_secs(10) };
/// Time limit for responses in progress at shutdown.
const GRACE: Duration = Duration::from_secs(3);
/// The pause after a failed `accept`, most likely for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The routes with the checks that every request passes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    router: Router,
    metrics: Arc<HttpMetrics>,
    resources: Resources,
}

impl App {
    pub fn new(
        routes: Router,
        hosts: AllowedHosts,
        metrics: Arc<HttpMetrics>,
        resources: Resources,
    ) -> App {
        let checks = Checks { hosts, resources: resources.clone(), metrics: Arc::clone(&metrics) };
        let router = routes
            .fallback(not_found)
            .method_not_allowed_fallback(method_not_allowed)
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .layer(from_fn_with_state(checks, check));
        App { router, metrics, resources }
    }

    pub async fn respond(&self, request: Request) -> Response {
        let Ok(mut response) = self.router.clone().oneshot(request).await;
        if response.status() == StatusCode::NOT_MODIFIED {
            // axum adds the length of the empty body, but here the header means that of a 200.
            response.headers_mut().remove(CONTENT_LENGTH);
        }
        response
    }
}

#[derive(Clone, Debug)]
struct Checks {
    hosts: AllowedHosts,
    resources: Resources,
    metrics: Arc<HttpMetrics>,
}

/// Checks the host name and the limits of the client, counts the response, and turns panics into
/// problems. This is one middleware rather than several, since each costs every request several
/// allocations.
async fn check(State(checks): State<Checks>, mut request: Request, next: Next) -> Response {
    let in_flight = checks.metrics.start(&request);
    let (client, within_limits) = checks.resources.client_of(&request);
    let counted = checks
        .hosts
        .check(&request)
        .and_then(|()| match request.method().is_safe() {
            true => Ok(()),
            false => host_check::check_same_origin(&request),
        })
        .and(within_limits)
        .and_then(|()| client.count_request(request.headers()));
    let mut response = match counted {
        Ok(_bytes) => {
            request.extensions_mut().insert(client.clone());
            let if_none_match = IfNoneMatch::of(&request);
            let response = if_none_match.revalidate(catch_panic(next.run(request)).await);
            client.count_response(response).unwrap_or_else(IntoResponse::into_response)
        }
        Err(problem) => problem.into_response(),
    };
    if client.is_last_request() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    in_flight.finish(response.status());
    response
}

async fn not_found(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    explorer::not_found(&method, &uri, &headers).unwrap_or_else(|| {
        Problem::new(Kind::NOT_FOUND, format!("{} does not exist", uri.path())).into_response()
    })
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let detail =
        format!("{} does not take {method}; the Allow header lists what it does", uri.path());
    Problem::new(Kind::METHOD_NOT_ALLOWED, detail)
}

/// Responds with a problem if the handler panics; the panic hook has already logged it.
async fn catch_panic(response: impl Future<Output = Response>) -> Response {
    let mut response = pin!(response);
    std::future::poll_fn(|context| {
        // The future is dropped after a panic, so its broken state is not observed.
        catch_unwind(AssertUnwindSafe(|| response.as_mut().poll(context))).unwrap_or_else(
            |_panic| {
                let detail = "a bug in this node; see its log";
                Poll::Ready(Problem::new(Kind::INTERNAL, detail).into_response())
            },
        )
    })
    .await
}

/// Serves until `stop` becomes true or its sender is dropped, then cancels `closed`, as it accepts no more
/// connections, and finishes responses in progress. Each request is for the application that `app` has
/// then.
/// With `tls` the port serves HTTPS only.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    app: watch::Receiver<App>,
    mut stop: watch::Receiver<bool>,
    closed: CancellationToken,
) {
    let (metrics, resources) = {
        let app = app.borrow();
        (Arc::clone(&app.metrics), app.resources.clone())
    };
    let tasks = JoinSet::new();
    let mut server = Server { tls, app, metrics, resources, stop: stop.clone(), tasks };
    let mut stopped = pin!(shutdown_requested(&mut stop));
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => break,
            Some(_) = server.tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    server.accept(stream, peer);
                    // A burst of newcomers must not evict connections whose requests have arrived.
                    tokio::task::yield_now().await;
                }
                Err(error) if is_client_error(&error) => {}
                Err(error) => {
                    logging::limited("accept a connection", |dropped| {
                        tracing::warn!(%error, dropped, "cannot accept a connection");
                    });
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    closed.cancel();
    let finish = async { while server.tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, finish).await.is_err() {
        tracing::debug!("some connections did not finish in time");
    }
}

struct Server {
    tls: Option<Tls>,
    app: watch::Receiver<App>,
    metrics: Arc<HttpMetrics>,
    resources: Resources,
    stop: watch::Receiver<bool>,
    tasks: JoinSet<()>,
}

impl Server {
    /// Serves a new connection, until it has to give way to others. While all are in use it is refused
    /// if none gives way.
    fn accept(&mut self, stream: TcpStream, peer: SocketAddr) {
        let Some(connection) = self.resources.connect(peer) else {
            self.metrics.connections.refused.increment();
            tracing::debug!(%peer, "connection refused: all are in use");
            return;
        };
        let (close, metrics) = (connection.close.clone(), Arc::clone(&self.metrics));
        let (tls, app) = (self.tls.clone(), self.app.clone());
        let served = serve_connection(stream, peer, tls, app, connection, self.stop.clone());
        let in_progress = metrics.connections.open.enter();
        self.tasks.spawn(async move {
            tokio::select! {
                () = served => {}
                () = close.cancelled() => metrics.connections.shed.increment(),
            }
            drop(in_progress);
        });
    }
}

/// Serves a connection: the TLS handshake, if any, then HTTP.
async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Tls>,
    app: watch::Receiver<App>,
    connection: Connection,
    mut stop: watch::Receiver<bool>,
) {
    let socket = tokio::select! {
        socket = socket(stream, tls) => socket,
        () = shutdown_requested(&mut stop) => return,
    };
    match socket {
        Ok(socket) => serve_http(socket, peer, app, connection, stop).await,
        Err(error) => tracing::debug!(%peer, %error, "TLS handshake failed"),
    }
}

/// The stream to serve, after the TLS handshake if there is one.
async fn socket(stream: TcpStream, tls: Option<Tls>) -> io::Result<Box<dyn Socket>> {
    // Responses are written whole, so waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let stream = WriteTimeout::new(stream, SLOWEST);
    Ok(match tls {
        None => Box::new(stream),
        Some(tls) => Box::new(tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream)).await??),
    })
}

/// Serves the requests of a connection.
async fn serve_http(
    socket: Box<dyn Socket>,
    peer: SocketAddr,
    app: watch::Receiver<App>,
    connection: Connection,
    mut stop: watch::Receiver<bool>,
) {
    let metrics = Arc::clone(&app.borrow().metrics);
    let socket = ProblemSocket::new(socket, connection.clone(), metrics);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let active = connection.begin();
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(connection.clone());
        let app = app.borrow().clone();
        async move {
            let response = app.respond(request).await;
            Ok::<_, Infallible>(response.map(|body| until_sent(body, active)))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_header_size(MAX_HEAD);
    let connection = http.serve_connection(TokioIo::new(socket), service).with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown_requested(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection failed");
    }
}

#[cfg(test)]
mod tests;
