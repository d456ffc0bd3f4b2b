//! A peer joins with an older, edited copy of the tree.

use std::collections::{BTreeMap, BTreeSet};

use super::peer::{Peer, Plain, file, mode};
use super::schedules::{agree, resolve_all, word};
use super::script::{run, spot};
use super::seed::Seed;
use crate::model::ids::NodeId;
use crate::model::name::Name;
use crate::model::patch::{Attr, Content, Place, Register};

type Files = BTreeMap<String, (Content, Attr)>;

impl Peer {
    /// Takes in the files of a directory that joins, after the first full exchange.
    fn join(&mut self, from: &Peer, files: &Files) {
        self.receive(&from.entries);
        self.write(|pen| {
            let mut ids = BTreeMap::from([(String::new(), NodeId::ROOT)]);
            for (path, (content, attr)) in files {
                let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
                let name = Name::try_from(name).unwrap();
                let adopted = pen.adopt(ids[folder], name, content.clone(), attr.clone()).unwrap();
                ids.insert(path.clone(), adopted.node);
            }
        });
    }

    /// Every content that a path's nodes, or any others, ever had.
    fn ever(&self) -> Vec<Content> {
        self.facts.patches.values().filter_map(|known| known.patch.content.clone()).collect()
    }
}

fn contents(plain: &Plain) -> BTreeMap<&String, &Content> {
    plain.iter().map(|(path, (content, _))| (path, content)).collect()
}

fn bare(path: &str) -> String {
    let names = path.split('/').map(|name| name.split_once("~pfs~").map_or(name, |(name, _)| name));
    names.collect::<Vec<_>>().join("/")
}

fn join_once(number: u64) {
    let (mut seed, mut a, mut b) = (Seed(number), Peer::new('A'), Peer::new('B'));
    let mut old = Plain::new();
    let copied = *seed.pick(&[6, 11]);
    for step in 0..12 {
        if let Some(word) = word(&a, &mut seed, "++++==->>", "") {
            run(&mut a, &word);
        }
        if step == copied {
            old = a.plain();
        }
    }
    let mut files = old;
    for (content, _) in files.values_mut() {
        if matches!(content, Content::File { .. }) && seed.percent(20) {
            *content = file(["u", "v", "w"][seed.below(3)]);
        }
    }
    let known = a.ever();
    b.join(&a, &files);
    let now = b.plain();
    if contents(&a.plain()) == contents(&files) {
        assert_eq!((now.clone(), b.entries.len()), (a.plain(), a.entries.len()), "a plain copy made patches");
    }
    for (path, (content, _)) in &files {
        let alike: Vec<&Content> = now.iter().filter(|(p, _)| bare(p) == *path).map(|(_, (c, _))| c).collect();
        let is_known = known.iter().any(|known| known.same(content));
        assert!(is_known || alike.iter().any(|c| c.same(content)), "{path} lost its new bytes");
        let name = path.rsplit('/').next().unwrap();
        let named =
            |place: &Option<Place>| matches!(place, Some(Place::At { name: n, .. }) if n.as_bytes() == name.as_bytes());
        let shown: BTreeSet<&NodeId> = b.facts.disk.keys().collect();
        let mut patches = b.facts.patches.values().map(|known| &known.patch);
        let moved = patches.any(|patch| shown.contains(&patch.node) && named(&patch.place));
        assert!(*content == Content::Dir || !alike.is_empty() || moved, "{path} vanished");
    }
    resolve_all(&mut b, &mut seed);
    agree(&mut [b, a]);
}

#[test]
fn a_directory_that_joins_with_files_loses_none_and_says_nothing_new_of_a_plain_copy() {
    for number in 0..400 {
        join_once(number);
    }
}

#[test]
fn a_copy_with_other_permission_bits_is_no_change() {
    let (mut a, mut b) = (Peer::new('A'), Peer::new('B'));
    run(&mut a, "+d/; +d/f 1");
    let files = a.plain().into_iter().map(|(path, (content, _))| (path, (content, mode(0o600))));
    b.join(&a, &files.collect());
    assert_eq!(b.entries.len(), a.entries.len());
    assert_eq!(b.plain(), a.plain());
}

#[test]
fn extended_attributes_that_nobody_knew_are_kept_as_a_side_of_their_own() {
    let (mut a, mut b) = (Peer::new('A'), Peer::new('B'));
    run(&mut a, "+f 1");
    let mut files = a.plain();
    files.get_mut("f").unwrap().1.xattrs.insert(b"user.note".to_vec(), b"mine".to_vec());
    b.join(&a, &files);
    assert_eq!(b.plain(), files);
    let node = b.tree()["f"];
    assert_eq!(b.heads(node, Register::Attr).len(), 2);
    assert_eq!(spot(&b, "f").0, NodeId::ROOT);
}
