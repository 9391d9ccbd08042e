//! The home page of the explorer, which the API describes; the other pages are static files.

use crate::api::openapi::route::{Routes, get};
use crate::explorer;

pub fn routes() -> Routes {
    Routes::new([get("/", "Get the explorer's home page", explorer::home)
        .response_as(explorer::DOCUMENT, "The home page.")
        .not_modified()
        .ignores_query()])
}
