//! The documents of the repository, checked against the repository: every `sh` block of README.md
//! and `docs/` is executed exactly as printed, every link leads to a file, and every id that a test
//! cites is a row of `docs/threats.md`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The tracked and new files below the root with one of these extensions, relative to it.
fn files(extensions: &[&str]) -> Vec<PathBuf> {
    let git = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(git).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "the repository is a checkout of git");
    let names = String::from_utf8(output.stdout).unwrap();
    let names = names.split_terminator('\0').map(PathBuf::from);
    let has_one = |path: &PathBuf| {
        path.extension().is_some_and(|found| extensions.iter().any(|extension| found == *extension))
    };
    names.filter(|path| has_one(path) && root().join(path).is_file()).collect()
}

/// The files whose commands are executed.
fn documents() -> Vec<PathBuf> {
    let is_one = |path: &PathBuf| path == Path::new("README.md") || path.starts_with("docs");
    files(&["md"]).into_iter().filter(is_one).collect()
}

/// The ids in a text, such as N03: a letter of a section of the catalogue and two digits, as a word.
fn ids(text: &str) -> impl Iterator<Item = &str> {
    let is_id = |word: &&str| {
        let bytes = word.as_bytes();
        bytes.len() == 3
            && b"CGMNOQRTW".contains(&bytes[0])
            && bytes[1..].iter().all(u8::is_ascii_digit)
    };
    let is_part_of_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    text.split(move |character| !is_part_of_word(character)).filter(is_id)
}

#[test]
fn cited_ids_are_the_tested_rows_of_the_threat_model() {
    let catalogue = fs::read_to_string(root().join("docs/threats.md")).unwrap();
    let (mut tested, mut untested) = (BTreeSet::new(), BTreeSet::new());
    for row in catalogue.lines() {
        let Some(id) = row.strip_prefix("| ").and_then(|row| ids(row.get(..3)?).next()) else {
            continue;
        };
        let is_open = row.ends_with("| **open** |") || row.contains("| by design: ");
        let rows = if is_open { &mut untested } else { &mut tested };
        assert!(rows.insert(id.to_owned()), "{id} has two rows");
    }
    let mut cited = BTreeSet::new();
    for file in files(&["rs", "js", "py"]) {
        let text = fs::read_to_string(root().join(&file)).unwrap();
        let comments = text.lines().filter_map(|line| line.split_once("//").map(|(_, text)| text));
        cited.extend(comments.flat_map(ids).map(str::to_owned));
    }
    let known: BTreeSet<_> = tested.union(&untested).cloned().collect();
    let undefined: Vec<_> = cited.difference(&known).collect();
    assert!(undefined.is_empty(), "cited, but no rows of docs/threats.md: {undefined:?}");
    let uncited: Vec<_> = tested.difference(&cited).collect();
    assert!(uncited.is_empty(), "no test cites {uncited:?}: mark the rows **open**");
    let covered: Vec<_> = untested.intersection(&cited).collect();
    assert!(covered.is_empty(), "tests cite {covered:?}: the rows are not **open**");
}

