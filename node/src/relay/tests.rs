use super::*;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A relay with one route to a server that returns what it receives.
struct World {
    relay: Relay,
    route: Route,
}

impl World {
    async fn new() -> World {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let target = server.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = server.accept().await {
                tokio::spawn(async move {
                    let (mut reads, mut writes) = stream.into_split();
                    let _ = tokio::io::copy(&mut reads, &mut writes).await;
                });
            }
        });
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let perfect = Conditions::default();
        let route = Route { port, target, forward: perfect, backward: perfect, is_closed: false };
        let mut relay = Relay::new(1);
        relay.set_routes(vec![route.clone()]).unwrap();
        World { relay, route }
    }

    fn set(&mut self, change: impl FnOnce(&mut Route)) {
        change(&mut self.route);
        self.relay.set_routes(vec![self.route.clone()]).unwrap();
    }

    async fn dial(&self) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.route.port)).await.unwrap()
    }

    async fn eventually_has(&self, connections: usize) {
        while self.relay.status()[0].connections != connections {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn round_trip(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut reply = vec![0; text.len()];
    stream.read_exact(&mut reply).await.unwrap();
    assert_eq!(reply, text.as_bytes());
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    !matches!(stream.read(&mut [0]).await, Ok(1))
}

#[tokio::test]
async fn forwards_both_directions_and_closes_with_either_side() {
    let world = World::new().await;
    let mut stream = world.dial().await;
    round_trip(&mut stream, "ping").await;
    let status = world.relay.status();
    assert_eq!(
        (status[0].connections, status[0].forward.bytes, status[0].backward.bytes),
        (1, 4, 4)
    );
    stream.shutdown().await.unwrap();
    assert!(is_closed(&mut stream).await);
    world.eventually_has(0).await;
}

#[tokio::test]
async fn data_arrives_after_the_latency_and_in_order() {
    let mut world = World::new().await;
    let bad = Conditions { latency_ms: 60, jitter_ms: 20, loss: 0.1, ..Conditions::default() };
    world.set(|route| (route.forward, route.backward) = (bad, bad));
    let mut stream = world.dial().await;
    let start = Instant::now();
    for round in 0..5 {
        round_trip(&mut stream, &format!("message {round}")).await;
    }
    // Five round trips, each of at least twice the latency without the jitter.
    assert!(start.elapsed() >= Duration::from_millis(5 * 2 * 40), "{:?}", start.elapsed());
}

#[tokio::test]
async fn limited_bandwidth_delays_large_transfers() {
    let mut world = World::new().await;
    world.set(|route| route.forward.bandwidth = Some(4_000_000));
    let (mut reads, mut writes) = world.dial().await.into_split();
    let start = Instant::now();
    let sent = tokio::spawn(async move {
        writes.write_all(&vec![7; 250_000]).await.unwrap();
        writes
    });
    let mut received = vec![0; 250_000];
    reads.read_exact(&mut received).await.unwrap();
    // 2 Mbit at 4 Mbit/s.
    assert!(start.elapsed() >= Duration::from_millis(490), "{:?}", start.elapsed());
    assert!(received.iter().all(|byte| *byte == 7));
    drop(sent.await.unwrap());
}

#[tokio::test]
async fn cut_direction_delivers_once_it_ends() {
    let mut world = World::new().await;
    let mut stream = world.dial().await;
    round_trip(&mut stream, "before").await;
    world.set(|route| route.backward.is_cut = true);
    stream.write_all(b"during").await.unwrap();
    // The server has received it, and its response waits.
    while world.relay.status()[0].backward.bytes < 12 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut reply = [0; 6];
    assert!(stream.try_read(&mut reply).is_err());
    world.set(|route| route.backward.is_cut = false);
    stream.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"during");
}

#[tokio::test]
async fn closed_route_ends_connections_and_accepts_none_until_opened() {
    let mut world = World::new().await;
    let mut stream = world.dial().await;
    round_trip(&mut stream, "before").await;
    world.set(|route| route.is_closed = true);
    assert!(is_closed(&mut stream).await);
    assert!(is_closed(&mut world.dial().await).await);
    world.set(|route| route.is_closed = false);
    round_trip(&mut world.dial().await, "after").await;
}

#[tokio::test]
async fn certain_loss_resets_connections() {
    let mut world = World::new().await;
    world.set(|route| route.forward.loss = 1.0);
    let mut stream = world.dial().await;
    stream.write_all(b"lost").await.unwrap();
    assert!(is_closed(&mut stream).await);
    assert_eq!(world.relay.status()[0].forward.resets, 1);
}

#[tokio::test]
async fn removed_route_frees_its_port() {
    let mut world = World::new().await;
    let mut stream = world.dial().await;
    round_trip(&mut stream, "before").await;
    world.relay.set_routes(Vec::new()).unwrap();
    assert!(is_closed(&mut stream).await);
    let bound = async {
        while listen(world.route.port).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), bound).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn control_requires_the_token_and_replaces_routes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    control::write_setup(path, &control::Setup::default()).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let run = {
        let path = path.to_owned();
        tokio::spawn(async move { control::run(&path, async { drop(stopped.await) }).await })
    };
    let pid = std::process::id();
    let control = loop {
        assert!(!run.is_finished());
        if let Some(control) = control::Control::open(path, pid).unwrap() {
            break control;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let World { route, mut relay } = World::new().await;
    relay.set_routes(Vec::new()).unwrap();
    let setup = control::Setup { seed: 1, routes: vec![route.clone()] };
    let path = path.to_owned();
    let done = tokio::task::spawn_blocking(move || {
        // The port is in use until the relay above has ended.
        let start = Instant::now();
        while let Err(error) = control.set_routes(&path, &setup) {
            assert!(start.elapsed() < Duration::from_secs(20), "{error:#}");
        }
        assert_eq!(control.status().unwrap()[0].port, route.port);
        std::fs::write(path.join("api-token"), "0".repeat(64)).unwrap();
        let other = control::Control::open(&path, pid).unwrap().unwrap();
        assert_eq!(other.status().unwrap_err().to_string(), "relay: wrong token");
        assert!(control::Control::open(&path, pid + 1).unwrap().is_none());
    });
    done.await.unwrap();
    stop.send(()).unwrap();
    run.await.unwrap().unwrap();
}
