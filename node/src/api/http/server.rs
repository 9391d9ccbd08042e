//! The HTTP server under the API: limits on time, size and connections, and the guards that every
//! request passes. Knows no route but the ones that lead nowhere.

use crate::api::http::extract::MAX_BODY;
use crate::api::http::host_check::Hosts;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::rate_limit::Limits;
use crate::api::http::response::Kept;
use crate::api::http::write_timeout::{Busy, Impatient, Socket};
use crate::explorer;
use crate::listener::is_client_error;
use crate::metrics::requests::Count;
use crate::shutdown::shutdown_requested;
use crate::tls::Tls;
use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request};
use axum::http::{HeaderMap, Method, Uri};
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
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tower::ServiceExt;

/// Connections served at a time: half of the 1,024 files that a process may usually open.
const MAX_CONNECTIONS: usize = 512;
/// How long the head of a request may take, and how long a connection may wait for one. A TLS
/// handshake before the first has as long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of a request's head; above that the answer is 431.
const MAX_HEAD: usize = 16_384;
/// How long a client may take nothing of its answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long answers in progress may take once the node stops.
const GRACE: Duration = Duration::from_secs(3);
/// The pause after the system refused a connection, most likely for want of open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A table of routes behind its guards: host names, rates, panics, size, and answers for whatever is
/// not in the table. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Guarded {
    routes: Router,
    hosts: Hosts,
    limits: Limits,
    count: Count,
}

impl Guarded {
    /// Puts the guards before a table, and counts all answers, those of the guards too, but not what
    /// is wrong with the head of a request.
    pub fn new(routes: Router, hosts: Hosts, count: Count) -> Guarded {
        let routes = routes
            .fallback(not_found)
            .method_not_allowed_fallback(method_not_allowed)
            .layer(DefaultBodyLimit::max(MAX_BODY));
        Guarded { routes, hosts, limits: Limits::default(), count }
    }

    /// The answer to a request. The guards are called here rather than layered in the router, where
    /// each would cost every request several allocations.
    pub async fn answer(&self, request: Request) -> Response {
        let begun = self.count.begin(&request);
        let response = self.answer_uncounted(request).await;
        begun.end(response.status());
        response
    }

    async fn answer_uncounted(&self, request: Request) -> Response {
        let admitted = self.hosts.check(&request).and_then(|()| self.limits.check(&request));
        if let Err(problem) = admitted {
            return problem.into_response();
        }
        let kept = Kept::of(&request);
        let Ok(response) = survive(self.routes.clone().oneshot(request)).await;
        kept.revalidate(response)
    }
}

async fn not_found(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    explorer::not_found(&method, &uri, &headers).unwrap_or_else(|| {
        Problem::new(Kind::NOT_FOUND, format!("nothing is at {}", uri.path())).into_response()
    })
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let detail =
        format!("{} does not take {method}; the Allow header tells what it does", uri.path());
    Problem::new(Kind::METHOD_NOT_ALLOWED, detail)
}

/// Answers for a handler that panics; the panic hook has already told the log.
async fn survive<E>(answer: impl Future<Output = Result<Response, E>>) -> Result<Response, E> {
    let mut answer = pin!(answer);
    std::future::poll_fn(|context| {
        // The future is dropped after a panic, so nobody sees it half done.
        catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context))).unwrap_or_else(|_panic| {
            let detail = "a bug in this node; its log says more";
            Poll::Ready(Ok(Problem::new(Kind::INTERNAL, detail).into_response()))
        })
    })
    .await
}

/// Serves until `stop` becomes true or its sender is gone; then lets answers in progress finish.
/// With `tls` it is https, and nothing else on that port.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    routes: Guarded,
    mut stop: watch::Receiver<bool>,
) {
    let mut server = Server {
        tls,
        routes,
        stop: stop.clone(),
        begun: Instant::now(),
        tasks: JoinSet::new(),
        open: Vec::new(),
    };
    let mut stopped = pin!(shutdown_requested(&mut stop));
    loop {
        tokio::select! {
            () = &mut stopped => break,
            Some(_) = server.tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => server.open(stream, peer),
                Err(error) if is_client_error(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let finish = async { while server.tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, finish).await.is_err() {
        tracing::debug!("some clients did not finish in time");
    }
}

struct Server {
    tls: Option<Tls>,
    routes: Guarded,
    stop: watch::Receiver<bool>,
    begun: Instant,
    tasks: JoinSet<()>,
    /// Those that ended are swept out when there is need.
    open: Vec<Connection>,
}

struct Connection {
    task: AbortHandle,
    busy: Busy,
}

impl Server {
    /// Serves one more client. When there are too many, the one makes room that was answered, or
    /// came, the longest ago; if all are being answered, the new one is turned away.
    fn open(&mut self, stream: TcpStream, peer: SocketAddr) {
        if self.open.len() >= MAX_CONNECTIONS {
            self.open.retain(|connection| !connection.task.is_finished());
        }
        if self.open.len() >= MAX_CONNECTIONS {
            let open = self.open.iter().enumerate();
            let waiting = open.filter_map(|(at, open)| Some((open.busy.waits_since()?, at)));
            let Some((_, longest)) = waiting.min() else {
                self.routes.count.refused();
                tracing::debug!(%peer, "turned away: {MAX_CONNECTIONS} clients are being served");
                return;
            };
            self.routes.count.shed();
            self.open.swap_remove(longest).task.abort();
        }
        let busy = Busy::new(self.begun);
        let (tls, routes) = (self.tls.clone(), self.routes.clone());
        let task = receive(stream, peer, tls, routes, busy.clone(), self.stop.clone());
        let counted = self.routes.count.connection();
        let task = self.tasks.spawn(async move {
            task.await;
            drop(counted);
        });
        self.open.push(Connection { task, busy });
    }
}

/// One connection from its first byte to its end.
async fn receive(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Tls>,
    routes: Guarded,
    busy: Busy,
    mut stop: watch::Receiver<bool>,
) {
    let socket = tokio::select! {
        socket = socket(stream, tls) => socket,
        () = shutdown_requested(&mut stop) => return,
    };
    match socket {
        Ok(socket) => converse(socket, peer, routes, busy, stop).await,
        Err(error) => tracing::debug!(%peer, %error, "a client failed to speak TLS"),
    }
}

/// What requests come from, once a TLS handshake is over if there is one.
async fn socket(stream: TcpStream, tls: Option<Tls>) -> io::Result<Box<dyn Socket>> {
    // Answers are written whole, so waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let stream = Impatient::new(stream, WRITE_TIMEOUT);
    Ok(match tls {
        None => Box::new(stream),
        Some(tls) => Box::new(tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream)).await??),
    })
}

/// The requests of one connection, and their answers.
async fn converse(
    socket: Box<dyn Socket>,
    peer: SocketAddr,
    routes: Guarded,
    busy: Busy,
    mut stop: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let answering = busy.begin();
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let routes = routes.clone();
        async move {
            let response = routes.answer(request).await;
            Ok::<_, Infallible>(response.map(|body| answering.until_sent(body)))
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
        tracing::debug!(%peer, %error, "a client's connection broke off");
    }
}

#[cfg(test)]
mod tests;
