//! The checks by single requests, the limits over real sockets.

use super::*;
use crate::api::http::auth;
use crate::api::http::content::Json;
use crate::api::http::extract::{Bytes, Path, Query};
use crate::api::http::problem::MEDIA_TYPE;
use crate::auth::Token;
use crate::config::limits::ResourceLimits;
use crate::config::trusted_proxies::TrustedProxies;
use crate::listener;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, post};
use p2p::shares::Limits;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    blocks: u32,
}

fn routes() -> Router {
    Router::new()
        .route("/v1/order", post(async |Json(order): Json<Order>| order.blocks.to_string()))
        .route("/v1/page", get(async |Query(order): Query<Order>| order.blocks.to_string()))
        .route("/v1/height/{height}", get(async |Path(height): Path<u32>| height.to_string()))
        .route("/v1/bytes", post(async |Bytes(bytes): Bytes| bytes.len().to_string()))
        .route("/v1/bug", get(async || -> String { panic!("a bug on purpose") }))
        .route("/v1/large", get(async || vec![b'x'; 64 << 20]))
        .route("/livez", get(async || "ok"))
}

fn app() -> App {
    app_of(routes())
}

fn app_of(routes: Router) -> App {
    app_with(routes, Resources::default())
}

fn app_with(routes: Router, resources: Resources) -> App {
    let hosts = AllowedHosts::new(&[]).unwrap();
    App::new(routes, hosts, Arc::default(), resources)
}

struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Response {
    /// The code of a problem, after checks of all its members.
    fn code(&self) -> String {
        assert_eq!(self.headers[header::CONTENT_TYPE], MEDIA_TYPE);
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["status"], self.status.as_u16());
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
        problem["code"].as_str().unwrap().to_owned()
    }
}

async fn send_to(routes: App, request: Request) -> Response {
    let (head, body) = routes.respond(request).await.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
    Response { status: head.status, headers: head.headers, body }
}

async fn ask(method: &str, path: &str, json: Option<&str>) -> Response {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    if json.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let body = Body::from(json.unwrap_or_default().to_owned());
    send_to(app(), request.body(body).unwrap()).await
}

#[tokio::test]
async fn valid_requests_reach_handlers() {
    assert_eq!(ask("POST", "/v1/order", Some("{\"blocks\":3}")).await.body, b"3");
    assert_eq!(ask("GET", "/v1/page?blocks=4", None).await.body, b"4");
    assert_eq!(ask("GET", "/v1/height/5", None).await.body, b"5");
}

// R05, R06, R07, R12
#[tokio::test]
async fn every_request_error_is_a_problem() {
    let deep = "[".repeat(100_000);
    for (method, path, json, status, code) in [
        ("GET", "/v1/nothing", None, 404, "not-found"),
        ("GET", "/v1/../etc/passwd", None, 404, "not-found"),
        ("GET", "/v1/%2e%2e/%00", None, 404, "not-found"),
        ("DELETE", "/v1/page", None, 405, "method-not-allowed"),
        ("POST", "/v1/order", None, 415, "unsupported-media-type"),
        ("POST", "/v1/order", Some(""), 400, "bad-request"),
        ("POST", "/v1/order", Some("{"), 400, "bad-request"),
        ("POST", "/v1/order", Some("\u{feff}{\"blocks\":1}"), 400, "bad-request"),
        ("POST", "/v1/order", Some("{\"blocks\":NaN}"), 400, "bad-request"),
        ("POST", "/v1/order", Some("{\"blocks\":1.0}"), 400, "bad-request"),
        ("POST", "/v1/order", Some("{\"blocks\":-1}"), 400, "bad-request"),
        ("POST", "/v1/order", Some("{\"blocks\":1e2}"), 400, "bad-request"),
        ("POST", "/v1/order", Some("{\"blocks\":1,\"blocks\":2}"), 400, "bad-request"),
        ("POST", "/v1/order", Some("{\"blocks\":1,\"other\":2}"), 400, "bad-request"),
        ("POST", "/v1/order", Some("{\"blocks\":1} x"), 400, "bad-request"),
        ("POST", "/v1/order", Some(&deep), 400, "bad-request"),
        ("GET", "/v1/page", None, 400, "bad-request"),
        ("GET", "/v1/page?blocks=x", None, 400, "bad-request"),
        ("GET", "/v1/height/x", None, 400, "bad-request"),
        ("GET", "/v1/height/%ff", None, 400, "bad-request"),
    ] {
        let response = ask(method, path, json).await;
        assert_eq!(response.status.as_u16(), status, "{method} {path}");
        assert_eq!(response.code(), code, "{method} {path}");
    }
}

