use super::*;
use axum::http::HeaderName;
use axum::response::IntoResponse;

fn peer(text: &str) -> SocketAddr {
    SocketAddr::new(text.parse().unwrap(), 5_000)
}

fn nth(number: u32) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::from_bits((198 << 24) + number).into(), 5_000)
}

/// A request for a path over a connection.
fn request(path: &str, peer: SocketAddr, connection: &Connection) -> Request {
    let mut request = Request::get(path).body(axum::body::Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    request.extensions_mut().insert(connection.clone());
    request
}

/// Whether a new connection of a peer is admitted, and a request over it is within all limits.
fn is_served(resources: &Resources, path: &str, from: &str) -> bool {
    let Some(connection) = resources.connect(peer(from)) else { return false };
    resources.client_of(&request(path, peer(from), &connection)).1.is_ok()
}

/// Connections of the attackers, each with a request in progress.
fn occupy(
    resources: &Resources,
    peers: impl Iterator<Item = SocketAddr>,
) -> Vec<(Connection, ActiveGuard)> {
    let connections = peers.filter_map(|peer| resources.connect(peer));
    let connections = connections.filter(|connection| connection.lane == Lane::General);
    connections.map(|connection| (connection.clone(), connection.begin())).collect()
}

// R27
#[test]
fn one_address_with_all_connections_shuts_out_no_other_client() {
    let resources = Resources::default();
    let held = occupy(&resources, std::iter::repeat_n(peer("203.0.113.9"), 600));
    assert!(held.len() <= 512, "{}", held.len());
    assert!(!is_served(&resources, "/v1/chain", "203.0.113.9"), "it has its share");
    for from in ["192.0.2.1", "127.0.0.1", "2001:db8::1"] {
        for path in ["/v1/chain", "/livez"] {
            assert!(is_served(&resources, path, from), "{path} of {from}");
        }
    }
}

// R27
#[test]
fn many_addresses_with_all_connections_shut_out_neither_this_machine_nor_probes() {
    let resources = Resources::default();
    let _held = occupy(&resources, (0..2_000).map(nth));
    assert!(is_served(&resources, "/v1/chain", "127.0.0.1"));
    assert!(is_served(&resources, "/livez", "::1"));
    // Those reserved for probes are idle until a request, and give way to new ones.
    let idle: Vec<_> =
        (0..100).filter_map(|number| resources.connect(nth(9_000 + number))).collect();
    assert!(!idle.is_empty());
    assert!(is_served(&resources, "/livez", "192.0.2.1"));
    assert!(is_served(&resources, "/readyz", "192.0.2.1"));
    assert!(!is_served(&resources, "/v1/chain", "192.0.2.1"));
}

// R27
#[test]
fn held_responses_of_one_address_end_for_others() {
    let resources = Resources::default();
    let client = |ip: &str| Client {
        ip: ip.parse().unwrap(),
        is_local: false,
        connection: None,
        resources: resources.clone(),
    };
    let mut held: Vec<_> = (0..256).map(|_| client("203.0.113.9").hold().unwrap()).collect();
    assert_eq!(client("203.0.113.9").hold().unwrap_err().kind(), Kind::RATE_LIMITED);
    let honest: Vec<_> = (0..32).map(|_| client("192.0.2.1").hold().unwrap()).collect();
    held.retain(|held| !held.ended.is_cancelled());
    assert_eq!((held.len(), honest.len()), (224, 32));
    assert!(honest.iter().all(|held| !held.ended.is_cancelled()));
}

#[test]
fn held_response_makes_its_connection_idle() {
    let resources = Resources::default();
    let others = occupy(&resources, (0..487).map(nth));
    let connection = resources.connect(peer("203.0.113.9")).unwrap();
    let _active = connection.begin();
    let (client, _) = resources.client_of(&request("/v1/chain", peer("203.0.113.9"), &connection));
    let held = client.hold().unwrap();
    assert!(!connection.close.is_cancelled());
    let _newcomer = resources.connect(peer("192.0.2.1")).unwrap();
    assert!(connection.close.is_cancelled(), "what merely waits gives way to a new address");
    drop(held);
    assert!(others.iter().all(|(connection, _)| !connection.close.is_cancelled()));
}

// R28
#[test]
fn responses_that_are_not_read_close_their_connections_for_others() {
    let resources = Resources::default();
    let respond = |from: &str| {
        let connection = resources.connect(peer(from)).unwrap();
        let (client, _) = resources.client_of(&request("/v1/chain", peer(from), &connection));
        client.count_response(vec![0; 2 << 20].into_response()).map(|body| (connection, body))
    };
    let unread: Vec<_> = (0..32).map(|_| respond("203.0.113.9").unwrap()).collect();
    assert_eq!(respond("203.0.113.9").unwrap_err().kind(), Kind::RATE_LIMITED);
    let _honest = respond("192.0.2.1").unwrap();
    let closed = unread.iter().filter(|(connection, _)| connection.close.is_cancelled()).count();
    assert_eq!(closed, 1);
    drop(unread);
    assert!(respond("203.0.113.9").is_ok());
}

// R01
#[test]
fn bodies_of_requests_are_bounded_by_address() {
    let resources = Resources::default();
    let upload = |from: &str, name: &'static str, value: &str| {
        let (client, _) = resources.client_of(&request(
            "/v1/blocks",
            peer(from),
            &resources.connect(peer(from))?,
        ));
        client
            .count_request(&HeaderMap::from_iter([(
                HeaderName::from_static(name),
                value.parse().unwrap(),
            )]))
            .ok()
    };
    let uploads: Vec<_> =
        (0..100).map_while(|_| upload("203.0.113.9", "content-length", "4000000")).collect();
    assert_eq!(uploads.len(), 16);
    assert!(upload("192.0.2.1", "content-length", "4000000").is_some());
    assert!(upload("192.0.2.1", "transfer-encoding", "chunked").is_some());
    assert!(
        upload("203.0.113.9", "content-length", "100").unwrap().is_none(),
        "small ones are not"
    );
}

// R10
#[test]
fn clients_of_a_trusted_proxy_have_their_own_limits() {
    let proxies = TrustedProxies::parse(&["127.0.0.1".to_owned()]).unwrap();
    let resources = Resources::new(&ResourceLimits::default(), proxies);
    let charge = |forwarded: &str| {
        let mut request = Request::get("/v1/chain").body(axum::body::Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectInfo(peer("127.0.0.1")));
        if !forwarded.is_empty() {
            request.headers_mut().insert("x-forwarded-for", forwarded.parse().unwrap());
        }
        resources.client_of(&request).1
    };
    let refused = (0..2_000).find_map(|_| charge("127.0.0.1, 192.0.2.1").err());
    assert_eq!(refused.unwrap().kind(), Kind::RATE_LIMITED);
    assert!(charge("192.0.2.2").is_ok());
    assert!((0..2_000).any(|_| charge("unknown").is_err()), "an unnamed client is limited too");
    assert!((0..2_000).all(|_| charge("").is_ok()), "this machine is not");
}
