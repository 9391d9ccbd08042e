//! The API while the node opens its data directory, which takes minutes if the index is rebuilt:
//! liveness, and the progress instead of readiness. Every other route responds that the node is
//! starting, so that clients and supervisors wait instead of giving the node up.

use crate::api::http::host_check::AllowedHosts;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::resources::Resources;
use crate::api::http::server::App;
use crate::api::routes::health;
use crate::metrics::http::HttpMetrics;
use axum::Router;
use axum::extract::State;
use axum::routing::{any, get};
use chain::ledger::OpenProgress;
use std::sync::Arc;
use tokio::sync::watch;

type Progress = watch::Receiver<Option<OpenProgress>>;

/// The application until the routes of the node replace it.
pub fn app(
    hosts: AllowedHosts,
    metrics: Arc<HttpMetrics>,
    resources: Resources,
    progress: Progress,
) -> App {
    let router = Router::new()
        .route("/livez", get(health::live))
        .route("/", any(starting))
        .route("/{*path}", any(starting))
        .with_state(progress);
    App::new(router, hosts, metrics, resources)
}

async fn starting(State(progress): State<Progress>) -> Problem {
    match &*progress.borrow() {
        None => Problem::new(Kind::STARTING, "the node is starting: it opens its data directory"),
        Some(progress) => {
            let problem = Problem::new(Kind::STARTING, format!("the node is starting: {progress}"));
            match progress {
                OpenProgress::Replaying { done, total } => problem.with_comparison(*total, *done),
                _ => problem,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::http::problem::MEDIA_TYPE;
    use axum::body::{Body, to_bytes};
    use axum::extract::Request;
    use axum::http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
    use serde_json::{Value, json};

    #[tokio::test]
    async fn only_liveness_is_served_with_the_progress_in_every_other_response() {
        let (progress, receiver) = watch::channel(None);
        let hosts = AllowedHosts::new(&[]).unwrap();
        let app = app(hosts, Arc::default(), Resources::default(), receiver);
        let send = async |method: &str, path: &str| {
            let request = Request::builder().method(method).uri(path).header(HOST, "localhost");
            let response = app.respond(request.body(Body::empty()).unwrap()).await;
            let (head, body) = response.into_parts();
            (head, to_bytes(body, usize::MAX).await.unwrap())
        };
        let (head, body) = send("GET", "/livez").await;
        assert_eq!((head.status.as_u16(), &body[..]), (200, &b"ok\n"[..]));
        for done in [None, Some(1_000), Some(2_000)] {
            progress.send_replace(done.map(|done| OpenProgress::Replaying { done, total: 2_101 }));
            for (method, path) in [
                ("GET", "/readyz"),
                ("GET", "/"),
                ("POST", "/"),
                ("GET", "/v1/chain"),
                ("POST", "/v1/blocks"),
                ("GET", "/metrics"),
            ] {
                let (head, body) = send(method, path).await;
                let body: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!((head.status.as_u16(), &body["code"]), (503, &json!("starting")));
                assert_eq!(head.headers[CONTENT_TYPE], MEDIA_TYPE);
                assert!(head.headers.contains_key(RETRY_AFTER));
                assert_eq!(body.get("actual").and_then(Value::as_u64), done.map(|it| it as u64));
            }
        }
    }
}
