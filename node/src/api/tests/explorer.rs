//! The documents and assets of the explorer over HTTP.

use super::World;
use axum::http::{StatusCode, header};

const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");

#[tokio::test]
async fn every_page_has_its_own_url() {
    let world = World::new().await;
    for url in ["/", "/block/12", "/tx/00", "/account/dch1", "/mempool", "/mining", "/peers"]
        .into_iter()
        .chain(["/blocks", "/forks", "/charts?blocks=50", "/dev", "/search?q=tip"])
    {
        let page = world.get_with(url, &[BROWSER]).await;
        assert_eq!(page.status, StatusCode::OK, "{url}");
        assert_eq!(page.header(header::CONTENT_TYPE), "text/html; charset=utf-8");
        assert!(page.text().starts_with("<!doctype html>"));
    }
}

// R22
#[tokio::test]
async fn content_security_policy_allows_the_same_origin_only() {
    let world = World::new().await;
    let page = world.get("/").await;
    let policy = page.header(header::CONTENT_SECURITY_POLICY);
    assert!(policy.starts_with("default-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
}

#[tokio::test]
async fn assets_are_immutable_and_documents_are_revalidated() {
    let world = World::new().await;
    let page = world.get("/").await;
    assert_eq!(page.header(header::CACHE_CONTROL), "no-cache");
    let tag = page.header(header::ETAG).to_owned();
    let again = world.get_with("/", &[("if-none-match", &tag)]).await;
    assert_eq!((again.status, again.text()), (StatusCode::NOT_MODIFIED, ""));

    let quoted = page.text().split('"').filter(|part| part.starts_with("/explorer/"));
    let assets: Vec<&str> = quoted.collect();
    assert!(assets.len() > 20, "{assets:?}");
    for asset in assets {
        let response = world.get(asset).await;
        assert_eq!(response.status, StatusCode::OK, "{asset}");
        assert!(response.header(header::CACHE_CONTROL).ends_with("immutable"), "{asset}");
        assert_eq!(response.header(header::X_CONTENT_TYPE_OPTIONS), "nosniff");
        let other = asset.replacen("/explorer/", "/explorer/0", 1);
        world.get(&other).await.problem(404, "not-found");
    }
}

#[tokio::test]
async fn unknown_path_is_a_document_for_browsers_and_a_problem_for_programs() {
    let world = World::new().await;
    for url in ["/nothing", "/block", "/block/1/2", "/explorer/x/app.js"] {
        let page = world.get_with(url, &[BROWSER]).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{url}");
        assert!(page.text().starts_with("<!doctype html>"), "{url}");
        world.get(url).await.problem(404, "not-found");
        world.get_with(url, &[("accept", "application/json")]).await.problem(404, "not-found");
    }
    world.get_with("/v1/nothing", &[BROWSER]).await.problem(404, "not-found");
    world.post("/nothing", "text/plain", "").await.problem(404, "not-found");
}
