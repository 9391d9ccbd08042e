//! The binary `chain`: runs the command line of the library `node` and returns its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    node::cli::main()
}
