//! What must hold, whatever happened: checked at rest, from what the stores say and what the trees show. The
//! numbers are those of docs/model.md.

use std::collections::{BTreeMap, BTreeSet};

use pfs_engine::content;
use pfs_engine::model::chunk::Unpacker;
use pfs_engine::model::codec;
use pfs_engine::model::facts::{Eye, Facts as _, Shown, Unreadable};
use pfs_engine::model::frontier::Frontier;
use pfs_engine::model::ids::NodeId;
use pfs_engine::model::overlay::Overlay;
use pfs_engine::model::patch::{Content, Register, Root, Value};
use pfs_engine::model::view::{Fork, Update, update};
use pfs_engine::store::{Store, Volume};

use super::disk::{Thing, Tree};
use super::peer::{Check, Peer, root_of};

/// One peer at rest, worked out from nothing.
struct Anew {
    canonical: Update,
    local: Update,
}

/// Everything that must hold of peers that have exchanged all they have and have nothing left to do.
pub(crate) fn check(peers: &[Peer], let_go: bool) -> Check<BTreeSet<Fork>> {
    let mut all = Vec::new();
    for peer in peers {
        let anew = peer.observe(|engine, volume| one(peer, (engine.store(), volume), let_go)).ok_or("it runs")?;
        all.push(anew.map_err(|error| format!("{}: {error}", peer.name))?);
    }
    let ever: BTreeMap<_, _> = peers.iter().flat_map(|peer| peer.seen.clone()).collect();
    let forks = all[0].canonical.forks.clone();
    let trees: Vec<Tree> = peers.iter().map(Peer::tree).collect();
    for (peer, anew) in peers.iter().zip(&all) {
        let frontier = peer.observe(|_, volume| volume.frontier()).ok_or("it runs")?;
        for (log, seq) in ever.keys() {
            if frontier.seq(*log) < *seq {
                return Err(format!("{}: I2: entry {seq} of {log:?} is lost", peer.name));
            }
        }
        if frontier.total() != ever.len() as u64 {
            return Err(format!("{}: I5: {} entries, {} were written", peer.name, frontier.total(), ever.len()));
        }
        if (&anew.canonical.shown, &anew.canonical.forks) != (&all[0].canonical.shown, &all[0].canonical.forks) {
            return Err(format!("{}: I1, I12: the views differ", peer.name));
        }
    }
    if forks.is_empty()
        && let Some(other) = trees.iter().position(|tree| *tree != trees[0])
    {
        let names = (peers[0].name, peers[other].name);
        return Err(format!("I12: no fork, yet trees differ: {names:?}: {}", differ(&trees[0], &trees[other])));
    }
    Ok(forks)
}

/// What must hold of one peer.
fn one(peer: &Peer, (store, volume): (&Store, &Volume), let_go: bool) -> Check<Anew> {
    let read = |error: Unreadable| error.to_string();
    let nodes = nodes(volume)?;
    let anew = Anew {
        canonical: work_out(volume, Eye::Canonical, &nodes).map_err(read)?,
        local: work_out(volume, Eye::Local, &nodes).map_err(read)?,
    };
    let forks = volume.forks().map_err(|error| error.to_string())?;
    let forks: BTreeSet<Fork> = forks.iter().filter_map(|row| codec::decode(row).ok()).collect();
    if forks != anew.canonical.forks {
        return Err(format!("I1: it lists the forks {forks:?}, worked out anew {:?}", anew.canonical.forks));
    }
    for node in &nodes {
        let (shown, want) = (volume.shown(*node).map_err(read)?, anew.local.shown.get(node).cloned().flatten());
        if shown != want {
            return Err(format!("I12: at rest it shows {shown:?}, the log wants {want:?}"));
        }
        if let Some(shown) = &shown {
            shows_a_head(volume, *node, shown)?;
        }
    }
    let tree = peer.tree();
    let wanted = tree_of(volume, &anew.local)?;
    let found: Tree = tree.into_iter().map(|(path, thing)| (path, digest(thing))).collect();
    if wanted != found {
        return Err(format!("I12: the tree is not as recorded: {}", differ(&wanted, &found)));
    }
    let contents = if let_go { current(volume)? } else { peer.contents.clone() };
    for (root, len) in &contents {
        let mut unpacker = Unpacker::new();
        let mut end = 0;
        content::read(store, &mut unpacker, (*root, *len), 0..*len, &mut |offset, bytes| {
            end = offset + bytes.len() as u64;
            Ok(())
        })
        .map_err(|error| format!("I2, I7: a content of {len} bytes cannot be read: {error}"))?;
    }
    Ok(anew)
}

/// Every node that a known patch is about.
fn nodes(volume: &Volume) -> Check<BTreeSet<NodeId>> {
    let entries = volume.entries_after(&Frontier::default(), usize::MAX).map_err(|error| error.to_string())?;
    Ok(entries.iter().flat_map(|signed| signed.entry.patches()).map(|patch| patch.node).collect())
}

