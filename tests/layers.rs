//! The crate's layout is enforced: a room uses only the rooms that the table at
//! the top of `src/lib.rs` gives it, and each of four crates has one importer.
//!
//! The table is here too, as data: changing the layout takes both, on purpose.

#[path = "layers/paths.rs"]
mod paths;

use std::collections::BTreeSet;
use std::path::Path;

use paths::Found;

/// A room: its floor, its name, the highest floor it may use whole, and the
/// rooms that it may use beside.
struct Room {
    floor: u8,
    name: &'static str,
    floors: Option<u8>,
    rooms: &'static [&'static str],
}

const fn room(floor: u8, name: &'static str, floors: Option<u8>, rooms: &'static [&'static str]) -> Room {
    Room { floor, name, floors, rooms }
}

const ROOMS: [Room; 20] = [
    room(0, "event", None, &[]),
    room(0, "fault", None, &[]),
    room(0, "config", None, &[]),
    room(0, "metrics", None, &[]),
    room(0, "tasks", None, &[]),
    room(1, "keys", Some(0), &[]),
    room(1, "seal", Some(0), &[]),
    room(1, "schema", Some(0), &[]),
    room(1, "store", Some(0), &["seal"]),
    room(1, "bus", Some(0), &["store"]),
    room(2, "members", Some(0), &["keys", "store"]),
    room(2, "agreements", Some(0), &["keys", "schema", "store", "members"]),
    room(2, "journal", Some(0), &["keys", "store"]),
    room(2, "persons", Some(0), &["seal", "store", "journal"]),
    room(3, "hub", Some(2), &[]),
    room(3, "connect", Some(1), &["members"]),
    room(4, "ops", Some(3), &[]),
    room(4, "admin", Some(3), &[]),
    room(4, "demo", Some(3), &["ops", "admin"]),
    room(5, "cli", Some(4), &[]),
];

/// The crates that one room alone imports.
const IMPORTERS: [(&str, &str); 4] =
    [("ed25519_dalek", "keys"), ("apache_avro", "schema"), ("sled", "store"), ("lapin", "bus")];

fn find(name: &str) -> Option<&'static Room> {
    ROOMS.iter().find(|room| room.name == name)
}

impl Room {
    fn may_use(&self, other: &Room) -> bool {
        self.name == other.name
            || self.floors.is_some_and(|floors| other.floor <= floors)
            || self.rooms.contains(&other.name)
    }

    /// The cell of the table that says what the room may use.
    fn cell(&self) -> String {
        let mut cell = match self.floors {
            None => return "–".to_owned(),
            Some(0) => "floor 0".to_owned(),
            Some(4) => return "all".to_owned(),
            Some(floors) => format!("floors 0–{floors}"),
        };
        for room in self.rooms {
            cell.push_str(&format!(", `{room}`"));
        }
        cell
    }
}

/// What is wrong with the file `name` of room `room`: a line for each arrow
/// that isn't in the table. `depth` is how many modules the file is below the
/// crate's root: 1 for `keys/mod.rs`, 2 for `keys/jwk.rs`.
fn faults(room: &Room, name: &str, depth: usize, source: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for Found { line, path } in paths::find(source, depth) {
        let mut fault = |what: String| faults.push(format!("{name}:{line}: {what}"));
        let first = path[0].as_str();
        if let Some((library, importer)) = IMPORTERS.iter().find(|(library, _)| *library == first) {
            if *importer != room.name {
                fault(format!("{} → {library}: only {importer} imports it", room.name));
            }
            continue;
        }
        if first != "crate" && first != "pirogue" {
            continue;
        }
        match path.get(1).map(String::as_str) {
            None | Some("*" | "self") => fault(format!("{} → the whole crate: name a room", room.name)),
            Some(other) => match find(other) {
                None => fault(format!("{} → {other}: there is no such room", room.name)),
                Some(other) if !room.may_use(other) => fault(format!(
                    "{} → {}: floor {} may use {}",
                    room.name,
                    other.name,
                    room.floor,
                    room.cell()
                )),
                Some(_) => {}
            },
        }
    }
    // A group may name a room several times on one line.
    faults.dedup();
    faults
}

/// Reads every file below `folder`, giving its path within `src` and its text.
fn walk(folder: &Path, within: &str, each: &mut impl FnMut(&str, &str)) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let name = entry.file_name().into_string().unwrap();
        let within = if within.is_empty() { name } else { format!("{within}/{name}") };
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), &within, each);
        } else if within.ends_with(".rs") {
            each(&within, &std::fs::read_to_string(entry.path()).unwrap());
        }
    }
}

/// The modules between the crate's root and the file: `keys/jwk.rs` has 2.
fn depth(within: &str) -> usize {
    within.split('/').count() - usize::from(within.ends_with("/mod.rs"))
}

fn source() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

#[test]
fn every_room_uses_only_what_the_table_gives_it() {
    let (mut all, mut files) = (Vec::new(), 0);
    walk(source(), "", &mut |within, text| {
        let room = within.split('/').next().unwrap().trim_end_matches(".rs");
        // The library's root declares the rooms; the program's calls `cli`.
        if within == "lib.rs" || within == "main.rs" {
            return;
        }
        files += 1;
        match find(room) {
            Some(room) => all.extend(faults(room, &format!("src/{within}"), depth(within), text)),
            None => all.push(format!("src/{within}:1: {room} isn't a room of the table")),
        }
    });
    assert!(files >= ROOMS.len(), "only {files} files were read");
    assert!(all.is_empty(), "arrows that aren't in the table of src/lib.rs:\n{}", all.join("\n"));
}

