//! Lists the explorer's files as Rust source, so that each one is embedded without being named.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let folder = variable("CARGO_MANIFEST_DIR").join("src/explorer");
    // Cargo watches the whole folder: a new file is embedded by the next build.
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    collect(&folder, &mut files)?;
    files.sort();
    let rows = files.iter().map(|file| {
        let name = file.strip_prefix(&folder).expect("every file is in the folder");
        let name = name.to_str().expect("file names are UTF-8").replace('\\', "/");
        format!("    ({name:?}, include_str!({file:?})),\n")
    });
    let source = format!("&[\n{}]\n", rows.collect::<String>());
    fs::write(variable("OUT_DIR").join("explorer_files.rs"), source)
}

fn variable(name: &str) -> PathBuf {
    env::var_os(name).expect("Cargo sets the variables of build scripts").into()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
