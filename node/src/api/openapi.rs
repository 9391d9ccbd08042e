//! The OpenAPI document and the route table it is made from.

pub mod docs;
pub mod document;
pub mod route;
pub mod schema;
mod simplify;
