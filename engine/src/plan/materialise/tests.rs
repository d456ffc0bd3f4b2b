//! Any tree can become any other: the steps are carried out on a tree of names and must never be barred.

use proptest::prelude::*;

use super::*;
use crate::disk::Inode;
use crate::model::ids::PatchId;
use crate::model::time::Mtime;

/// Where nodes stand: the folder and the name there.
type Forest = BTreeMap<NodeId, (NodeId, Name)>;

fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

/// Odd nodes are files.
fn is_dir(node: NodeId) -> bool {
    node.0[0].is_multiple_of(2)
}

/// A forest out of wishes: those that have no folder, no free name or no way to the root are not in it.
fn forest(wishes: &[(u8, u8, u8)]) -> Forest {
    let mut forest = Forest::new();
    for (n, folder, name) in wishes {
        let (one, folder) = (node(*n), node(*folder));
        let place = (folder, Name::try_from(&[*name][..]).unwrap());
        let stands = folder == NodeId::ROOT || (forest.contains_key(&folder) && is_dir(folder));
        if stands && !forest.contains_key(&one) && forest.values().all(|taken| *taken != place) {
            forest.insert(one, place);
        }
    }
    forest
}

fn wishes() -> impl Strategy<Value = Vec<(u8, u8, u8)>> {
    prop::collection::vec((1u8..12, 0u8..12, b'a'..b'd'), 0..40)
}

fn path(forest: &Forest, mut at: NodeId) -> RelPath {
    let mut names = Vec::new();
    while at != NodeId::ROOT {
        let (folder, name) = &forest[&at];
        names.push(name.clone());
        at = *folder;
    }
    names.reverse();
    RelPath(names)
}

fn stat(node: NodeId) -> Stat {
    let (inode, time) = (Inode { dev: 1, ino: node.0[0].into(), born: Mtime::default() }, Mtime::default());
    let kind = if is_dir(node) { Kind::Dir } else { Kind::File };
    Stat { kind, inode, len: 0, mtime: time, ctime: time, mode: 0o755 }
}

fn shown((folder, name): &(NodeId, Name)) -> Shown {
    Shown { patches: [PatchId([0; 32]); 3], folder: *folder, name: name.clone() }
}

fn tasks(before: &Forest, after: &Forest) -> Vec<Task> {
    let all: BTreeSet<NodeId> = before.keys().chain(after.keys()).copied().collect();
    let task = |node: NodeId| {
        let content = if is_dir(node) {
            Content::Dir
        } else {
            Content::File { len: 0, root: crate::model::patch::Root::EMPTY, mtime: Mtime::default() }
        };
        let want = |place| Wanted {
            shown: shown(place),
            content: content.clone(),
            attr: Attr::default(),
            rewrite: !before.contains_key(&node),
            reattr: !before.contains_key(&node),
        };
        Task {
            node,
            have: before.get(&node).map(|place| (shown(place), stat(node))),
            want: after.get(&node).map(want),
            racy: false,
        }
    };
    all.into_iter().filter(|node| before.get(node) != after.get(node)).map(task).collect()
}

/// The tree by path, and what is parked, with what it holds.
struct Sim {
    tree: BTreeMap<RelPath, NodeId>,
    parked: BTreeMap<NodeId, BTreeMap<RelPath, NodeId>>,
}

impl Sim {
    fn take(&mut self, from: &RelPath) -> BTreeMap<RelPath, NodeId> {
        let below: Vec<RelPath> = self.tree.keys().filter(|path| path.0.starts_with(&from.0)).cloned().collect();
        assert!(!below.is_empty(), "there is nothing at {from}");
        let rest = |path: &RelPath| RelPath(path.0[from.0.len()..].to_vec());
        below.iter().map(|path| (rest(path), self.tree.remove(path).unwrap())).collect()
    }

