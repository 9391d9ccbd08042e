use super::contract::{any_token, document};
use super::*;
use crate::api::http::problem::Kind;
use crate::api::routes;
use std::collections::BTreeSet;

/// The paths of a router, from its debug output.
fn paths_of(router: &impl std::fmt::Debug) -> BTreeSet<String> {
    let shown = format!("{router:?}");
    let quoted = shown.split('"').skip(1).step_by(2);
    // The fallback has the path "/" and a private one.
    let paths = quoted.filter(|text| text.starts_with('/') && !text.contains("__private"));
    paths.filter(|path| *path != "/").map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn routes_and_document_match() {
    let (router, document) = routes::all(&any_token()).build();
    let described = document["paths"].as_object().unwrap().keys();
    let described: BTreeSet<String> = described.filter(|path| *path != "/").cloned().collect();
    assert_eq!(paths_of(&router), described);
    assert!(described.len() > 30);

    // Documented methods exist, and no others.
    let world = World::new().await;
    let added = paths_of(&world.routes).difference(&described).cloned().collect::<Vec<_>>();
    assert!(!added.iter().any(|path| path.starts_with("/v1")), "{added:?} is not in the table");
    for (path, methods) in document["paths"].as_object().unwrap() {
        // An event stream does not end.
        if path == "/v1/events" {
            continue;
        }
        let path = path.replace("{id}", "0").replace("{address}", "0").replace("{who}", "0");
        for method in ["get", "post", "put", "patch", "delete", "options", "trace"] {
            let request = Request::builder().method(method.to_uppercase().as_str());
            let request = request.uri(&path).header(header::HOST, "localhost");
            let response = world.send(request.body(Body::empty()).unwrap()).await;
            let is_refused = response.status == 405;
            assert_eq!(is_refused, methods[method].is_null(), "{method} {path}");
            let allowed = response.header(header::ALLOW).to_lowercase();
            for one in allowed.split(',').filter(|one| is_refused && *one != "head") {
                assert!(!methods[one].is_null(), "{path} does not take {one}");
            }
        }
    }
}

/// Collects all references of the document.
fn references<'d>(value: &'d Value, found: &mut BTreeSet<&'d str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn document_references_resolve() {
    let mut found = BTreeSet::new();
    references(document(), &mut found);
    assert!(found.len() > 40);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document().pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn operations_have_unique_ids_and_declare_security() {
    let mut ids = BTreeSet::new();
    for (path, methods) in document()["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
            let is_protected = operation["security"] != json!([]);
            let is_protected_route = path.starts_with("/v1/dev/")
                || (method != "get"
                    && ["peers", "/bans", "/jobs", "/mempool"]
                        .iter()
                        .any(|part| path.contains(part)));
            assert_eq!(is_protected, is_protected_route, "{method} {path}");
            assert_eq!(
                !operation["responses"]["401"].is_null(),
                is_protected_route || (&**method, &**path) == ("post", "/")
            );
        }
    }
}

#[tokio::test]
async fn document_is_served_unchanged() {
    let world = World::new().await;
    let served = world.get("/openapi.json").await.json();
    assert_eq!(&served, document());
    assert!(served["openapi"].as_str().unwrap().starts_with("3.1."));
    let count = &served["paths"]["/v1/headers"]["get"]["parameters"];
    let count = count.as_array().unwrap().iter().find(|one| one["name"] == "count").unwrap();
    assert_eq!(count["schema"], json!({"type": "integer", "minimum": 1, "maximum": 2_000}));
}

// R22
#[tokio::test]
async fn docs_page_loads_only_from_this_origin_and_runs_no_scripts() {
    let world = World::new().await;
    let page = world.get("/docs").await;
    let policy = page.header(header::CONTENT_SECURITY_POLICY);
    assert!(policy.starts_with("default-src 'none'; style-src 'self';"), "{policy}");
    let html = page.text();
    for never in ["<script", "javascript:", " on", "http:", "https:", "src=", "url("] {
        let count = html.matches(never).count();
        // Prose has words that begin with "on".
        assert!(count == 0 || never == " on", "{never}");
    }
    assert!(!html.contains(" onclick") && !html.contains(" onload"));
    let style = world.get("/docs.css").await;
    assert_eq!(style.header(header::CONTENT_TYPE), "text/css; charset=utf-8");
    assert!(!style.text().contains("url(") && !style.text().contains("@import"));
}

#[tokio::test]
async fn problem_types_link_to_their_documentation() {
    let world = World::new().await;
    let page = world.get("/docs").await;
    let html = page.text();
    for kind in Kind::every() {
        let code = kind.code();
        assert_eq!(html.matches(&format!("id=\"{code}\"")).count(), 1, "{code}");
        assert!(html.contains(&format!("<strong>{}.</strong>", kind.title())), "{code}");
        assert!(kind.text().ends_with('.') && !kind.title().ends_with('.'), "{code}");
    }
    // Every link of the page resolves.
    for link in html.split("href=\"#").skip(1) {
        let target = link.split('"').next().unwrap();
        assert!(html.contains(&format!("id=\"{target}\"")), "{target}");
    }
    let missing = world.get("/v1/blocks/999").await.problem(404, "not-found");
    assert_eq!(missing["type"], "/docs#not-found");
}

// R07
#[tokio::test]
async fn every_route_rejects_unknown_query_parameters() {
    let world = World::new().await;
    let mut routes = 0;
    for (path, methods) in document()["paths"].as_object().unwrap() {
        let filled = path.replace("{id}", "0").replace("{address}", "0").replace("{who}", "0");
        for method in methods.as_object().unwrap().keys() {
            if (&**method, &**path) == ("get", "/") {
                continue;
            }
            let request = Request::builder().method(method.to_uppercase().as_str());
            let request = request.uri(format!("{filled}?misspelt=1"));
            let request = request
                .header(header::HOST, "localhost")
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::AUTHORIZATION, format!("Bearer {}", world.token));
            let response = world.send(request.body(Body::from("{}")).unwrap()).await;
            let problem = response.problem(400, "bad-request");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("misspelt"), "{method} {path}: {detail}");
            routes += 1;
        }
    }
    assert!(routes > 40, "{routes}");
    // The script of the explorer's pages reads their query.
    assert_eq!(world.get("/?misspelt=1").await.status, 200);
}

// R31
#[tokio::test]
async fn pages_of_other_sites_neither_make_work_nor_change_state() {
    let world = World::new().await;
    let makes_work = ["/v1/mining/template", "/v1/events", "/v1/ws"];
    for (path, methods) in document()["paths"].as_object().unwrap() {
        let filled = path.replace("{id}", "0").replace("{address}", "0").replace("{who}", "0");
        for method in methods.as_object().unwrap().keys() {
            for (name, value) in [
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-site", "same-site"),
                ("origin", "http://evil.example"),
                ("origin", "http://localhost:3000"),
            ] {
                if method == "get" && !makes_work.contains(&path.as_str()) {
                    continue;
                }
                let request = Request::builder().method(method.to_uppercase().as_str());
                let request = request.uri(&filled).header(header::HOST, "localhost:8400");
                let request = request
                    .header(name, value)
                    .header(header::AUTHORIZATION, format!("Bearer {}", world.token));
                let response = world.send(request.body(Body::from("{}")).unwrap()).await;
                response.problem(403, "forbidden-host");
            }
        }
    }
    // A link on another site may lead here.
    let link = [("sec-fetch-site", "cross-site")];
    assert_eq!(world.get_with("/v1/chain", &link).await.status, 200);
    assert_eq!(world.get_with("/", &link).await.status, 200);
}
