//! What users do, as words: `+f a` create file f with bytes a, `+d/` mkdir, `+s @t` symlink, `=f b` write (or
//! change kind), `-f` delete (recursive), `f>g` rename, `!f 7` chmod, `*0` `*1` resolve every fork by the first or
//! last option; `;` next. `p~` is what shows beside p.

use super::peer::{Peer, Plain, file, link, mode};
use crate::model::ids::{NodeId, PatchId};
use crate::model::name::Name;
use crate::model::patch::{Content, Register};
use crate::model::view::{Fork, ForkKind};
use crate::plan::resolve::Choice;

pub(super) fn run(peer: &mut Peer, script: &str) {
    for word in script.split(';').map(str::trim).filter(|word| !word.is_empty()) {
        act(peer, &beside(peer, word));
    }
}

/// Spells out `p~`.
fn beside(peer: &Peer, word: &str) -> String {
    let Some(at) = word.find('~').filter(|_| !word.contains("~pfs~")) else { return word.to_owned() };
    let start = word[..at].rfind(|c: char| !c.is_alphanumeric() && c != '/').map_or(0, |i| i + 1);
    let prefix = format!("{}~pfs~", &word[start..at]);
    let shown = peer.tree().into_keys().find(|path| path.starts_with(&prefix)).unwrap();
    format!("{}{shown}{}", &word[..start], &word[at + 1..])
}

/// The path and the new content of `+p x`, `+p/`, `+p @x`.
fn parse(word: &str) -> (&str, Content) {
    let (path, value) = word[1..].split_once(' ').unwrap_or((&word[1..], ""));
    match (path.strip_suffix('/'), value.strip_prefix('@')) {
        (Some(path), _) => (path, Content::Dir),
        (None, Some(target)) => (path, link(target)),
        (None, None) => (path, file(value)),
    }
}

fn act(peer: &mut Peer, word: &str) {
    if let Some((from, to)) = word.split_once('>') {
        return rename(peer, from, to);
    }
    let (path, content) = parse(word);
    match &word[..1] {
        "*" => peer.resolve_all(|peer, fork| first_or_last(peer, fork, path == "1")),
        "+" => {
            let (folder, name) = spot(peer, path);
            peer.write(|pen| {
                pen.birth(folder, name, content, mode(6)).unwrap();
            });
        }
        "-" => {
            let gone = with_below(peer, path);
            peer.write(|pen| pen.remove(&gone).unwrap());
        }
        "!" => {
            let attr = mode(word.rsplit(' ').next().unwrap().parse().unwrap());
            let node = peer.tree()[path];
            peer.write(|pen| pen.change(node, None, Some(attr)).unwrap());
        }
        _ => write(peer, path, content),
    }
}

/// A directory that becomes a file, or the reverse, is a delete and a create.
fn write(peer: &mut Peer, path: &str, content: Content) {
    let node = peer.tree()[path];
    if peer.is_dir(node) == (content == Content::Dir) {
        return peer.write(|pen| pen.change(node, Some(content), None).unwrap());
    }
    let (gone, (folder, name)) = (with_below(peer, path), spot(peer, path));
    peer.write(|pen| {
        pen.remove(&gone).unwrap();
        pen.birth(folder, name, content, mode(6)).unwrap();
    });
}

/// A directory comes over an empty one by moving; a file over a file is an edit of what is there.
fn rename(peer: &mut Peer, from: &str, to: &str) {
    let tree = peer.tree();
    let (node, target, (folder, name)) = (tree[from], tree.get(to).copied(), spot(peer, to));
    let is_dir = peer.is_dir(node);
    let (content, attr) = (peer.content(node), peer.attr(node));
    let attr = target.filter(|target| peer.attr(*target) != attr).map(|_| attr);
    peer.write(|pen| match target {
        None => pen.place(node, folder, name).unwrap(),
        Some(target) if is_dir => {
            pen.remove(&[target]).unwrap();
            pen.place(node, folder, name).unwrap();
        }
        Some(target) => {
            pen.change(target, Some(content), attr).unwrap();
            pen.remove(&[node]).unwrap();
        }
    });
}

pub(super) fn spot(peer: &Peer, path: &str) -> (NodeId, Name) {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let folder = if folder.is_empty() { NodeId::ROOT } else { peer.tree()[folder] };
    (folder, Name::try_from(name).unwrap())
}

fn with_below(peer: &Peer, path: &str) -> Vec<NodeId> {
    let below = format!("{path}/");
    let tree = peer.tree();
    tree.iter().filter(|(p, _)| *p == path || p.starts_with(&below)).map(|(_, node)| *node).collect()
}

/// The first or the last of what a fork can become, in an order that is the same at every peer.
fn first_or_last(peer: &Peer, fork: &Fork, last: bool) -> Choice {
    let node = if last { fork.nodes[fork.nodes.len() - 1] } else { fork.nodes[0] };
    let alive = |register, lives| {
        let heads = peer.heads(node, register).into_iter();
        heads.filter(move |head| peer.value(*head, register).is_dead() != lives).collect::<Vec<PatchId>>()
    };
    let live = |register| alive(register, true);
    let heads = match fork.kind {
        ForkKind::Name | ForkKind::Kind if fork.nodes.len() > 1 => {
            let place = live(Register::Place)[0];
            return if last { Choice::Take(place) } else { Choice::Only(place) };
        }
        ForkKind::Delete if last => [live(Register::Content), live(Register::Place)].concat(),
        ForkKind::Delete => [alive(Register::Content, false), alive(Register::Place, false)].concat(),
        ForkKind::Place | ForkKind::Cycle | ForkKind::Name => live(Register::Place),
        ForkKind::Content | ForkKind::Kind => live(Register::Content),
        ForkKind::Attr => live(Register::Attr),
    };
    Choice::Take(if last && fork.kind != ForkKind::Delete { heads[heads.len() - 1] } else { heads[0] })
}

/// What an operation does to a plain tree.
pub(super) fn effect(tree: &Plain, word: &str) -> Plain {
    let is_at = |path: &str, top: &str| path == top || path.starts_with(&format!("{top}/"));
    if let Some((from, to)) = word.split_once('>') {
        let stay = tree.iter().filter(|(path, _)| !is_at(path, from)).map(|(p, v)| (p.clone(), v.clone()));
        let moved = tree.iter().filter(|(path, _)| is_at(path, from));
        return stay.chain(moved.map(|(p, v)| (format!("{to}{}", &p[from.len()..]), v.clone()))).collect();
    }
    let (path, content) = parse(word);
    let mut now = tree.clone();
    if let Some(chmod) = word.strip_prefix('!') {
        let bits = chmod.rsplit(' ').next().unwrap().parse().unwrap();
        now.get_mut(path).unwrap().1 = mode(bits);
        return now;
    }
    now.retain(|p, _| !is_at(p, path));
    if !word.starts_with('-') {
        let before = tree.get(path).filter(|(was, _)| (*was == Content::Dir) == (content == Content::Dir));
        let attr = before.map_or(mode(6), |(_, attr)| attr.clone());
        now.insert(path.to_owned(), (content, attr));
    }
    now
}
