//! End-to-end tests over real processes of the binary `chain`.

mod util;
