//! The explorer's first page, which the API describes; its other pages are plain files.

use crate::api::openapi::route::{Table, get};
use crate::explorer;

/// The routes of this resource.
pub fn routes() -> Table {
    Table::new([get("/", "The explorer, for people", explorer::home)
        .answers_as(explorer::DOCUMENT, "Its first page.")
        .revalidates()])
}
