//! Parses the lists of errors in the library's sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The documented errors of one public function.
pub struct List {
    /// The path of the file below `src`.
    pub path: String,
    /// The type of a method; empty for a free function.
    pub owner: String,
    pub name: String,
    pub kinds: BTreeSet<String>,
    /// The functions that this list refers to for further errors.
    pub references: Vec<(String, String)>,
    /// Whether the list describes an error without naming its kind, such as a deferred one.
    pub tells_in_words: bool,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}::{}", self.path, self.owner, self.name)
    }
}

pub struct Library {
    pub kinds: BTreeSet<String>,
    pub lists: Vec<List>,
    /// The files that create an error of each kind.
    pub makers: BTreeMap<String, BTreeSet<String>>,
}

impl Library {
    pub fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let error = fs::read_to_string(root.join("error/kind.rs")).unwrap();
        let (_, rest) = error.split_once("pub enum ErrorKind {").unwrap();
        let (kinds, _) = rest.split_once("\n}").unwrap();
        let kinds = kinds.lines().filter_map(|line| line.trim().strip_suffix(','));
        let mut library = Self {
            kinds: kinds.filter(|word| !word.starts_with("//")).map(Into::into).collect(),
            lists: Vec::new(),
            makers: BTreeMap::new(),
        };
        let mut paths = Vec::new();
        sources(&root, &mut paths);
        for path in paths {
            let text = fs::read_to_string(&path).unwrap();
            let relative = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
            library.take(&relative, &text);
        }
        library
    }

    fn take(&mut self, path: &str, text: &str) {
        let (mut docs, mut owner) = (String::new(), String::new());
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let code = line.trim_start();
            let next = lines.peek().copied().unwrap_or_default();
            if line == "#[cfg(test)]" && next.starts_with("mod ") {
                // Tests are at the end of a file.
                break;
            }
            if let Some(doc) = code.strip_prefix("///") {
                docs.push_str(doc);
                docs.push('\n');
                continue;
            }
            if code.starts_with("//") || code.starts_with("#[") {
                continue;
            }
            if let Some(rest) = code.strip_prefix("impl") {
                owner = implementor(rest);
            }
            let function = code.strip_prefix("pub fn ").or(code.strip_prefix("pub unsafe fn "));
            if let Some(rest) = function {
                if let Some((before, errors)) = docs.split_once("# Errors\n") {
                    let name = word(rest);
                    self.lists.push(List::of(path, &owner, name, before, errors));
                }
            }
            docs.clear();
            if ["error.rs", "error/kind.rs"].contains(&path) {
                continue;
            }
            for (at, _) in code.match_indices("ErrorKind::") {
                let kind = word(&code[at + "ErrorKind::".len()..]);
                // A comparison does not create an error.
                if !code[..at].trim_end().ends_with("==") && !code[..at].contains("!= ") {
                    self.makers.entry(kind.into()).or_default().insert(path.into());
                }
            }
        }
    }

    pub fn find<'a>(&'a self, owner: &'a str, name: &'a str) -> impl Iterator<Item = &'a List> {
        self.lists.iter().filter(move |list| list.owner == owner && list.name == name)
    }

    /// Returns the kinds of a list, including those of the lists that it refers to.
    pub fn promised(&self, list: &List) -> BTreeSet<String> {
        let mut kinds = BTreeSet::new();
        let (mut left, mut seen) = (vec![list], BTreeSet::new());
        while let Some(list) = left.pop() {
            if !seen.insert(list.to_string()) {
                continue;
            }
            kinds.extend(list.kinds.iter().cloned());
            for (owner, name) in &list.references {
                left.extend(self.lists.iter().filter(|l| l.owner == *owner && l.name == *name));
            }
        }
        kinds
    }
}