/// Floor, room and what it may use, of each row of the first table in `text`
/// whose lines begin with `start`.
fn table(text: &str, start: &str) -> Vec<[String; 3]> {
    text.lines()
        .filter_map(|line| line.strip_prefix(start))
        .map(|row| row.trim_end_matches('|').split('|').map(str::trim).collect::<Vec<_>>())
        .filter(|cells| cells.len() >= 4 && cells[0].parse::<u8>().is_ok())
        .map(|cells| [cells[0], cells[1].trim_matches(['[', ']', '`']), cells[3]].map(str::to_owned))
        .collect()
}

#[test]
fn the_tables_of_lib_rs_and_of_architecture_md_are_this_one() {
    let text = std::fs::read_to_string(source().join("lib.rs")).unwrap();
    let page = std::fs::read_to_string(source().with_file_name("ARCHITECTURE.md")).unwrap();
    let here: Vec<[String; 3]> =
        ROOMS.iter().map(|room| [room.floor.to_string(), room.name.to_owned(), room.cell()]).collect();
    assert_eq!(table(&text, "//! |"), here, "src/lib.rs");
    assert_eq!(table(&page, "|"), here, "ARCHITECTURE.md");

    let declared: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    assert_eq!(declared, ROOMS.iter().map(|room| room.name).collect(), "the modules that lib.rs declares");
}

#[test]
fn no_room_may_use_one_that_stands_above_it_or_that_may_use_it() {
    for room in &ROOMS {
        for other in ROOMS.iter().filter(|other| other.name != room.name && room.may_use(other)) {
            assert!(other.floor <= room.floor, "{} → {} goes up", room.name, other.name);
            assert!(!other.may_use(room), "{} and {} may use each other", room.name, other.name);
        }
        assert!(room.rooms.iter().all(|name| find(name).is_some()), "{}", room.name);
    }
}

/// The arrows of `source`, written in `room` at `depth`, without the file's name.
fn arrows(room: &str, depth: usize, source: &str) -> Vec<String> {
    let strip = |fault: String| {
        let (at, rest) = fault.split_once(": ").unwrap();
        format!("{} {}", at.trim_start_matches("x.rs:"), rest.split(':').next().unwrap())
    };
    faults(find(room).unwrap(), "x.rs", depth, source).into_iter().map(strip).collect()
}

#[test]
fn the_checker_finds_an_arrow_however_it_is_written() {
    for (source, found) in [
        ("use crate::hub::Intake;", "1 keys → hub"),
        ("\npub(crate) use crate::hub;", "2 keys → hub"),
        ("use crate::{event::Message, hub::{Intake, Release}};", "1 keys → hub"),
        ("use crate::{\n    event,\n    hub,\n};", "3 keys → hub"),
        ("use {crate::event, crate::hub as h};", "1 keys → hub"),
        ("fn f() { let x = crate::hub::intake(); }", "1 keys → hub"),
        ("type T = Vec<crate::hub::Intake>;", "1 keys → hub"),
        ("macro_rules! m { () => { $crate::hub::f() } }", "1 keys → hub"),
        ("use super::super::hub::Intake;", "1 keys → hub"),
        ("mod tests { use super::super::super::hub; }", "1 keys → hub"),
        ("use super::{super::hub, jwk};", "1 keys → hub"),
        ("fn f() { super::super::hub::g() }", "1 keys → hub"),
        ("use crate as whole;", "1 keys → the whole crate"),
        ("use crate::*;", "1 keys → the whole crate"),
        ("use crate::{self as whole};", "1 keys → the whole crate"),
        ("use pirogue::hub;", "1 keys → hub"),
        ("use crate::cellar::Wine;", "1 keys → cellar"),
        ("use sled::Db;", "1 keys → sled"),
        ("fn f(db: &::sled::Db) {}", "1 keys → sled"),
        ("use {std::fs, apache_avro as avro};", "1 keys → apache_avro"),
        ("extern crate lapin;", "1 keys → lapin"),
        ("use lapin;", "1 keys → lapin"),
    ] {
        assert_eq!(arrows("keys", 2, source), [found], "{source}");
    }
}

#[test]
fn the_checker_lets_pass_what_the_table_gives_and_what_isnt_code() {
    for source in [
        "use crate::event::Message; use crate::fault::{Reason, Refusal}; use crate::keys::note;",
        "use ed25519_dalek::SigningKey; use super::jwk::Jwk; use self::inner::X;",
        "// use crate::hub::Intake;\n/* crate::hub /* crate::ops */ crate::cli */ /// [`crate::hub`]\n",
        r####"const A: &str = "crate::hub"; const B: &str = r##"use crate::"#hub"##; const C: &[u8] = b"\"crate::hub";"####,
        "fn f<'a>(x: &'a str) -> char { '\"' } fn g() -> char { '\\'' } const D: &str = \"crate::hub\";",
        "mod inner { use super::super::jwk; } fn sled() {} struct Lapin { lapin: u8 }",
        "pub(in crate::keys) fn f() {} pub(crate) struct S;",
    ] {
        assert_eq!(arrows("keys", 2, source), [""; 0], "{source}");
    }
    assert_eq!(arrows("bus", 1, "use crate::store::Store; use super::event::Message;"), [""; 0]);
    assert_eq!(arrows("bus", 1, "use super::seal::Secret;"), ["1 bus → seal"]);
    assert_eq!(arrows("cli", 2, "use crate::{demo, hub, ops, event};"), [""; 0]);
}
