//! The semantics table, row by row and in both orders.

use super::peer::{Peer, sync};
use super::script::run;
use crate::model::facts::Eye;
use crate::model::patch::{Content, Register};
use crate::model::view::{base, is_ancestor};

const ROWS: &str = include_str!("../../../../fixtures/model_rows.txt");

#[test]
fn every_row_of_the_semantics_table_holds_in_both_orders() {
    let rows: Vec<&str> = ROWS.lines().filter(|row| !row.is_empty() && !row.starts_with('#')).collect();
    assert_eq!(rows.len(), 63, "the whole table");
    let mut wrong = Vec::new();
    for row in rows {
        let [title, base, one, other, forks, tree] = row.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("a row has six columns: {row}");
        };
        for (left, right) in [(one, other), (other, one)] {
            let peers = play(base, left, right);
            let (got, words) = (kinds(&peers[0]), words(&peers[0]));
            if !forks.split(" or ").any(|forks| got == forks) || !fits(tree, &words) {
                wrong.push(format!("{title}: {left} ‖ {right}: [{got}] {words}; expected [{forks}] {tree}"));
            }
            assert_eq!(peers[0].seen(Eye::Canonical), peers[1].seen(Eye::Canonical), "I1: {title}");
            check_bases(&peers[0]);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn play(base: &str, left: &str, right: &str) -> [Peer; 2] {
    let mut peers = [Peer::new('A'), Peer::new('B')];
    run(&mut peers[0], base);
    sync(&mut peers);
    let scripts = [left, right].map(|script| script.split('&').collect::<Vec<_>>());
    for round in 0..scripts[0].len().max(scripts[1].len()) {
        for (peer, script) in peers.iter_mut().zip(&scripts) {
            run(peer, script.get(round).unwrap_or(&""));
        }
        sync(&mut peers);
    }
    peers
}

fn kinds(peer: &Peer) -> String {
    let mut kinds: Vec<String> = peer.forks().iter().map(|fork| fork.kind.to_string()).collect();
    kinds.sort();
    kinds.join(" ")
}

/// The canonical tree as words: `f=a`, `d/`, `s@t`; what shows beside a name is `name~`.
pub(super) fn words(peer: &Peer) -> String {
    let shown = &peer.seen(Eye::Canonical).shown;
    let mut words: Vec<String> = Vec::new();
    for (path, node) in peer.canonical_tree() {
        let parts =
            path.split('/').map(|name| name.split_once("~pfs~").map_or(name.to_owned(), |(n, _)| format!("{n}~")));
        let path = parts.collect::<Vec<_>>().join("/");
        let content = &peer.facts.patches[&shown[&node].patch(Register::Content)].patch.content;
        words.push(match content.as_ref().unwrap() {
            Content::File { len, root, .. } => {
                format!("{path}={}", String::from_utf8_lossy(&root.id.0[..*len as usize]))
            }
            Content::Symlink { target } => format!("{path}@{}", String::from_utf8_lossy(target)),
            Content::Dir | Content::Gone => format!("{path}/"),
        });
    }
    words.sort();
    words.join(" ")
}

/// `?` is any character, a lone `?` any tree.
fn fits(pattern: &str, words: &str) -> bool {
    let alike = |(p, w): (char, char)| p == '?' || p == w;
    pattern == "?" || pattern.chars().count() == words.chars().count() && pattern.chars().zip(words.chars()).all(alike)
}

/// Every head descends from the base of its register.
fn check_bases(peer: &Peer) {
    for (node, state) in &peer.facts.nodes {
        for register in Register::ALL {
            let heads = state.heads(register);
            let base = base(&peer.facts, *node, register).unwrap().filter(|_| heads.len() > 1);
            for (base, head) in heads.iter().filter_map(|head| Some((base?, *head))) {
                assert!(is_ancestor(&peer.facts, base, head, register).unwrap());
            }
        }
    }
}