    fn put(&mut self, to: &RelPath, what: BTreeMap<RelPath, NodeId>) {
        assert!(!self.tree.contains_key(to), "{to} is taken");
        let folder = to.split_last().unwrap().0;
        assert!(folder.0.is_empty() || is_dir(self.tree[&folder]), "{folder} does not stand");
        for (rest, node) in what {
            self.tree.insert(RelPath([&to.0[..], &rest.0[..]].concat()), node);
        }
    }

    fn carry_out(&mut self, Planned { node, step }: &Planned) {
        let whole = BTreeMap::from([(RelPath::root(), *node)]);
        match step {
            Step::Park { from, .. } => {
                let taken = self.take(from);
                self.parked.insert(*node, taken);
            }
            Step::Unpark { to, .. } => {
                let kept = self.parked.remove(node).expect("it was parked");
                self.put(to, kept);
            }
            Step::Move { from, to, .. } => {
                let taken = self.take(from);
                self.put(to, taken);
            }
            Step::Remove { at, .. } => {
                assert_eq!(self.take(at), whole, "only what is empty is removed");
            }
            Step::MakeDir { at, .. } | Step::WriteLink { at, .. } | Step::WriteFile { at, .. } => self.put(at, whole),
            Step::SetAttr { at, .. } => assert_eq!(self.tree[at], *node),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn any_tree_becomes_any_other(before in wishes(), after in wishes()) {
        becomes(&forest(&before), &forest(&after));
    }
}

/// One plan makes one tree of the other.
fn becomes(before: &Forest, after: &Forest) {
    let tree = before.keys().map(|node| (path(before, *node), *node)).collect();
    let mut sim = Sim { tree, parked: BTreeMap::new() };
    let planned = planned(before, after, &BTreeSet::new());
    assert_eq!(planned.barred, BTreeSet::new());
    for planned in planned.steps {
        sim.carry_out(&planned);
    }
    let wanted: BTreeMap<RelPath, NodeId> = after.keys().map(|node| (path(after, *node), *node)).collect();
    assert_eq!(sim.tree, wanted);
    assert!(sim.parked.is_empty());
}

/// What comes into a directory that stays where it is, in one that is parked meanwhile.
#[test]
fn something_arrives_below_what_was_parked() {
    let before = forest(&[(4, 0, b'a'), (10, 4, b'a')]);
    becomes(&before, &forest(&[(8, 0, b'a'), (4, 8, b'a'), (10, 4, b'a'), (1, 10, b'a')]));
}

/// A directory of a chain; the first one has the number 1.
fn link(n: usize) -> NodeId {
    let mut bytes = [2; 32];
    bytes[1..3].copy_from_slice(&u16::try_from(n).unwrap().to_le_bytes());
    NodeId(bytes)
}

fn in_chain(n: usize) -> (NodeId, Name) {
    let folder = if n == 1 { NodeId::ROOT } else { link(n - 1) };
    (folder, Name::try_from("d").unwrap())
}

fn named(folder: NodeId, name: &str) -> (NodeId, Name) {
    (folder, Name::try_from(name).unwrap())
}

/// The plan from one forest to another.
fn planned(before: &Forest, after: &Forest, barred: &BTreeSet<NodeId>) -> Plan {
    let place = |node| before.get(&node).cloned();
    let holder =
        |folder, name: &Name| before.iter().find(|(_, (f, n))| (*f, n) == (folder, name)).map(|(node, _)| *node);
    plan(&tasks(before, after), &place, &holder, barred)
}

#[test]
fn what_would_stand_too_deep_is_barred_and_nothing_else() {
    let after: Forest = (1..=DEPTH_MAX + 40).map(|n| (link(n), in_chain(n))).collect();
    let mut tasks = tasks(&Forest::new(), &after);
    let Plan { steps, barred } = plan(&tasks, &|_| None, &|_, _| None, &BTreeSet::new());
    assert_eq!(steps.len(), DEPTH_MAX);
    assert_eq!(barred, (DEPTH_MAX + 1..=DEPTH_MAX + 40).map(link).collect());
    // Whichever comes first.
    tasks.reverse();
    let turned = plan(&tasks, &|_| None, &|_, _| None, &BTreeSet::new());
    assert_eq!((turned.steps.len(), turned.barred), (DEPTH_MAX, barred.clone()));
    // The others come with a later batch.
    let before: Forest = (1..=DEPTH_MAX).map(|n| (link(n), in_chain(n))).collect();
    let mut later = before.clone();
    later.insert(link(DEPTH_MAX + 7), in_chain(DEPTH_MAX + 7));
    let Plan { steps, barred } = planned(&before, &later, &barred);
    assert_eq!((steps, barred), (vec![], BTreeSet::from([link(DEPTH_MAX + 7)])));
}

/// What is too deep stays where it is; so nothing takes its place, and what holds it does not go.
#[test]
fn what_is_barred_bars_what_it_stands_in_the_way_of() {
    let chain: Forest = (1..=DEPTH_MAX).map(|n| (link(n), in_chain(n))).collect();
    let (stuck, holder, newcomer, child, other) = (node(1), node(2), node(4), node(3), node(5));
    let mut before = chain.clone();
    before.extend([(holder, named(NodeId::ROOT, "holder")), (stuck, named(holder, "f"))]);
    let mut after = chain;
    after.extend([(stuck, named(link(DEPTH_MAX), "f")), (other, named(NodeId::ROOT, "g"))]);
    let Plan { steps, barred } = planned(&before, &after, &BTreeSet::new());
    assert_eq!(barred, BTreeSet::from([stuck, holder]));
    assert_eq!(steps.iter().map(|one| one.node).collect::<Vec<_>>(), [other]);
    // A later batch knows only which node is barred.
    let mut at_once = before.clone();
    at_once.extend([(newcomer, named(holder, "f")), (child, named(newcomer, "c"))]);
    at_once.remove(&stuck);
    let mut tasks = tasks(&before, &at_once);
    tasks.retain(|task| task.node != stuck);
    let place = |node| before.get(&node).cloned();
    let taken = |folder, name: &Name| ((folder, name.clone()) == named(holder, "f")).then_some(stuck);
    let Plan { steps, barred } = plan(&tasks, &place, &taken, &BTreeSet::from([stuck]));
    assert_eq!((steps, barred), (vec![], BTreeSet::from([newcomer, child])));
}

/// Something that is in the way of what it is to go into is parked only where it can come back.
#[test]
fn nothing_moves_into_a_directory_that_is_not_there() {
    let before = Forest::from([(node(1), named(NodeId::ROOT, "f"))]);
    let after = Forest::from([(node(1), named(node(2), "f"))]);
    assert_eq!(planned(&before, &after, &BTreeSet::new()), Plan::default());
}

/// What has the name does not go with this plan: what is to get the name stays where it is, with whatever comes into it,
/// and what is to get its name in turn stays, too.
#[test]
fn nothing_comes_to_where_another_stays() {
    let (old, new, child, next, below) = (node(2), node(4), node(6), node(8), node(1));
    let before = Forest::from([(old, named(NodeId::ROOT, "a")), (new, named(NodeId::ROOT, "b"))]);
    let after = Forest::from([
        (new, named(NodeId::ROOT, "a")),
        (child, named(new, "c")),
        (next, named(NodeId::ROOT, "b")),
        (below, named(next, "f")),
    ]);
    let mut tasks = tasks(&before, &after);
    tasks.retain(|task| task.node != old);
    let place = |node| before.get(&node).cloned();
    let taken =
        |folder, name: &Name| before.iter().find(|(_, (f, n))| (*f, n) == (folder, name)).map(|(node, _)| *node);
    let Plan { steps, barred } = plan(&tasks, &place, &taken, &BTreeSet::new());
    let at = RelPath::parse(b"b/c").unwrap();
    let made = Planned { node: child, step: Step::MakeDir { at, attr: Attr::default() } };
    assert_eq!((steps, barred), (vec![made], BTreeSet::new()));
}
