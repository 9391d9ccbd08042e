//! The order of modules that `docs/architecture.md` states, checked against the imports of every crate.
//!
//! A module may import the modules listed before it and nothing listed after it. Files never import each other in a
//! loop, except that a child may import its parent where the parent only declares and re-exports the child.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const CRATES: [&str; 4] = ["chain", "miner", "p2p", "node"];

/// Re-exports of re-exports that are followed at most.
const MAX_RE_EXPORTS: u32 = 8;

/// The path of a module below the root of its crate; empty for the root itself.
type ModulePath = Vec<String>;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let (mut tokens, mut at) = (Vec::new(), 0);
    let starts_with = |at: usize, what: &str| {
        what.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c))
    };
    while at < chars.len() {
        let c = chars[at];
        if starts_with(at, "//") {
            at += chars[at..].iter().take_while(|c| **c != '\n').count();
        } else if starts_with(at, "/*") {
            while at < chars.len() && !starts_with(at, "*/") {
                at += 1;
            }
            at += 2;
        } else if c == 'r' && (starts_with(at, "r\"") || starts_with(at, "r#\"")) {
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            let end = format!("\"{}", "#".repeat(hashes));
            at += hashes + 2;
            while at < chars.len() && !starts_with(at, &end) {
                at += 1;
            }
            at += end.len();
        } else if c == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if c == '\'' {
            // A character literal, or a lifetime, which has no closing quote after one character.
            if chars.get(at + 1) == Some(&'\\') {
                at += 2;
                at += chars[at..].iter().take_while(|c| **c != '\'').count().max(1) + 1;
            } else if chars.get(at + 2) == Some(&'\'') {
                at += 3;
            } else {
                at += 1;
            }
        } else if c.is_alphanumeric() || c == '_' {
            let end =
                at + chars[at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
            tokens.push(chars[at..end].iter().collect());
            at = end;
        } else if starts_with(at, "::") {
            tokens.push("::".to_owned());
            at += 2;
        } else {
            if !c.is_whitespace() {
                tokens.push(c.to_string());
            }
            at += 1;
        }
    }
    tokens
}

/// Drops every item under `#[cfg(test)]`: tests may import whatever they test.
fn without_tests(tokens: &[String]) -> Vec<String> {
    let marker = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut rest, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if tokens[at..].iter().take(marker.len()).eq(marker.iter()) {
            at += marker.len();
            let mut depth = 0_u32;
            while let Some(token) = tokens.get(at) {
                match token.as_str() {
                    "(" | "[" | "{" => depth += 1,
                    ")" | "]" | "}" if depth == 0 => break, // the end of what contains the item
                    ")" | "]" | "}" => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 && matches!(token.as_str(), "}" | ";" | ",") {
                    break;
                }
            }
        } else {
            rest.push(tokens[at].clone());
            at += 1;
        }
    }
    rest
}

/// One source file: what it declares, imports and re-exports.
#[derive(Default)]
struct Module {
    children: BTreeSet<String>,
    /// Absolute paths below the crate's root, item names included.
    uses: BTreeSet<ModulePath>,
    /// Names that a `pub use` exposes here, with the paths that they stand for.
    exports: BTreeMap<String, ModulePath>,
}

struct Crate {
    modules: BTreeMap<ModulePath, Module>,
}

impl Crate {
    fn read(name: &str) -> Crate {
        let root = repository().join(name).join("src");
        let mut files = Vec::new();
        collect(&root, &mut files);
        let mut sources = BTreeMap::new();
        for file in files {
            let below = file.strip_prefix(&root).unwrap().with_extension("");
            let mut path: ModulePath =
                below.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            if path == ["lib"] || path.last().is_some_and(|last| last == "mod") {
                path.pop();
            }
            if path == ["main"] || path.iter().any(|part| part == "tests") {
                continue;
            }
            let tokens = without_tests(&tokens(&fs::read_to_string(&file).unwrap()));
            sources.insert(path, tokens);
        }
        let mut modules = BTreeMap::new();
        for (path, tokens) in &sources {
            let mut module = Module::default();
            for pair in tokens.windows(3).filter(|pair| pair[0] == "mod" && pair[2] == ";") {
                module.children.insert(pair[1].clone());
            }
            read_paths(path, tokens, &mut module);
            modules.insert(path.clone(), module);
        }
        Crate { modules }
    }