impl List {
    fn of(path: &str, owner: &str, name: &str, before: &str, errors: &str) -> Self {
        // A list ends at the next heading.
        let errors = errors.split("\n # ").next().unwrap();
        let mut list = Self {
            path: path.into(),
            owner: owner.into(),
            name: name.into(),
            kinds: BTreeSet::new(),
            references: Vec::new(),
            tells_in_words: ["error", "system call", "Whatever the function"]
                .iter()
                .any(|words| errors.contains(words)),
        };
        // A link in an item is a reference only if it names a kind.
        let (mut items, mut others) = (String::new(), String::new());
        let mut in_item = false;
        for line in errors.lines() {
            let line = line.strip_prefix(' ').unwrap_or(line);
            in_item = line.starts_with("- ") || in_item && line.starts_with("  ");
            let text = if in_item { &mut items } else { &mut others };
            text.push_str(line);
            text.push('\n');
        }
        let of_items = links(&items).filter(|(_, target)| target.contains("ErrorKind::"));
        for (link, target) in links(&others).chain(of_items) {
            let last = link.rsplit("::").next().unwrap();
            let parts: Vec<_> = link.split("::").collect();
            if link == "LockError::OwnerDied" || target.contains("ErrorKind::") {
                // If the text and the target of a link name different kinds, both count, and one is
                // found wrong.
                list.kinds.extend([last, target.rsplit("::").next().unwrap()].map(Into::into));
            } else if let Some(function) = target.strip_suffix('(') {
                // A free function, as in `(crate::unlink())`; its target was cut at the inner
                // bracket.
                let name = function.rsplit("::").next().unwrap();
                list.references.push((String::new(), name.into()));
            } else if target.trim_start_matches("crate::").starts_with("Error::")
                || last.starts_with(char::is_uppercase)
            {
                // Methods of the error, and types, are no references.
            } else if let [.., owner, name] = parts[..] {
                list.references.push((owner.into(), name.into()));
            } else {
                list.references.push((owner.into(), link.into()));
            }
        }
        // "- `X` - …", and "- `X`, `Y` - …".
        for line in errors.lines().filter_map(|line| line.trim_start().strip_prefix("- `")) {
            let (kinds, _) = line.split_once(" - ").unwrap_or((line, ""));
            list.kinds.extend(kinds.split("`, `").map(|kind| word(kind).into()));
        }
        // "See `X::y`", and "As there".
        if errors.contains("there") && list.kinds.is_empty() && list.references.is_empty() {
            let there = links(before).find_map(|(link, _)| {
                let (owner, name) = link.rsplit_once("::")?;
                Some((owner.to_owned(), name.to_owned()))
            });
            list.references.extend(there);
        }
        list
    }
}

/// Returns the links to code in a text, [`X`](target) and [`X`], with their possibly empty targets.
/// The definitions of links below the text are excluded.
fn links(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("[`").skip(1).filter_map(|rest| {
        let (link, rest) = rest.split_once("`]")?;
        let target = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        (!rest.starts_with(": crate::"))
            .then_some((link, target.map_or(link, |(target, _)| target)))
    })
}

fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap()
}

/// Returns the type in `impl<…> Trait for Type<…> {`, given the text after `impl`.
fn implementor(rest: &str) -> String {
    let mut depth = 0_i32;
    let mut after = rest;
    if rest.starts_with('<') {
        for (at, c) in rest.char_indices() {
            match c {
                '<' => depth += 1,
                '>' if !rest[..at].ends_with('-') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                after = &rest[at + 1..];
                break;
            }
        }
    }
    let named = after.split(" for ").last().unwrap().trim_start();
    word(named.trim_start_matches('&').trim_start_matches('$')).to_owned()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            // Test modules are no part of the library.
            if !["tests", "explorer", "races", "conformance"].contains(&name) {
                sources(&path, found);
            }
        } else if name.ends_with(".rs")
            && !["tests.rs", "compile_fail.rs", "conformance.rs"].contains(&name)
        {
            found.push(path);
        }
    }
}
