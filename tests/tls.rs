//! HTTPS, and the certificates that clients trust.

use crate::harness::{Node, Process, chain, eventually, run, signal, without_terminal};
use crate::test_chain::{test_address, text};
use chain::hash::sha256;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite;

/// Deadline of waits, generous for a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// A certificate authority.
struct Authority {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority { certificate: params.self_signed(&key).unwrap(), key }
    }

    /// Issues a certificate for names, with its key.
    fn issue(&self, names: &[&str]) -> (rcgen::Certificate, KeyPair) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        (params.signed_by(&key, &self.certificate, &self.key).unwrap(), key)
    }
}

/// A directory with `ca.pem`, `cert.pem`, `key.pem` and the data directory of a node.
struct World {
    folder: TempDir,
    authority: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
}

impl World {
    fn new(names: &[&str]) -> World {
        let authority = Authority::new();
        let (certificate, key) = authority.issue(names);
        let world = World {
            folder: tempfile::tempdir().unwrap(),
            authority: authority.certificate.der().clone(),
            certificate: certificate.der().clone(),
        };
        fs::write(world.path("ca.pem"), authority.certificate.pem()).unwrap();
        fs::write(world.path("cert.pem"), certificate.pem()).unwrap();
        fs::write(world.path("key.pem"), key.serialize_pem()).unwrap();
        world
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// A TLS server with that certificate, without a node.
    fn tls_server(&self) -> ServerConnection {
        let key = PrivateKeyDer::from_pem_file(self.path("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = config.with_single_cert(vec![self.certificate.clone()], key).unwrap();
        ServerConnection::new(Arc::new(config)).unwrap()
    }

    /// Starts a node with that certificate, and waits until it responds.
    fn start(&self) -> Server {
        self.start_with(|_| None)
    }

    /// Starts a node by the command that `wrap` returns, if any.
    fn start_with(&self, wrap: impl Fn(&Command) -> Option<Command>) -> Server {
        let data = self.path("data");
        let mut command = chain(&["node", "--network", "dev", "--api", "127.0.0.1:0"]);
        command.args(["--data", &data, "--stratum", "127.0.0.1:0"]);
        command.args(["--tls-cert", &self.path("cert.pem"), "--tls-key", &self.path("key.pem")]);
        let mut command = wrap(&command).unwrap_or(command);
        let mut process = Process::start(&mut command, &PathBuf::from(&data));
        eventually("the response by HTTPS", || {
            assert!(process.ended().is_none(), "{}", process.stderr());
            (run(&["status", "--data", &data]).0 == Some(0)).then_some(())
        });
        let file = fs::read(self.folder.path().join("data/node.json")).unwrap();
        let file: Value = serde_json::from_slice(&file).unwrap();
        let address = file["api"].as_str().unwrap().strip_prefix("https://").unwrap().to_owned();
        Server { process, address, node_file: file }
    }
}

struct Server {
    process: Process,
    /// Loopback address and port.
    address: String,
    node_file: Value,
}

impl Server {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Opens a connection to the Stratum port.
    fn connect_miner(&self) -> TcpStream {
        let url = self.node_file["stratum"].as_str().unwrap();
        let stream = TcpStream::connect(url.strip_prefix("stratum+tcp://").unwrap()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Opens a TLS connection that trusts an authority and offers application protocols.
    fn connect_tls(
        &self,
        authority: &CertificateDer<'static>,
        protocols: &[&str],
    ) -> StreamOwned<ClientConnection, TcpStream> {
        Server::start_tls(self.connect(), authority, protocols)
    }

    /// Starts TLS on a connection, as `connect_tls` does.
    fn start_tls(
        stream: TcpStream,
        authority: &CertificateDer<'static>,
        protocols: &[&str],
    ) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        StreamOwned::new(connection, stream)
    }

    fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap()
    }
}

/// Runs a command that must fail: its line on stderr.
fn fails(arguments: &[&str]) -> String {
    let (code, _, line) = run(arguments);
    assert_eq!((code, line.lines().count()), (Some(1), 1), "{line}");
    line
}

// As `openssl req -x509` makes it, and as curl's `--cacert` takes it.
#[test]
fn commands_take_the_self_signed_certificate_of_a_node_as_authority() {
    let world = World::new(&["localhost"]);
    let self_signed = |name: &str, not_after: i32| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(not_after, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        fs::write(world.path("cert.pem"), certificate.pem()).unwrap();
        fs::write(world.path("key.pem"), key.serialize_pem()).unwrap();
    };
    let status = |url: &str| {
        run(&["status", "--node", url, "--ca", &world.path("cert.pem"), "--network", "dev"])
    };
    self_signed("localhost", 4_000);
    let server = world.start();
    let (code, _, line) = status(&format!("https://localhost:{}", server.port()));
    assert_eq!(code, Some(0), "{line}");
    let (code, _, line) = status(&format!("https://{}", server.address));
    assert_ne!(code, Some(0), "the certificate is not for this name");
    assert!(line.contains("is not trusted"), "{line}");
    // Another one of the same name is not listed.
    self_signed("localhost", 4_000);
    let (code, _, line) = status(&format!("https://localhost:{}", server.port()));
    assert!(code != Some(0) && line.contains("is not trusted"), "{line}");
    drop(server);
    self_signed("localhost", 2_000);
    let server = world.start();
    let (code, _, line) = status(&format!("https://localhost:{}", server.port()));
    assert!(code != Some(0) && line.contains("is not trusted"), "{line}");
}

#[test]
fn commands_verify_certificates() {
    let world = World::new(&["localhost", "127.0.0.1"]);
    let server = world.start();
    let (by_name, ca) = (format!("https://localhost:{}", server.port()), world.path("ca.pem"));
    let by_number = format!("https://{}", server.address);
    let fingerprint = hex::encode(sha256(&world.certificate));
    assert_eq!(server.node_file["certificate"], fingerprint);
    assert!(server.process.stderr().contains(&format!("explorer at {by_number}/")));
    for url in [&by_name, &by_number] {
        let (code, _, line) = run(&["status", "--node", url, "--ca", &ca, "--network", "dev"]);
        assert_eq!(code, Some(0), "{line}");
    }
    let other = World::new(&["localhost"]);
    for arguments in [&["--ca", &other.path("ca.pem")][..], &["--data", &other.path("x")], &[]] {
        let line = fails(&[&["status", "--node", &by_name], arguments].concat());
        let reasons = ["is not trusted", "no certificate authorities"];
        assert!(
            reasons.iter().any(|reason| line.contains(reason)) && line.contains("--ca FILE"),
            "{line}"
        );
    }
    // With the token, which only this node receives.
    let (data, miner) = (world.path("data"), text(test_address(1)));
    let mine = ["mine", "--network", "dev", "--data", &data, "--miner", &miner, "--blocks", "2"];
    let (code, found, line) = run(&mine);
    assert_eq!((code, found.lines().count()), (Some(0), 2), "{line}");
}

#[test]
fn rejects_another_certificate_than_that_of_the_data_directory() {
    let world = World::new(&["node.example.org"]);
    let server = world.start();
    let data = world.path("data");
    let (code, ..) = run(&["status", "--data", &data]);
    assert_eq!(code, Some(0), "the names do not matter");
    let mut file = server.node_file.clone();
    file["certificate"] = hex::encode(sha256(&world.authority)).into();
    fs::write(world.folder.path().join("data/node.json"), file.to_string()).unwrap();
    let line = fails(&["status", "--data", &data]);
    assert!(line.contains("is not trusted"), "{line}");
}

/// Until the node has written its node file, the client rejects it as another one.
#[test]
fn events_resume_after_a_restart_with_another_certificate() {
    let (world, other) = (World::new(&["node.example.org"]), World::new(&["node.example.org"]));
    let mut server = world.start();
    let (data, output) = (world.path("data"), world.folder.path().join("events"));
    let follow = ["events", "--json", "--since", "0", "--topics", "block.connected"];
    let mut command = chain(&[&follow[..], &["--data", &data]].concat());
    let mut follower = Process::start_into(&mut command, &output, File::create(&output).unwrap());
    let mine_up_to = |height: usize| {
        let miner = text(test_address(1));
        let mine =
            ["mine", "--network", "dev", "--data", &data, "--miner", &miner, "--blocks", "1"];
        assert_eq!(run(&mine).0, Some(0));
        eventually("the event of the block", || {
            (fs::read_to_string(&output).unwrap().lines().count() == height).then_some(())
        });
    };
    mine_up_to(1);
    server.process.kill();
    let listener = TcpListener::bind(&server.address).unwrap();
    listener.set_nonblocking(true).unwrap();
    for _ in 0..2 {
        let (mut stream, _) = eventually("another connection", || {
            assert!(follower.ended().is_none(), "{}", follower.stderr());
            listener.accept().ok()
        });
        let error = other.tls_server().complete_io(&mut stream).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "the client rejects it: {error}");
    }
    drop(listener);
    for name in ["cert.pem", "key.pem"] {
        fs::copy(other.path(name), world.path(name)).unwrap();
    }
    let _server = world.start();
    mine_up_to(2);
}

#[test]
fn serves_events_websockets_and_pages_by_tls() {
    let world = World::new(&["localhost"]);
    let server = world.start();
    let url = format!("https://localhost:{}", server.port());
    let output = world.folder.path().join("events");
    let ca = world.path("ca.pem");
    let follow = ["events", "--json", "--since", "0", "--topics", "block.connected"];
    let mut command = chain(&[&follow[..], &["--node", &url, "--ca", &ca]].concat());
    let _follower = Process::start_into(&mut command, &output, File::create(&output).unwrap());

    let request = format!("wss://localhost:{}/v1/ws?topics=block.connected", server.port());
    let stream = server.connect_tls(&world.authority, &[]);
    let (mut socket, _) = tungstenite::client::client(request, stream).unwrap();
    let (data, miner) = (world.path("data"), text(test_address(1)));
    let mine = ["mine", "--network", "dev", "--data", &data, "--miner", &miner, "--blocks", "3"];
    assert_eq!(run(&mine).0, Some(0));
    for height in 1..=3 {
        let message = loop {
            match socket.read().unwrap() {
                tungstenite::Message::Text(text) => break text,
                _ => continue,
            }
        };
        let message: Value = serde_json::from_str(&message).unwrap();
        assert_eq!(message["data"]["height"], height);
    }
    let lines = eventually("three events", || {
        let text = fs::read_to_string(&output).unwrap();
        (text.lines().count() == 3).then_some(text)
    });
    let heights = lines.lines().map(|line| {
        serde_json::from_str::<Value>(line).unwrap()["data"]["height"].as_u64().unwrap()
    });
    assert!(heights.eq(1..=3), "{lines}");

    // R13: host names are checked.
    for (path, host, expected) in
        [("/", "localhost", "200"), ("/v1/chain", "localhost", "200"), ("/", "evil", "403")]
    {
        let mut stream = server.connect_tls(&world.authority, &[]);
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        // Fails unless the server closes the TLS session.
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with(&format!("HTTP/1.1 {expected} ")), "{response}");
    }
}

// R21: no HTTP/2 by TLS either.
// O03
#[cfg(unix)]
#[test]
fn certificate_is_read_again_at_hangup() {
    let world = World::new(&["localhost"]);
    let mut server = world.start_with(|command| Some(without_terminal(command)));
    let fingerprint = || {
        let file = fs::read(world.path("data/node.json")).unwrap();
        serde_json::from_slice::<Value>(&file).unwrap()["certificate"].clone()
    };
    let (first, other) = (fingerprint(), World::new(&["localhost"]));
    let log_has = |server: &Server, text: &str| {
        eventually(text, || server.process.stderr().contains(text).then_some(()));
    };
    // A certificate whose key has not been replaced yet: the one in use is kept.
    fs::copy(other.path("cert.pem"), world.path("cert.pem")).unwrap();
    signal(server.process.id(), "HUP");
    log_has(&server, "the TLS certificate in use is kept: tls_key");
    assert_eq!(fingerprint(), first);
    server.connect_tls(&world.authority, &[]).write_all(b"\r\n").unwrap();
    fs::copy(other.path("key.pem"), world.path("key.pem")).unwrap();
    signal(server.process.id(), "HUP");
    log_has(&server, "the TLS certificate was read again");
    assert_ne!(fingerprint(), first);
    server.connect_tls(&other.authority, &[]).write_all(b"\r\n").unwrap();
    let (code, _, stderr) = run(&["status", "--data", &world.path("data")]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(server.process.terminate().0.success());
}

#[test]
fn negotiates_http_1_1_only() {
    let world = World::new(&["localhost"]);
    let server = world.start();
    let mut stream = server.connect_tls(&world.authority, &["h2", "http/1.1"]);
    stream.conn.complete_io(&mut stream.sock).unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut stream = server.connect_tls(&world.authority, &["h2"]);
    let error = stream.conn.complete_io(&mut stream.sock).unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
}

#[test]
fn reports_the_wrong_protocol() {
    let world = World::new(&["localhost"]);
    let server = world.start();
    let mut stream = server.connect();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut received = Vec::new();
    match stream.read_to_end(&mut received) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    // An alert without a response.
    assert!(received.len() < 16 && !received.starts_with(b"HTTP"), "{received:?}");
    let line = fails(&["status", "--node", &format!("http://{}", server.address)]);
    assert!(line.contains("use https in its URL"), "{line}");
    let plain = Node::start(&world.folder.path().join("plain"), &[]);
    let line = fails(&[
        "status",
        "--node",
        &plain.url().replace("http", "https"),
        "--ca",
        &world.path("ca.pem"),
    ]);
    assert!(line.contains("use http in its URL"), "{line}");
}

// R02
#[test]
fn closes_stalled_handshakes() {
    let world = World::new(&["localhost"]);
    let server = world.start();
    let start = Instant::now();
    let mut silent = server.connect();
    let mut slow = server.connect();
    // The start of a record of 100 bytes.
    slow.write_all(b"\x16\x03\x01\x00\x64\x01").unwrap();
    for stream in [&mut silent, &mut slow] {
        let end: io::Result<usize> = stream.read(&mut [0; 64]);
        assert!(
            matches!(end, Ok(0)) || end.is_err_and(|it| it.kind() == ErrorKind::ConnectionReset)
        );
    }
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    let url = format!("https://localhost:{}", server.port());
    let (code, ..) = run(&["status", "--node", &url, "--ca", &world.path("ca.pem")]);
    assert_eq!(code, Some(0));
}

#[test]
fn errors_name_mismatched_files() {
    let world = World::new(&["localhost"]);
    let other = World::new(&["localhost"]);
    let (cert, key) = (world.path("cert.pem"), world.path("key.pem"));
    fs::write(world.path("empty"), "").unwrap();
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    fs::write(world.path("encrypted"), encrypted).unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
    fs::write(world.path("broken"), broken).unwrap();
    for (cert, key, expected) in [
        (&*cert, &*other.path("key.pem"), "is not that of the certificate"),
        (&world.path("none"), &*key, "cannot read"),
        (&*cert, &world.path("none"), "cannot read"),
        (&world.path("empty"), &*key, "is empty"),
        (&*cert, &world.path("empty"), "is empty"),
        (&*key, &*key, "holds no certificate"),
        (&*cert, &*cert, "holds no key"),
        (&*cert, &world.path("encrypted"), "not encrypted"),
        (&world.path("broken"), &*key, "is damaged"),
    ] {
        let data = world.folder.path().join("data");
        let line = Node::start_failing(&data, &["--tls-cert", cert, "--tls-key", key]);
        assert!(line.contains(expected) && line.contains("tls_"), "{line}");
    }
}

#[cfg(unix)]
#[test]
fn warns_of_a_world_readable_key() {
    use std::os::unix::fs::PermissionsExt;
    for (mode, is_warned) in [(0o644, true), (0o640, false)] {
        let world = World::new(&["localhost"]);
        fs::set_permissions(world.path("key.pem"), fs::Permissions::from_mode(mode)).unwrap();
        let server = world.start();
        assert_eq!(server.process.stderr().contains("chmod o-r"), is_warned);
    }
}

/// Subscribes and authorizes over a connection to the Stratum port; returns the reply to the latter.
fn authorize(stream: impl Read + Write) -> Value {
    let mut lines = BufReader::new(stream);
    let user = text(test_address(1));
    let requests = [
        json!({"id": 1, "method": "mining.subscribe", "params": ["test/1"]}),
        json!({"id": 2, "method": "mining.authorize", "params": [user, "x"]}),
    ];
    for request in requests {
        lines.get_mut().write_all(format!("{request}\n").as_bytes()).unwrap();
    }
    loop {
        let mut line = String::new();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "closed without a reply");
        let message: Value = serde_json::from_str(&line).unwrap();
        if message["id"] == 2 {
            return message;
        }
    }
}

// Q08
#[test]
fn stratum_port_serves_miners_with_and_without_tls() {
    let world = World::new(&["localhost"]);
    let server = world.start();
    // BFGMiner offers protocols of HTTP.
    for protocols in [&[][..], &["h2", "http/1.1"], &["stratum"]] {
        let tls = Server::start_tls(server.connect_miner(), &world.authority, protocols);
        let reply = authorize(tls);
        assert_eq!((&reply["result"], &reply["error"]), (&json!(true), &Value::Null));
    }
    assert_eq!(authorize(server.connect_miner())["result"], true);
    let stderr = server.process.stderr();
    assert!(stderr.contains("or stratum+ssl://127.0.0.1:"), "{stderr}");
    // A miner that does not trust the certificate, and one that sends garbage, are disconnected.
    let stranger = Authority::new().certificate.der().clone();
    let mut tls = Server::start_tls(server.connect_miner(), &stranger, &[]);
    assert!(tls.write_all(b"{}\n").and_then(|()| tls.flush()).is_err());
    let mut garbage = server.connect_miner();
    garbage.write_all(&[0x16; 64]).unwrap();
    let mut rest = Vec::new();
    let closed = garbage.read_to_end(&mut rest);
    assert!(closed.is_ok() || closed.unwrap_err().kind() == ErrorKind::ConnectionReset);
}