#[test]
fn links_lead_to_files() {
    let mut broken = Vec::new();
    for file in files(&["md"]) {
        let text = fs::read_to_string(root().join(&file)).unwrap();
        for (_, rest) in text.match_indices("](").map(|(at, _)| text.split_at(at + 2)) {
            let target = rest.split([')', '#']).next().unwrap_or_default();
            let is_local = !target.is_empty() && !target.contains("://");
            if is_local && !root().join(&file).parent().unwrap().join(target).exists() {
                broken.push(format!("{}: {target}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The code spans of a text, such as `this one`, outside of fenced blocks.
fn code_spans(text: &str) -> Vec<&str> {
    let (mut spans, mut is_fenced) = (Vec::new(), false);
    for line in text.lines() {
        if line.starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced {
            spans.extend(line.split('`').skip(1).step_by(2));
        }
    }
    spans
}

#[test]
fn the_architecture_names_existing_files_and_functions() {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let mut missing = Vec::new();
    for span in code_spans(&text) {
        let is_path = span.contains('/')
            && span.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_.-".contains(&byte))
            && ["chain/", "miner/", "p2p/", "node/", "tests/", "docs/", ".ci/", ".github/"]
                .iter()
                .any(|directory| span.starts_with(directory));
        if is_path && !root().join(span).exists() {
            missing.push(span.to_owned());
        }
    }
    // Rows of the data paths: | `file` | `function` or `Type::function` | step |
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let [file, function, ..] = code_spans(row)[..] else { continue };
        let Ok(code) = fs::read_to_string(root().join(file)) else { continue };
        let name = function.rsplit("::").next().unwrap_or_default();
        if file.ends_with(".rs") && !code.contains(&format!("fn {name}")) {
            missing.push(format!("{file}: fn {name}"));
        }
    }
    assert!(missing.is_empty(), "docs/architecture.md names what does not exist: {missing:#?}");
}

#[test]
fn the_page_about_tests_of_wallets_shows_the_example() {
    let page = fs::read_to_string(root().join("docs/wallet-tests.md")).unwrap();
    for file in ["shop.py", "test_shop.py", "workflow.yml"] {
        let path = root().join("clients/examples").join(file);
        assert!(page.contains(&fs::read_to_string(path).unwrap()), "{file} differs");
    }
    // What the job runs is executed here, as a command of the page, and by tests/clients/fixtures.sh.
    let workflow = fs::read_to_string(root().join("clients/examples/workflow.yml")).unwrap();
    assert!(workflow.contains("python3 -m pytest -q") && page.contains("\npython3 -m pytest -q\n"));
}

#[test]
fn the_readme_has_at_most_150_lines() {
    let lines = fs::read_to_string(root().join("README.md")).unwrap().lines().count();
    assert!(lines <= 150, "{lines} lines: move text to docs/");
}

/// The execution of documented commands. Paths and programs in the documents are those of Linux.
#[cfg(target_os = "linux")]
mod commands {
    use super::{documents, root};
    use crate::harness::skip;
    use std::fs::{self, File};
    use std::net::TcpStream;
    use std::os::unix::fs::symlink;
    use std::os::unix::process::CommandExt;
    use std::path::Path;
    use std::process::{Command, ExitStatus, Stdio};
    use std::sync::{Mutex, PoisonError};
    use std::thread;
    use std::time::{Duration, Instant};

    /// Time for one block on a busy machine.
    const BLOCK_TIMEOUT: Duration = Duration::from_secs(180);
    const POLL: Duration = Duration::from_millis(50);
    /// Programs that a machine may lack. A document whose commands name one of them needs it.
    const PROGRAMS: [&str; 6] = ["curl", "jq", "openssl", "pytest", "redis-cli", "redis-server"];
    /// Python with pytest, which `.ci/run` installs.
    const PYTEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/pytest/bin");
    /// Ports of `dev`, which most documents use: with a node of its own on this machine they are
    /// busy.
    const PORTS: [u16; 2] = [28400, 28401];
    /// Reports the failed line. Stands in the document's first line, which is its title.
    const PRELUDE: &str = r#"trap 'echo "$0: line $LINENO failed with exit status $?" >&2' ERR"#;

    macro_rules! documents {
        ($($test:ident: $path:literal,)*) => {
            const EXECUTED: &[&str] = &[$($path),*];
            $(#[test] fn $test() { execute($path); })*
        };
    }

    documents! {
        commands_of_readme_succeed: "README.md",
        commands_of_commands_succeed: "docs/commands.md",
        commands_of_events_succeed: "docs/events.md",
        commands_of_mining_succeed: "docs/mining.md",
        commands_of_networks_succeed: "docs/networks.md",
        commands_of_operations_succeed: "docs/operations.md",
        commands_of_rest_succeed: "docs/rest.md",
        commands_of_rpc_succeed: "docs/rpc.md",
        commands_of_scenarios_succeed: "docs/scenarios.md",
        commands_of_testnets_succeed: "docs/testnets.md",
        commands_of_wallet_tests_succeed: "docs/wallet-tests.md",
    }

    #[test]
    fn every_document_with_commands_is_executed() {
        for document in documents() {
            let text = fs::read_to_string(root().join(&document)).unwrap();
            let is_executed = EXECUTED.iter().any(|executed| document == Path::new(executed));
            let has_commands = text.lines().any(|line| line.trim_start() == "```sh");
            assert_eq!(is_executed, has_commands, "{}", document.display());
        }
    }

    /// The document as a script of the same line numbers: `sh` blocks are as printed, the line of
    /// each opening fence appends its number to `$PROGRESS`, all other lines are empty.
    fn script(document: &str) -> String {
        let mut script = String::new();
        let mut fence: Option<&str> = None;
        for (number, line) in (1..).zip(document.lines()) {
            let info = line.strip_prefix("```");
            match (fence, info) {
                (None, Some(info)) => {
                    fence = Some(info);
                    if info == "sh" {
                        script.push_str(&format!("echo {number} >>\"$PROGRESS\""));
                    }
                }
                (Some(_), Some("")) => fence = None,
                (Some("sh"), _) => script.push_str(line),
                (None, None) if number == 1 => script.push_str(PRELUDE),
                _ => {}
            }
            script.push('\n');
        }
        script
    }

    #[test]
    fn a_script_has_the_commands_at_the_lines_of_the_document() {
        let document = "# Title\n\n```sh\na <<E\nE\n```\nprose\n```toml\nb\n```\n";
        let lines: Vec<String> = script(document).lines().map(str::to_owned).collect();
        let expected = [PRELUDE, "", "echo 3 >>\"$PROGRESS\"", "a <<E", "E", "", "", "", "", ""];
        assert_eq!(lines, expected);
    }

    fn missing_program(script: &str) -> Option<&'static str> {
        let is_part_of_word = |character: char| character.is_alphanumeric() || character == '-';
        let words: Vec<&str> = script.split(|character| !is_part_of_word(character)).collect();
        PROGRAMS.into_iter().find(|program| words.contains(program) && !is_installed(program))
    }

    fn is_installed(program: &str) -> bool {
        let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
        // `openssl` has another flag, and fails.
        output.is_ok() || Path::new(PYTEST).join(program).exists()
    }

    /// A loopback interface of its own for each document, where the system permits it: ports are
    /// free there, and nothing is reachable from or to the outside.
    fn isolation() -> Option<[&'static str; 6]> {
        let unshare =
            ["unshare", "--map-root-user", "--net", "sh", "-c", "ip link set lo up && exec \"$@\""];
        let probe = Command::new(unshare[0]).args(&unshare[1..]).args(["sh", "true"]).output();
        probe.is_ok_and(|output| output.status.success()).then_some(unshare)
    }

    fn execute(path: &str) {
        static PORTS_IN_USE: Mutex<()> = Mutex::new(());
        let script = script(&fs::read_to_string(root().join(path)).unwrap());
        if let Some(program) = missing_program(&script) {
            return skip(&format!("the commands of {path} need {program}"));
        }
        let isolation = isolation();
        let guard = PORTS_IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        if isolation.is_some() {
            drop(guard);
        } else if PORTS.iter().any(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()) {
            return skip(&format!("the commands of {path} need the ports of `dev`"));
        }
        let directory = tempfile::tempdir().unwrap();
        for name in ["bin", "home", "tmp", "work"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        symlink(env!("CARGO_BIN_EXE_chain"), directory.path().join("bin/chain")).unwrap();
        let name = Path::new(path).file_name().unwrap();
        fs::write(directory.path().join(name), script).unwrap();

        let prefix: &[&str] = isolation.as_ref().map_or(&["env"], |isolation| isolation);
        let mut command = Command::new(prefix[0]);
        command.args(&prefix[1..]).args(isolation.map(|_| "sh"));
        command.args(["bash", "-eu", "-o", "pipefail"]).arg(directory.path().join(name));
        let outcome = run(&mut command, directory.path());
        // The nodes of a testnet have sessions of their own.
        if directory.path().join("home/.local/share/chain/local-testnet").exists() {
            let down = ["testnet", "down", "--delete"];
            let mut command = Command::new(env!("CARGO_BIN_EXE_chain"));
            let _ = environment(command.args(down), directory.path()).output();
        }
        if let Err(failure) = outcome {
            let log = fs::read_to_string(directory.path().join("log")).unwrap();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(60)..].join("\n");
            panic!("{path}: {failure}; its output ends with:\n{tail}");
        }
    }

    fn environment<'a>(command: &'a mut Command, directory: &Path) -> &'a mut Command {
        let path = std::env::var("PATH").unwrap_or_default();
        command.env_clear().current_dir(directory.join("work"));
        command.env("PATH", format!("{}:{PYTEST}:{path}", directory.join("bin").display()));
        command.env("CHAIN", root()).env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("HOME", directory.join("home")).env("TMPDIR", directory.join("tmp"));
        command.env("LANG", "C.UTF-8").env("PROGRESS", directory.join("progress"))
    }

    /// Runs the script until it ends or a block exceeds its time; then ends its process group.
    fn run(command: &mut Command, directory: &Path) -> Result<(), String> {
        let log = File::create(directory.join("log")).unwrap();
        environment(command, directory).process_group(0).stdin(Stdio::null());
        let mut child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let (mut block, mut begun) = (String::new(), Instant::now());
        let outcome: Result<ExitStatus, ()> = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Ok(status);
            }
            let progress = fs::read_to_string(directory.join("progress")).unwrap_or_default();
            let current = progress.lines().last().unwrap_or_default();
            if current != block {
                (block, begun) = (current.to_owned(), Instant::now());
            }
            if begun.elapsed() > BLOCK_TIMEOUT {
                break Err(());
            }
            thread::sleep(POLL);
        };
        let progress = fs::read_to_string(directory.join("progress")).unwrap_or_default();
        let block = progress.lines().last().unwrap_or_default().to_owned();
        let group = format!("-{}", child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = child.wait();
        match outcome {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("the block at line {block} failed with {status}")),
            Err(()) => Err(format!("the block at line {block} exceeded {BLOCK_TIMEOUT:?}")),
        }
    }
}
