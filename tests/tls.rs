//! A node that speaks https, and who is taken for it.

use crate::forge::{somebody, text};
use crate::harness::{Node, Process, chain, eventually, run};
use chain::hash::sha256;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite;

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who issues certificates.
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

    /// A certificate of these names, and its key.
    fn issue(&self, names: &[&str]) -> (rcgen::Certificate, KeyPair) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        (params.signed_by(&key, &self.certificate, &self.key).unwrap(), key)
    }
}

/// A folder with `ca.pem`, `cert.pem` and `key.pem`, and a node's data.
struct Place {
    folder: TempDir,
    authority: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
}

impl Place {
    fn new(names: &[&str]) -> Place {
        let authority = Authority::new();
        let (certificate, key) = authority.issue(names);
        let place = Place {
            folder: tempfile::tempdir().unwrap(),
            authority: authority.certificate.der().clone(),
            certificate: certificate.der().clone(),
        };
        fs::write(place.path("ca.pem"), authority.certificate.pem()).unwrap();
        fs::write(place.path("cert.pem"), certificate.pem()).unwrap();
        fs::write(place.path("key.pem"), key.serialize_pem()).unwrap();
        place
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// The other side of a conversation by that certificate, without a node.
    fn serve(&self) -> ServerConnection {
        let key = PrivateKeyDer::from_pem_file(self.path("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = config.with_single_cert(vec![self.certificate.clone()], key).unwrap();
        ServerConnection::new(Arc::new(config)).unwrap()
    }

    /// Starts a node by that certificate, and waits until it answers.
    fn start(&self) -> Server {
        let data = self.path("data");
        let mut command = chain(&["node", "--network", "dev", "--api", "127.0.0.1:0"]);
        command.args(["--data", &data]);
        command.args(["--tls-cert", &self.path("cert.pem"), "--tls-key", &self.path("key.pem")]);
        let mut process = Process::start(&mut command, &PathBuf::from(&data));
        eventually("a node that speaks https", || {
            assert!(process.ended().is_none(), "{}", process.stderr());
            (run(&["status", "--data", &data]).0 == Some(0)).then_some(())
        });
        let there = fs::read(self.folder.path().join("data/node.json")).unwrap();
        let there: Value = serde_json::from_slice(&there).unwrap();
        let address = there["api"].as_str().unwrap().strip_prefix("https://").unwrap().to_owned();
        Server { process, address, whereabouts: there }
    }
}

struct Server {
    process: Process,
    /// Of the loopback interface, and the port.
    address: String,
    whereabouts: Value,
}

impl Server {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A conversation by TLS that trusts this authority and speaks these protocols above it.
    fn talk(
        &self,
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
        StreamOwned::new(connection, self.connect())
    }

    fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap()
    }
}

/// The one line of a command that failed.
fn refusal(arguments: &[&str]) -> String {
    let (code, _, line) = run(arguments);
    assert_eq!((code, line.lines().count()), (Some(1), 1), "{line}");
    line
}

#[test]
fn commands_speak_https_with_those_whom_they_may_trust() {
    let place = Place::new(&["localhost", "127.0.0.1"]);
    let server = place.start();
    let (by_name, ca) = (format!("https://localhost:{}", server.port()), place.path("ca.pem"));
    let by_number = format!("https://{}", server.address);
    let fingerprint = hex::encode(sha256(&place.certificate));
    assert_eq!(server.whereabouts["certificate"], fingerprint);
    assert!(server.process.stderr().contains(&format!("explorer at {by_number}/")));
    for url in [&by_name, &by_number] {
        let (code, _, line) = run(&["status", "--node", url, "--ca", &ca, "--network", "dev"]);
        assert_eq!(code, Some(0), "{line}");
    }
    let other = Place::new(&["localhost"]);
    for arguments in [&["--ca", &other.path("ca.pem")][..], &["--data", &other.path("x")], &[]] {
        let line = refusal(&[&["status", "--node", &by_name], arguments].concat());
        let why = ["is not trusted", "no certificates to trust"];
        assert!(why.iter().any(|why| line.contains(why)) && line.contains("--ca FILE"), "{line}");
    }
    // With the token, which is shown to nobody else.
    let (data, miner) = (place.path("data"), text(somebody(1)));
    let mine = ["mine", "--network", "dev", "--data", &data, "--miner", &miner, "--blocks", "2"];
    let (code, found, line) = run(&mine);
    assert_eq!((code, found.lines().count()), (Some(0), 2), "{line}");
}

/// What says it is the node of a data folder, and has another certificate.
#[test]
fn another_certificate_than_the_one_of_the_data_folder_is_not_trusted() {
    let place = Place::new(&["node.example.org"]);
    let server = place.start();
    let data = place.path("data");
    let (code, ..) = run(&["status", "--data", &data]);
    assert_eq!(code, Some(0), "whatever names it has");
    let mut there = server.whereabouts.clone();
    there["certificate"] = hex::encode(sha256(&place.authority)).into();
    fs::write(place.folder.path().join("data/node.json"), there.to_string()).unwrap();
    let line = refusal(&["status", "--data", &data]);
    assert!(line.contains("is not trusted"), "{line}");
}

/// Until the node has noted the new one it looks as if it were somebody else.
#[test]
fn a_follower_goes_on_when_its_node_comes_back_with_another_certificate() {
    let (place, other) = (Place::new(&["node.example.org"]), Place::new(&["node.example.org"]));
    let mut server = place.start();
    let (data, told) = (place.path("data"), place.folder.path().join("told"));
    let follow = ["events", "--json", "--since", "0", "--topics", "block.connected"];
    let mut command = chain(&[&follow[..], &["--data", &data]].concat());
    let mut following = Process::start_into(&mut command, &told, File::create(&told).unwrap());
    let mine_up_to = |height: usize| {
        let miner = text(somebody(1));
        let mine =
            ["mine", "--network", "dev", "--data", &data, "--miner", &miner, "--blocks", "1"];
        assert_eq!(run(&mine).0, Some(0));
        eventually("the block told", || {
            (fs::read_to_string(&told).unwrap().lines().count() == height).then_some(())
        });
    };
    mine_up_to(1);
    server.process.kill();
    let listener = TcpListener::bind(&server.address).unwrap();
    listener.set_nonblocking(true).unwrap();
    for _ in 0..2 {
        let (mut stream, _) = eventually("another call", || {
            assert!(following.ended().is_none(), "{}", following.stderr());
            listener.accept().ok()
        });
        let error = other.serve().complete_io(&mut stream).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "the other side objects: {error}");
    }
    drop(listener);
    for name in ["cert.pem", "key.pem"] {
        fs::copy(other.path(name), place.path(name)).unwrap();
    }
    let _server = place.start();
    mine_up_to(2);
}

#[test]
fn events_sockets_and_pages_come_by_tls() {
    let place = Place::new(&["localhost"]);
    let server = place.start();
    let url = format!("https://localhost:{}", server.port());
    let told = place.folder.path().join("told");
    let ca = place.path("ca.pem");
    let follow = ["events", "--json", "--since", "0", "--topics", "block.connected"];
    let mut command = chain(&[&follow[..], &["--node", &url, "--ca", &ca]].concat());
    let _following = Process::start_into(&mut command, &told, File::create(&told).unwrap());

    let request = format!("wss://localhost:{}/v1/ws?topics=block.connected", server.port());
    let stream = server.talk(&place.authority, &[]);
    let (mut socket, _) = tungstenite::client::client(request, stream).unwrap();
    let (data, miner) = (place.path("data"), text(somebody(1)));
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
    let lines = eventually("three blocks told", || {
        let text = fs::read_to_string(&told).unwrap();
        (text.lines().count() == 3).then_some(text)
    });
    let heights = lines.lines().map(|line| {
        serde_json::from_str::<Value>(line).unwrap()["data"]["height"].as_u64().unwrap()
    });
    assert!(heights.eq(1..=3), "{lines}");

    // R13: names are judged as ever.
    for (path, host, expected) in
        [("/", "localhost", "200"), ("/v1/chain", "localhost", "200"), ("/", "evil", "403")]
    {
        let mut stream = server.talk(&place.authority, &[]);
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        // Ends by a proper goodbye, or this would be an error.
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{answer}");
    }
}

// R21: no HTTP/2 by TLS either.
#[test]
fn only_the_first_http_is_agreed_upon() {
    let place = Place::new(&["localhost"]);
    let server = place.start();
    let mut stream = server.talk(&place.authority, &["h2", "http/1.1"]);
    stream.conn.complete_io(&mut stream.sock).unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut stream = server.talk(&place.authority, &["h2"]);
    let error = stream.conn.complete_io(&mut stream.sock).unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
}

#[test]
fn who_speaks_the_other_protocol_is_told_so() {
    let place = Place::new(&["localhost"]);
    let server = place.start();
    let mut stream = server.connect();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    // An alert, no answer.
    assert!(said.len() < 16 && !said.starts_with(b"HTTP"), "{said:?}");
    let line = refusal(&["status", "--node", &format!("http://{}", server.address)]);
    assert!(line.contains("call it by https"), "{line}");
    let plain = Node::start(&place.folder.path().join("plain"), &[]);
    let line = refusal(&[
        "status",
        "--node",
        &plain.url().replace("http", "https"),
        "--ca",
        &place.path("ca.pem"),
    ]);
    assert!(line.contains("call it by http"), "{line}");
}

// R02
#[test]
fn a_handshake_that_stalls_is_closed_within_its_time() {
    let place = Place::new(&["localhost"]);
    let server = place.start();
    let begun = Instant::now();
    let mut silent = server.connect();
    let mut slow = server.connect();
    // The beginning of a record of a hundred bytes.
    slow.write_all(b"\x16\x03\x01\x00\x64\x01").unwrap();
    for stream in [&mut silent, &mut slow] {
        let end: io::Result<usize> = stream.read(&mut [0; 64]);
        assert!(
            matches!(end, Ok(0)) || end.is_err_and(|it| it.kind() == ErrorKind::ConnectionReset)
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let url = format!("https://localhost:{}", server.port());
    let (code, ..) = run(&["status", "--node", &url, "--ca", &place.path("ca.pem")]);
    assert_eq!(code, Some(0));
}

#[test]
fn files_that_do_not_belong_together_are_named() {
    let place = Place::new(&["localhost"]);
    let other = Place::new(&["localhost"]);
    let (cert, key) = (place.path("cert.pem"), place.path("key.pem"));
    fs::write(place.path("empty"), "").unwrap();
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    fs::write(place.path("encrypted"), encrypted).unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
    fs::write(place.path("broken"), broken).unwrap();
    for (cert, key, expected) in [
        (&*cert, &*other.path("key.pem"), "is not that of the certificate"),
        (&place.path("none"), &*key, "cannot read"),
        (&*cert, &place.path("none"), "cannot read"),
        (&place.path("empty"), &*key, "is empty"),
        (&*cert, &place.path("empty"), "is empty"),
        (&*key, &*key, "holds no certificate"),
        (&*cert, &*cert, "holds no key"),
        (&*cert, &place.path("encrypted"), "not encrypted"),
        (&place.path("broken"), &*key, "is damaged"),
    ] {
        let data = place.folder.path().join("data");
        let line = Node::refused(&data, &["--tls-cert", cert, "--tls-key", key]);
        assert!(line.contains(expected) && line.contains("tls_"), "{line}");
    }
}

#[cfg(unix)]
#[test]
fn a_key_that_everybody_can_read_is_remarked_upon() {
    use std::os::unix::fs::PermissionsExt;
    for (mode, is_said) in [(0o644, true), (0o640, false)] {
        let place = Place::new(&["localhost"]);
        fs::set_permissions(place.path("key.pem"), fs::Permissions::from_mode(mode)).unwrap();
        let server = place.start();
        assert_eq!(server.process.stderr().contains("chmod o-r"), is_said);
    }
}