    /// The file that defines what the path names: re-exports are followed.
    fn resolve(&self, path: &[String], depth: u32) -> Option<ModulePath> {
        let at = (0..=path.len()).rev().find(|at| self.modules.contains_key(&path[..*at]))?;
        let (module, item) = path.split_at(at);
        let export = item.first().and_then(|name| self.modules[module].exports.get(name));
        match export {
            Some(target) if depth < MAX_RE_EXPORTS => {
                self.resolve(&[target, &item[1..]].concat(), depth + 1)
            }
            _ => Some(module.to_vec()),
        }
    }

    /// For each file, the files whose items it uses.
    fn imports(&self) -> BTreeMap<ModulePath, BTreeSet<ModulePath>> {
        let mut imports = BTreeMap::new();
        for (path, module) in &self.modules {
            let mut targets: BTreeSet<ModulePath> =
                module.uses.iter().filter_map(|used| self.resolve(used, 0)).collect();
            targets.remove(path);
            imports.insert(path.clone(), targets);
        }
        imports
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Reads the `use` declarations, and the paths that stand in the code itself.
fn read_paths(path: &ModulePath, tokens: &[String], module: &mut Module) {
    // The module at this point, the inline modules around it included, and the depth of braces
    // at which each of these ends.
    let (mut here, mut depth, mut ends) = (path.clone(), 0_u32, Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if ends.last() == Some(&depth) {
                    ends.pop();
                    here.pop();
                }
            }
            "mod" if tokens.get(at + 2).is_some_and(|next| next == "{") => {
                ends.push(depth);
                here.push(tokens[at + 1].clone());
            }
            "use" if tokens.get(at + 1).is_some_and(|next| next != "<") => {
                let is_public = at > 0 && (tokens[at - 1] == "pub" || tokens[at - 1] == ")");
                let end = at + tokens[at..].iter().position(|token| token == ";").unwrap();
                let mut leaves = Vec::new();
                expand(&tokens[at + 1..end], &mut Vec::new(), &mut leaves);
                for (used, name) in leaves {
                    let Some(used) = absolute(&here, &used, module) else { continue };
                    if is_public && here == *path {
                        module.exports.insert(name, used);
                    } else {
                        module.uses.insert(used);
                    }
                }
                at = end;
            }
            // `pub(in path)` names a scope and imports nothing.
            "in" if at > 0 && tokens[at - 1] == "(" => {
                at += tokens[at..].iter().position(|token| token == ")").unwrap();
            }
            _ => at = read_path(&here, tokens, at, module),
        }
        at += 1;
    }
}

/// Reads the path that begins here, if there is one, and returns the position of its last token.
fn read_path(here: &ModulePath, tokens: &[String], at: usize, module: &mut Module) -> usize {
    let is_separator = |at: usize| tokens.get(at).is_some_and(|token| token == "::");
    if !is_separator(at + 1) || (at > 0 && is_separator(at - 1)) {
        return at;
    }
    let (mut used, mut last) = (vec![tokens[at].clone()], at);
    while is_separator(last + 1) {
        let Some(part) = tokens.get(last + 2).filter(|part| is_name(part)) else { break };
        used.push(part.clone());
        last += 2;
    }
    if let Some(used) = absolute(here, &used, module) {
        module.uses.insert(used);
    }
    last
}