#[tokio::test]
async fn wrong_method_lists_allowed_methods() {
    let response = ask("DELETE", "/v1/page", None).await;
    assert_eq!(response.headers[header::ALLOW], "GET,HEAD");
}

// R12: what a browser sends across sites without asking first.
#[tokio::test]
async fn rejects_json_with_text_content_type() {
    let request = Request::post("/v1/order")
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "text/plain")
        .body(Body::from("{\"blocks\":3}"));
    assert_eq!(send_to(app(), request.unwrap()).await.code(), "unsupported-media-type");
}

// R01
#[tokio::test]
async fn body_limit_is_exact() {
    for (bytes, status) in [(MAX_BODY, 200), (MAX_BODY + 1, 413)] {
        let request = Request::post("/v1/bytes").header(header::HOST, "localhost");
        let request = request.body(Body::from(vec![0; bytes])).unwrap();
        let response = send_to(app(), request).await;
        assert_eq!(response.status, status);
        if status == 413 {
            assert_eq!(response.code(), "too-large");
        }
    }
}

// R13
#[tokio::test]
async fn rejects_foreign_host_names() {
    for (hosts, line, status) in [
        (&["evil.example"][..], "/livez", 403),
        (&["localhost"], "http://evil.example/livez", 403),
        (&["evil.example"], "/v1/nothing", 403),
        (&[], "/livez", 400),
        (&["localhost", "localhost"], "/livez", 400),
        (&["LOCALHOST:8400"], "http://127.0.0.1:8400/livez", 200),
    ] {
        let mut request = Request::get(line);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        let response = send_to(app(), request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status.as_u16(), status, "{hosts:?} {line}");
        if status == 403 {
            assert_eq!(response.code(), "forbidden-host");
        }
    }
}

// R14
#[tokio::test]
async fn protected_routes_require_token() {
    let folder = tempfile::tempdir().unwrap();
    let token = Token::open_or_create(folder.path()).unwrap();
    let text = std::fs::read_to_string(folder.path().join("api-token")).unwrap();
    let text = text.trim();
    let require = from_fn_with_state(token.clone(), auth::require);
    let routes = Router::new().route("/v1/protected", post(async || "done")).route_layer(require);
    let routes = app_of(routes);
    for (authorization, status) in
        [(None, 401), (Some("Bearer 0000".to_owned()), 401), (Some(format!("Bearer {text}")), 200)]
    {
        let mut request = Request::post("/v1/protected").header(header::HOST, "localhost");
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let response = send_to(routes.clone(), request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status.as_u16(), status);
        if status == 401 {
            assert_eq!(response.code(), "unauthorized");
            assert_eq!(response.headers[header::WWW_AUTHENTICATE], "Bearer");
        }
    }
}

/// Starts a server on a free port; returns its address, shutdown signal and task.
async fn start() -> (SocketAddr, watch::Sender<bool>, tokio::task::JoinHandle<()>) {
    let listener = listener::bind("127.0.0.1:0".parse().unwrap(), "--api").unwrap();
    let address = listener::local_address(&listener).unwrap();
    let (stop, stopped) = watch::channel(false);
    (
        address,
        stop,
        tokio::spawn(serve(
            listener,
            None,
            watch::Sender::new(app()).subscribe(),
            stopped,
            CancellationToken::new(),
        )),
    )
}

// A client that had learned of the end reached the node as it was before.
#[tokio::test]
async fn no_connection_is_accepted_once_the_end_is_announced() {
    let listener = listener::bind("127.0.0.1:0".parse().unwrap(), "--api").unwrap();
    let address = listener::local_address(&listener).unwrap();
    let (stop, stopped) = watch::channel(false);
    let closed = CancellationToken::new();
    let app = watch::Sender::new(app()).subscribe();
    let server = tokio::spawn(serve(listener, None, app, stopped, closed.clone()));
    assert!(exchange(address, &get_once("/")).await.starts_with("HTTP/1.1"));
    assert!(!closed.is_cancelled());
    stop.send_replace(true);
    closed.cancelled().await;
    assert!(TcpStream::connect(address).await.is_err());
    server.await.unwrap();
}

/// Sends bytes and returns everything received until the server closes or pauses.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut received = Vec::new();
    // A reset after the response is as good as a close.
    let _ = stream.read_to_end(&mut received).await;
    String::from_utf8_lossy(&received).into_owned()
}

fn get_once(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").into_bytes()
}

/// Requests `/livez` over a persistent connection and waits for the response.
async fn get_livez(stream: &mut TcpStream) {
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut received = Vec::new();
    while !received.ends_with(b"ok") {
        assert!(stream.read_buf(&mut received).await.unwrap() > 0, "the connection is closed");
    }
}