/// The contents that nothing supersedes.
pub(crate) fn current(volume: &Volume) -> Check<BTreeMap<Root, u64>> {
    let read = |error: Unreadable| error.to_string();
    let mut current = BTreeMap::new();
    for node in nodes(volume)? {
        let state = volume.node(node).map_err(read)?.ok_or("a patch of a node that nobody knows")?;
        for head in state.heads(Register::Content) {
            let known = volume.patch(*head).map_err(read)?.ok_or("a head that nobody knows")?;
            if let Some(Content::File { len, root, .. }) = known.patch.content {
                current.insert(root, len);
            }
        }
    }
    Ok(current)
}

/// The view from nothing.
fn work_out(volume: &Volume, eye: Eye, nodes: &BTreeSet<NodeId>) -> Result<Update, Unreadable> {
    let mut overlay = Overlay::new(volume);
    overlay.set_reverted(eye, BTreeSet::new());
    update(&overlay, eye, nodes)
}

/// A tree shows a head of each register, or what equals one; or, of a node that lives only by another register,
/// what was there before.
fn shows_a_head(volume: &Volume, node: NodeId, shown: &Shown) -> Check {
    let read = |error: Unreadable| error.to_string();
    let value = |patch, register| -> Check<Option<Value>> {
        Ok(volume.patch(patch).map_err(read)?.and_then(|known| known.patch.value(register)))
    };
    let state = volume.node(node).map_err(read)?.ok_or("a node that nobody knows is shown")?;
    for register in [Register::Content, Register::Attr] {
        let here = value(shown.patch(register), register)?.ok_or("a patch that nobody knows is shown")?;
        let mut live = Vec::new();
        for head in state.heads(register) {
            live.extend(value(*head, register)?.filter(|value| !value.is_dead()));
        }
        if !live.is_empty() && !live.iter().any(|head| head.same(&here)) {
            return Err(format!("I12: {node:?} shows a {register:?} that is no head"));
        }
    }
    Ok(())
}

/// The tree that a view describes, with digests for bytes.
fn tree_of(volume: &Volume, view: &Update) -> Check<Tree> {
    let shown: BTreeMap<NodeId, &Shown> =
        view.shown.iter().filter_map(|(node, shown)| Some((*node, shown.as_ref()?))).collect();
    let mut tree = Tree::new();
    for (node, here) in &shown {
        let (mut names, mut at) = (vec![here.name.to_string()], here.folder);
        while at != NodeId::ROOT {
            let above = shown.get(&at).ok_or(format!("I6: {node:?} stands in a directory that is not shown"))?;
            if names.len() > shown.len() {
                return Err(format!("I6: {node:?} stands in a ring"));
            }
            names.push(above.name.to_string());
            at = above.folder;
        }
        names.reverse();
        let path = names.join("/");
        let patch = |register| volume.patch(here.patch(register)).ok().flatten().map(|known| known.patch);
        let mode = patch(Register::Attr).and_then(|patch| patch.attr.clone()).map_or(0, |attr| u32::from(attr.mode));
        let content = patch(Register::Content).and_then(|patch| patch.content.clone());
        let thing = match content.ok_or("a patch without content is shown")? {
            Content::File { len, root, .. } => {
                let root = if len == 0 { root_of(b"") } else { root };
                Thing::File { mode, bytes: format!("{root:?}").into_bytes() }
            }
            Content::Symlink { target } => Thing::Link(String::from_utf8_lossy(&target).into_owned()),
            Content::Dir => Thing::Dir { mode },
            Content::Gone => return Err(format!("I6: {path} is shown, and gone")),
        };
        if tree.insert(path.clone(), thing).is_some() {
            return Err(format!("I6: two nodes at {path}"));
        }
    }
    Ok(tree)
}

fn digest(thing: Thing) -> Thing {
    match thing {
        Thing::File { mode, bytes } => Thing::File { mode, bytes: format!("{:?}", root_of(&bytes)).into_bytes() },
        other => other,
    }
}

/// Where two trees differ, for people.
fn differ(a: &Tree, b: &Tree) -> String {
    let brief = |thing: Option<&Thing>| match thing {
        None => "nothing".to_owned(),
        Some(Thing::File { mode, bytes }) => {
            format!("a file {mode:o} {}", String::from_utf8_lossy(&bytes[..bytes.len().min(40)]))
        }
        Some(other) => format!("{other:?}"),
    };
    let paths: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let wrong = paths.into_iter().filter(|path| a.get(*path) != b.get(*path));
    let wrong = wrong.map(|path| format!("{path}: {} against {}", brief(a.get(path)), brief(b.get(path))));
    wrong.take(5).collect::<Vec<_>>().join("; ")
}