fn is_name(token: &str) -> bool {
    token.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// Lists the paths of a tree such as `a::{b, c::{self, D as E}}`, each with the name that it gets.
fn expand(tree: &[String], prefix: &mut Vec<String>, leaves: &mut Vec<(ModulePath, String)>) {
    let depth = prefix.len();
    let mut at = 0;
    while at < tree.len() {
        match tree[at].as_str() {
            "::" => at += 1,
            "{" => {
                let mut level = 0_u32;
                let mut start = at + 1;
                for (index, token) in tree.iter().enumerate().skip(at) {
                    match token.as_str() {
                        "{" => level += 1,
                        "}" => level -= 1,
                        _ => {}
                    }
                    if level == 0 || (level == 1 && token == ",") {
                        if start < index {
                            let below = prefix.len();
                            expand(&tree[start..index], prefix, leaves);
                            prefix.truncate(below);
                        }
                        start = index + 1;
                    }
                    if level == 0 {
                        break;
                    }
                }
                prefix.truncate(depth);
                return;
            }
            "as" => {
                leaves.push((prefix.clone(), tree[at + 1].clone()));
                prefix.truncate(depth);
                return;
            }
            part => {
                if part != "self" || prefix.is_empty() {
                    prefix.push(part.to_owned());
                }
                at += 1;
            }
        }
    }
    if let Some(last) = prefix.last().cloned() {
        leaves.push((prefix.clone(), last));
    }
    prefix.truncate(depth);
}

/// The path from the crate's root, or nothing if it leads into another crate.
fn absolute(from: &ModulePath, used: &[String], module: &Module) -> Option<ModulePath> {
    let mut base = from.clone();
    let mut rest = used;
    match used.first()?.as_str() {
        "crate" => {
            base.clear();
            rest = &used[1..];
        }
        "self" => rest = &used[1..],
        "super" => {
            while rest.first().is_some_and(|part| part == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        child if module.children.contains(child) => {}
        _ => return None,
    }
    base.extend(rest.iter().filter(|part| *part != "*").cloned());
    Some(base)
}

/// The modules of each crate in the order that the document states, lowest first.
fn stated_order(name: &str) -> Vec<ModulePath> {
    let document = fs::read_to_string(repository().join("docs/architecture.md")).unwrap();
    let fence = format!("```text module-order {name}\n");
    let (_, block) =
        document.split_once(&fence).unwrap_or_else(|| panic!("no order of {name} is stated"));
    let (block, _) = block.split_once("```").unwrap();
    let lines = block.lines().map(|line| line.split(" · ").next().unwrap().trim());
    let paths = lines.filter(|line| !line.is_empty());
    paths.map(|path| path.split("::").map(str::to_owned).collect()).collect()
}

fn show(path: &ModulePath) -> String {
    if path.is_empty() { "(root)".to_owned() } else { path.join("::") }
}

#[test]
fn modules_import_only_modules_listed_before_them() {
    let mut wrong = Vec::new();
    for name in CRATES {
        let order = stated_order(name);
        let source = Crate::read(name);
        let place = |path: &ModulePath| {
            let covering = order.iter().enumerate().filter(|(_, listed)| path.starts_with(listed));
            covering.max_by_key(|(_, listed)| listed.len()).map(|(place, _)| place)
        };
        for listed in &order {
            if !source.modules.contains_key(listed) {
                wrong.push(format!("{name}: {} is listed and does not exist", show(listed)));
            }
        }
        for (path, imports) in source.imports() {
            if path.is_empty() {
                continue; // the root declares the modules
            }
            let Some(own) = place(&path) else {
                wrong.push(format!("{name}: {} is not listed", show(&path)));
                continue;
            };
            for import in
                imports.iter().filter(|import| place(import).is_some_and(|place| place > own))
            {
                wrong.push(format!(
                    "{name}: {} imports {}, which is above it",
                    show(&path),
                    show(import)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn files_do_not_import_each_other_in_a_loop() {
    let mut loops = Vec::new();
    for name in CRATES {
        let imports = Crate::read(name).imports();
        let mut reach = BTreeMap::new();
        for path in imports.keys() {
            let (mut seen, mut open) = (BTreeSet::new(), vec![path]);
            while let Some(next) = open.pop() {
                for import in imports.get(next).into_iter().flatten() {
                    if seen.insert(import) {
                        open.push(import);
                    }
                }
            }
            reach.insert(path, seen);
        }
        let mut shown = BTreeSet::new();
        for (path, seen) in &reach {
            if !seen.contains(path) || shown.contains(path) {
                continue;
            }
            let members: Vec<_> = seen
                .iter()
                .copied()
                .filter(|other| reach.get(*other).is_some_and(|back| back.contains(path)))
                .collect();
            shown.extend(members.iter().copied());
            let edges: Vec<_> = members
                .iter()
                .flat_map(|from| imports[*from].iter().map(move |to| (*from, to)))
                .filter(|(_, to)| members.contains(to))
                .map(|(from, to)| format!("    {} -> {}", show(from), show(to)))
                .collect();
            loops.push(format!("{name}: {} files\n{}", members.len(), edges.join("\n")));
        }
    }
    assert!(loops.is_empty(), "\n{}", loops.join("\n"));
}

#[test]
fn import_trees_and_literals_are_read() {
    let source = r##"use a::{b, c::{self, D as E}}; let x = 'x'; let s: &'static str = "use z::y;"; r#"use q;"#;"##;
    let tokens = tokens(source);
    let end = tokens.iter().position(|token| token == ";").unwrap();
    let mut leaves = Vec::new();
    expand(&tokens[1..end], &mut Vec::new(), &mut leaves);
    let read: Vec<_> =
        leaves.iter().map(|(path, name)| format!("{} {name}", path.join("::"))).collect();
    assert_eq!(read, ["a::b b", "a::c c", "a::c::D E"]);
    assert_eq!(tokens.iter().filter(|token| *token == "use").count(), 1);
}