// R24
#[tokio::test]
async fn handler_panic_is_500_and_other_requests_are_served() {
    let (address, _stop, _server) = start().await;
    for _ in 0..3 {
        let received = exchange(address, &get_once("/v1/bug")).await;
        assert!(
            received.starts_with("HTTP/1.1 500 ") && received.contains("\"internal\""),
            "{received}"
        );
        assert!(exchange(address, &get_once("/livez")).await.ends_with("ok"));
    }
}

// R20
#[tokio::test]
async fn oversized_heads_are_rejected() {
    let (address, _stop, _server) = start().await;
    let many = "A: b\r\n".repeat(200);
    let long = "x".repeat(MAX_HEAD + 1);
    for request in [
        format!("GET /livez HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"),
        format!("GET /livez HTTP/1.1\r\nHost: localhost\r\nA: {long}\r\n\r\n"),
        format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ] {
        let received = exchange(address, request.as_bytes()).await;
        let refused =
            received.starts_with("HTTP/1.1 431 ") || received.starts_with("HTTP/1.1 414 ");
        assert!(refused, "{received:.60}");
        assert!(received.contains(MEDIA_TYPE) && received.ends_with('}'), "{received}");
    }
}

// R01: hyper's own response has no body, and no metric counts it.
#[tokio::test]
async fn malformed_head_is_a_problem_and_counted() {
    let (address, _stop, _server) = start().await;
    let good = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for request in ["\0\r\n\r\n", "GET /livez HTTP/1.1\r\n: x\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        for before in ["", good] {
            let received = exchange(address, format!("{before}{request}").as_bytes()).await;
            let last = received.split("HTTP/1.1 ").last().unwrap();
            assert!(last.starts_with("400 Bad Request\r\n"), "{received}");
            let (head, body) = last.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(MEDIA_TYPE), "{received}");
            let problem: Value = serde_json::from_str(body).unwrap();
            assert_eq!(problem["code"], "bad-request");
            let served = received.matches("HTTP/1.1 200 ").count();
            assert_eq!(served, usize::from(!before.is_empty()), "{received}");
        }
    }
}

// R01: a body without an end is cut off at the limit.
#[tokio::test]
async fn endless_body_is_cut_off() {
    let (address, _stop, _server) = start().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /v1/bytes HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = [b"10000\r\n".as_slice(), &vec![0; 0x10000], b"\r\n"].concat();
    let mut sent = 0;
    while stream.write_all(&chunk).await.is_ok() {
        sent += chunk.len();
        assert!(sent < 64 * MAX_BODY, "the server goes on reading");
    }
}

// R02: slow heads, slow bodies, idle connections.
#[tokio::test]
async fn slow_clients_are_disconnected() {
    let (address, _stop, _server) = start().await;
    let begun = Instant::now();
    let (head, body, nothing) = tokio::join!(
        exchange(address, b"GET /livez HTTP/1.1\r\nHost: "),
        exchange(
            address,
            b"POST /v1/bytes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx"
        ),
        exchange(address, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    );
    assert!(begun.elapsed() < HEAD_TIMEOUT * 2, "{:?}", begun.elapsed());
    assert_eq!(head, "");
    assert!(body.contains("\"request-timeout\""), "{body}");
    assert!(nothing.ends_with("ok"), "{nothing}");
}

/// The default number of connections of the API.
const CONNECTIONS: usize = 512;

// R02
#[tokio::test]
async fn idle_connections_are_shed_for_new_ones() {
    let (address, _stop, _server) = start().await;
    let mut honest = TcpStream::connect(address).await.unwrap();
    let mut idle = Vec::new();
    for round in 0..CONNECTIONS + 50 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        idle.push(stream);
        // An old connection with recent requests is not shed.
        if round % (CONNECTIONS / 4) == 0 {
            get_livez(&mut honest).await;
        }
    }
    let asked = Instant::now();
    assert!(exchange(address, &get_once("/livez")).await.ends_with("ok"));
    assert!(asked.elapsed() < HEAD_TIMEOUT / 2, "{:?}", asked.elapsed());
    // The connection idle the longest was shed first.
    let closed = tokio::time::timeout(HEAD_TIMEOUT / 4, idle[0].read(&mut [0; 1])).await;
    assert_eq!(closed.expect("it is closed before its time is over").unwrap_or(0), 0);
    let last = idle.last().unwrap().try_read(&mut [0; 1]);
    assert_eq!(last.unwrap_err().kind(), io::ErrorKind::WouldBlock, "it is open");
}

