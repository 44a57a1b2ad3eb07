//! Random sequences of operations by two processes in turn, beside a model.

use std::collections::HashMap as Model;

use proptest::collection::vec;
use proptest::prelude::*;
use sharemap::UnlinkOnDrop;
use sharemap::containers::HashMap;

use super::peer::{Peer, listen, tell};
use super::*;
use crate::random::check;

const ROLE: &str = "two_processes::does_what_it_is_told";
const MAPS: [&str; 2] = ["words", "texts"];

/// Both maps, as one process uses them.
struct Maps {
    segment: Segment,
    words: HashMap<u64, u64>,
    texts: HashMap<str, str>,
}

impl Maps {
    fn of(segment: Segment) -> Self {
        let words = segment.hash_map(MAPS[0]).unwrap();
        let texts = segment.hash_map(MAPS[1]).unwrap();
        Self { segment, words, texts }
    }

    /// Does what a line says, and returns what came of it.
    fn run(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |index: usize| words[index].parse::<u64>().unwrap();
        let key = |number: u64| format!("a key that lies in a block {number}");
        let value = |number: u64| format!("{number}/{}", "v".repeat(number as usize % 70));
        let shown = |text: Option<String>| {
            text.map(|text| text.split('/').next().unwrap().parse::<u64>().unwrap())
        };
        let result = match words[0] {
            "insert" => self.words.insert(&number(1), &number(2)).unwrap(),
            "remove" => self.words.remove(&number(1)).unwrap(),
            "get" => self.words.get(&number(1)).unwrap(),
            "add" => self.words.update(&number(1), |value| value + number(2)).unwrap(),
            "len" => Some(self.words.len().unwrap() << 32 | self.texts.len().unwrap()),
            "INSERT" => shown(self.texts.insert(&key(number(1)), &value(number(2))).unwrap()),
            "REMOVE" => shown(self.texts.remove(&key(number(1))).unwrap()),
            "GET" => shown(self.texts.get(&key(number(1))).unwrap()),
            "recreate" => {
                for map in MAPS {
                    assert!(self.segment.remove(map).unwrap());
                }
                None
            }
            "reopen" => None,
            "sum" => {
                let words = self.words.iter().map(|pair| pair.unwrap().1).sum::<u64>();
                let texts = self
                    .texts
                    .iter()
                    .map(|pair| shown(Some(pair.unwrap().1)).unwrap())
                    .sum::<u64>();
                Some(words << 32 | texts)
            }
            _ => panic!("{line}"),
        };
        if matches!(words[0], "recreate" | "reopen") {
            *self = Self::of(self.segment.clone());
        }
        format!("{result:?}")
    }
}

/// Child role: does what each line says.
#[test]
fn does_what_it_is_told() {
    if crate::common::role(ROLE).is_none() {
        return;
    }
    let mut maps = None;
    while let Some(line) = listen() {
        match line.split_once("open ") {
            Some(("", name)) => {
                drop(maps.take());
                let segment = Segment::open(name).unwrap();
                maps = Some(Maps::of(segment));
                tell("opened");
            }
            _ => tell(&maps.as_mut().unwrap().run(&line)),
        }
    }
}

/// What a line must come to.
fn model(line: &str, words: &mut Model<u64, u64>, texts: &mut Model<u64, u64>) -> Option<u64> {
    let parts: Vec<&str> = line.split(' ').collect();
    let number = |index: usize| parts[index].parse::<u64>().unwrap();
    match parts[0] {
        "insert" => words.insert(number(1), number(2)),
        "remove" => words.remove(&number(1)),
        "get" => words.get(&number(1)).copied(),
        "add" => words.get_mut(&number(1)).map(|value| {
            *value += number(2);
            *value
        }),
        "len" => Some((words.len() as u64) << 32 | texts.len() as u64),
        "INSERT" => texts.insert(number(1), number(2)),
        "REMOVE" => texts.remove(&number(1)),
        "GET" => texts.get(&number(1)).copied(),
        "recreate" => {
            words.clear();
            texts.clear();
            None
        }
        "reopen" => None,
        "sum" => Some(words.values().sum::<u64>() << 32 | texts.values().sum::<u64>()),
        _ => panic!("{line}"),
    }
}

fn line(keys: u64) -> impl Strategy<Value = String> {
    let key = move || 0..keys;
    let value = || 1_u64..1000;
    prop_oneof![
        6 => (key(), value()).prop_map(|(key, value)| format!("insert {key} {value}")),
        4 => key().prop_map(|key| format!("remove {key}")),
        3 => key().prop_map(|key| format!("get {key}")),
        2 => (key(), value()).prop_map(|(key, value)| format!("add {key} {value}")),
        6 => (key(), value()).prop_map(|(key, value)| format!("INSERT {key} {value}")),
        4 => key().prop_map(|key| format!("REMOVE {key}")),
        3 => key().prop_map(|key| format!("GET {key}")),
        1 => Just("len".to_owned()),
        1 => Just("sum".to_owned()),
    ]
}

/// Two processes see each other's changes at once, whatever they change in turn.
#[test]
fn two_processes_change_the_same_maps() {
    need_atomics!();
    let mut peer = Peer::start(ROLE, "");
    let peer = std::cell::RefCell::new(&mut peer);
    let strategy = prop_oneof![Just(10_u64), Just(400)]
        .prop_flat_map(|keys| vec((any::<bool>(), line(keys)), 1..500));
    let cases = if is_long() { 1000 } else { 30 };
    check(cases, &strategy, |steps| {
        let name = format!("segment-two-{}", std::process::id());
        let _unlinked = UnlinkOnDrop::new(&name);
        let segment = Segment::create_new(&name, 1 << 20, 1 << 26).unwrap();
        let mut peer = peer.borrow_mut();
        assert_eq!(peer.ask(&format!("open {name}")), "opened");
        let mut maps = Maps::of(segment);
        let (mut words, mut texts) = (Model::new(), Model::new());
        for (index, (is_mine, line)) in steps.iter().enumerate() {
            // At times one process removes both maps, and the other opens the new ones.
            if index % 150 == 149 {
                maps.run("recreate");
                assert_eq!(peer.ask("reopen"), "None");
                let _ = model("recreate", &mut words, &mut texts);
            }
            let found = if *is_mine { maps.run(line) } else { peer.ask(line) };
            assert_eq!(found, format!("{:?}", model(line, &mut words, &mut texts)), "{line}");
        }
        assert_whole(&maps.segment, 0);
    });
}