#[tokio::test]
async fn shutdown_finishes_responses_and_closes_idle_connections() {
    let (address, stop, server) = start().await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    let mut asking = TcpStream::connect(address).await.unwrap();
    asking.write_all(&get_once("/v1/large")).await.unwrap();
    let mut start = [0; 12];
    asking.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    stop.send(true).unwrap();
    let mut rest = Vec::new();
    asking.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() > 64 << 20, "{}", rest.len());
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
    server.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

// R17: whatever they have sent or not read.
#[tokio::test]
async fn abrupt_disconnects_do_not_affect_other_clients() {
    let (address, _stop, server) = start().await;
    let body = b"POST /v1/bytes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx".to_vec();
    let requests =
        [Vec::new(), b"GET /li".to_vec(), body, get_once("/livez"), get_once("/v1/large")];
    for request in requests.iter().cycle().take(500) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        // Dropped with a response unread, which resets the connection.
        drop(stream);
    }
    assert!(exchange(address, &get_once("/livez")).await.ends_with("ok"));
    assert!(!server.is_finished());
}

// R26: what is sent compressed stays so.
#[tokio::test]
async fn compressed_bodies_are_not_decompressed() {
    let bomb = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let ask = |path: &str, media_type: &str| {
        let request = Request::post(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_ENCODING, "gzip")
            .header(header::CONTENT_TYPE, media_type);
        send_to(app(), request.body(Body::from(bomb.to_vec())).unwrap())
    };
    assert_eq!(ask("/v1/bytes", "application/octet-stream").await.body, b"20");
    assert_eq!(ask("/v1/order", "application/json").await.code(), "bad-request");
}

// R11: no CORS headers for pages of other origins.
#[tokio::test]
async fn no_cors_permission_is_granted() {
    for (method, origin) in [("GET", "https://evil.example"), ("GET", "null"), ("OPTIONS", "null")]
    {
        let request = Request::builder()
            .method(method)
            .uri("/livez")
            .header(header::HOST, "localhost")
            .header(header::ORIGIN, origin)
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST");
        let response = send_to(app(), request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status, if method == "GET" { 200 } else { 405 });
        let mut names = response.headers.keys();
        assert!(!names.any(|name| name.as_str().starts_with("access-control-")));
    }
}

// R21: HTTP/1 only.
#[tokio::test]
async fn rejects_http2() {
    let (address, _stop, _server) = start().await;
    let received = exchange(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(received.is_empty() || received.starts_with("HTTP/1.1 400 "), "{received}");
    assert!(exchange(address, &get_once("/livez")).await.ends_with("ok"));
}

// R10
#[tokio::test]
async fn remote_client_above_rate_limit_gets_429() {
    let routes = app();
    let ask = |client: &str| {
        let client: SocketAddr = client.parse().unwrap();
        let mut request = Request::get("/livez").header(header::HOST, "localhost");
        request.extensions_mut().unwrap().insert(ConnectInfo(client));
        send_to(routes.clone(), request.body(Body::empty()).unwrap())
    };
    let refused = loop {
        let response = ask("192.0.2.1:5").await;
        if response.status != 200 {
            break response;
        }
    };
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (429, "rate-limited"));
    assert!(refused.headers.contains_key(header::RETRY_AFTER));
    assert_eq!(ask("192.0.2.2:5").await.status, 200);
}

// R27
#[cfg(target_os = "linux")] // where all of 127.0.0.0/8 is local
#[tokio::test]
async fn burst_of_connections_of_many_addresses_does_not_reset_a_request() {
    let listener = listener::bind("127.0.0.1:0".parse().unwrap(), "--api").unwrap();
    let address = listener::local_address(&listener).unwrap();
    let connect = async |from: [u8; 4]| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        socket.connect(address).await.unwrap()
    };
    let mut honest = connect([127, 0, 0, 2]).await;
    honest.write_all(&get_once("/livez")).await.unwrap();
    let mut burst = Vec::new();
    for number in 0..400_u16 {
        let [high, low] = number.to_be_bytes();
        burst.push(connect([127, 1, high, low.max(1)]).await);
    }
    // All of them wait to be accepted.
    let api_connections = Limits::new(40, 20);
    let limits = ResourceLimits { api_connections, ..ResourceLimits::default() };
    let app = app_with(routes(), Resources::new(&limits, TrustedProxies::default()));
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(serve(
        listener,
        None,
        watch::Sender::new(app).subscribe(),
        stopped,
        CancellationToken::new(),
    ));
    let mut received = String::new();
    honest.read_to_string(&mut received).await.unwrap();
    assert!(received.ends_with("ok"), "{received}");
}
