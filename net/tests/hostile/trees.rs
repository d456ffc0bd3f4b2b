//! What a hostile member writes into the history of a tree: names that lead elsewhere, links and what is said to lie
//! below them, names that are nearly the same. Nothing outside of a tree is ever touched, and nothing in it is lost.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use pfs_engine::limits::CHUNK_BYTES_MAX;
use pfs_engine::model::chunk::Packer;
use pfs_engine::model::codec::encode;
use pfs_engine::model::entry::Body;
use pfs_engine::model::ids::{ChunkId, EntryHash, NodeId, VolumeId};
use pfs_engine::model::name::Name;
use pfs_engine::model::patch::{Attr, Content, Patch, Place, Register, Root};
use pfs_engine::model::time::Mtime;
use pfs_net::proto::frame::framed;
use pfs_net::proto::message::{Bye, Message};

use crate::raw::{Answers, Raw};
use crate::world::{World, until};

/// Something that begins in a folder.
pub(crate) fn born(volume: VolumeId, parent: NodeId, name: &str, content: Content) -> Patch {
    let name = Name::try_from(name).expect("a name");
    let node = NodeId::born(volume, parent, &name, content == Content::Dir, 0);
    let mode = if content == Content::Dir { 0o755 } else { 0o644 };
    Patch {
        place: Some(Place::At { parent, name }),
        content: Some(content),
        attr: Some(Attr { mode, ..Attr::default() }),
        born: Some(0),
        ..Patch::new(node)
    }
}

/// A file of one chunk, and the chunk in stored form.
pub(crate) fn file(bytes: &[u8]) -> (Content, (ChunkId, Vec<u8>)) {
    assert!((1..=CHUNK_BYTES_MAX).contains(&bytes.len()));
    let id = ChunkId::of(bytes);
    let mtime = Mtime { secs: 1_700_000_000, nanos: 0 };
    (Content::File { len: bytes.len() as u64, root: Root { id, depth: 0 }, mtime }, (id, Packer::new().pack(bytes)))
}

pub(crate) fn link(to: &Path) -> Content {
    Content::Symlink { target: to.as_os_str().as_encoded_bytes().to_vec() }
}

/// Where nobody but this test writes.
struct Outside(tempfile::TempDir);

impl Outside {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("kept"), "as it was").expect("a file");
        Self(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.path().canonicalize().expect("it is there")
    }

    fn is_untouched(&self) {
        let there = fs::read_dir(self.path()).expect("it is there").map(|entry| entry.expect("it is").file_name());
        assert_eq!(there.collect::<Vec<_>>(), ["kept"]);
        assert_eq!(fs::read(self.path().join("kept")).expect("it is there"), b"as it was");
    }
}

/// One entry after the other, each in a message of its own; gives the connection, which stays.
pub(crate) async fn tell(world: &World, bodies: Vec<Vec<Patch>>, answers: Answers) -> Raw {
    let mut raw = world.in_session().await;
    raw.answer(answers);
    let mut prev = EntryHash::NONE;
    for (patches, seq) in bodies.into_iter().zip(1..) {
        let entry = world.entry(seq, prev, Body::Patches(patches));
        prev = entry.hash();
        raw.say(Message::Entries { volume: world.volume, entries: vec![entry.sign(&world.mallory)] }).await;
    }
    raw
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at: Vec<_> = (0..=bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert_eq!(at.len(), 1, "it stands there once");
    [&bytes[..at[0]], to, &bytes[at[0] + from.len()..]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_lead_elsewhere_are_no_names() {
    let mut world = World::new().await;
    let q = |len: usize| "q".repeat(len);
    let named = |len: usize| [&encode(&len)[..], q(len).as_bytes()].concat();
    let bad: [(usize, Vec<u8>); 9] = [
        (2, [&[2][..], b".."].concat()),
        (1, [&[1][..], b"."].concat()),
        (4, [&[4][..], b".pfs"].concat()),
        (5, [&[5][..], b"a/../"].concat()),
        (3, [&[3][..], b"/et"].concat()),
        (3, [&[3][..], b"a\0b"].concat()),
        (4, [&[4][..], b"\x1b[2J"].concat()),
        (1, vec![0]),
        (255, [&encode(&256_usize)[..], q(256).as_bytes()].concat()),
    ];
    for (len, instead) in bad {
        let birth = born(world.volume, NodeId::ROOT, &q(len), Content::Dir);
        let honest = Message::Entries { volume: world.volume, entries: vec![world.patches(vec![birth])] }.encode();
        let mut raw = world.in_session().await;
        raw.bytes(&framed(&replaced(&honest, &named(len), &instead))).await;
        assert_eq!(raw.bye().await, Some(Bye::Protocol), "{instead:?}");
    }
    world.honest_peers_go_on().await;
    for peer in [&world.anna, &world.ben] {
        assert!(fs::read_dir(peer.dir.join(".pfs")).expect("its marker").flatten().count() <= 5);
        assert!(!peer.dir.parent().expect("a folder").join("q").exists());
    }
}

/// A link is no folder, whatever is said to lie in it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_lies_below_a_link() {
    let mut world = World::new().await;
    let (volume, outside) = (world.volume, Outside::new());
    let (content, chunk) = file(b"written through a link");
    let way_out = born(volume, NodeId::ROOT, "way out", link(&outside.path()));
    let below = born(volume, way_out.node, "below", content.clone());
    // Together with the link, and after it.
    let _one = tell(&world, vec![vec![way_out.clone(), below.clone()]], Answers::with([chunk.clone()])).await;
    world.honest_peers_go_on().await;
    let _other = tell(&world, vec![vec![way_out], vec![below]], Answers::with([chunk])).await;
    until("the link is there", || world.ben.dir.join("way out").is_symlink()).await;
    world.honest_peers_go_on().await;
    outside.is_untouched();
}

/// A link and a folder of one name, from two entries or two peers: one of them stands beside it, and what is in the
/// folder is in the folder.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_and_a_folder_of_one_name_stay_two_things() {
    let mut world = World::new().await;
    let (volume, outside) = (world.volume, Outside::new());
    let (content, chunk) = file(b"in the folder");
    // Anna has a link of that name already, ben a folder; and mallory says the other thing of each.
    symlink(outside.path(), world.anna.dir.join("hers")).expect("a link");
    fs::create_dir(world.ben.dir.join("his")).expect("a folder");
    until("they have both", || world.ben.dir.join("hers").is_symlink() && world.anna.dir.join("his").is_dir()).await;
    let mut first = Vec::new();
    let mut second = Vec::new();
    for name in ["hers", "own"] {
        let folder = born(volume, NodeId::ROOT, name, Content::Dir);
        second.push(born(volume, folder.node, "inside", content.clone()));
        first.push(folder);
    }
    second.push(born(volume, NodeId::ROOT, "his", link(&outside.path())));
    second.push(born(volume, NodeId::ROOT, "own", link(&outside.path())));
    let _raw = tell(&world, vec![first, second], Answers::with([chunk])).await;
    let shown = |dir: &Path, name: &str| -> Vec<PathBuf> {
        let all = fs::read_dir(dir).expect("a tree").flatten().map(|entry| entry.path());
        all.filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(name))).collect()
    };
    for peer in [&world.anna, &world.ben] {
        until("each is there", || ["hers", "his", "own"].iter().all(|name| shown(&peer.dir, name).len() == 2)).await;
        for name in ["hers", "his", "own"] {
            let links = shown(&peer.dir, name).iter().filter(|path| path.is_symlink()).count();
            assert_eq!(links, 1, "{name}");
        }
        for name in ["hers", "own"] {
            let is_in_folder = |path: &PathBuf| {
                !path.is_symlink() && fs::read(path.join("inside")).is_ok_and(|bytes| bytes == b"in the folder")
            };
            until("what is in the folder", || shown(&peer.dir, name).iter().any(is_in_folder)).await;
        }
    }
    outside.is_untouched();
    world.honest_peers_go_on().await;
    outside.is_untouched();
}

/// A folder goes elsewhere and a link takes its place, in one entry, while more comes for the folder; and the other
/// way round on disk, where somebody puts a link in place of a folder into which something is being written.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_becomes_a_link_takes_nothing_out_of_the_tree() {
    let mut world = World::new().await;
    let (volume, outside) = (world.volume, Outside::new());
    let (content, chunk) = file(b"in the folder");
    let folder = born(volume, NodeId::ROOT, "folder", Content::Dir);
    let within = |name: &str| born(volume, folder.node, name, content.clone());
    let mut moved = Patch {
        place: Some(Place::At { parent: NodeId::ROOT, name: Name::try_from("moved").expect("a name") }),
        ..Patch::new(folder.node)
    };
    moved.supersedes.set(Register::Place, [folder.id()]);
    let swapped = born(volume, NodeId::ROOT, "folder", link(&outside.path()));
    let entries = vec![vec![folder.clone(), within("a")], vec![moved, swapped, within("b")], vec![within("c")]];
    let raw = tell(&world, entries, Answers::with([chunk.clone()])).await;
    for peer in [&world.anna, &world.ben] {
        until("all of it is in the folder", || ["a", "b", "c"].iter().all(|n| peer.dir.join("moved").join(n).exists()))
            .await;
        assert!(peer.dir.join("folder").is_symlink());
    }
    outside.is_untouched();
    drop(raw);
    // On disk: ben's folder is a link all at once, and files come for it.
    fs::create_dir(world.anna.dir.join("busy")).expect("a folder");
    until("ben has it", || world.ben.dir.join("busy").is_dir()).await;
    // By its descriptor: what ben does comes to anna meanwhile, and her folder is elsewhere.
    let folder = fs::File::open(world.anna.dir.join("busy")).expect("a folder");
    let busy = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string());
    for n in 0..50 {
        fs::write(busy.join(format!("{n}")), format!("{n}")).expect("a file");
        if n == 10 {
            fs::rename(world.ben.dir.join("busy"), world.ben.dir.join("away")).expect("it is there");
            symlink(outside.path(), world.ben.dir.join("busy")).expect("a link");
        }
    }
    // Where a look came in the midst of the rename, the folder and what came for it since may be two.
    until("all of it came", || {
        let entries = fs::read_dir(&world.ben.dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let folders: Vec<_> = entries.filter(|path| path.is_dir() && !path.is_symlink()).collect();
        (0..50).all(|n| folders.iter().any(|folder| folder.join(format!("{n}")).exists()))
    })
    .await;
    outside.is_untouched();
    world.honest_peers_go_on().await;
}

/// Names that some file systems take for one: here both are kept, each with its own bytes.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_fold_into_one_stay_two() {
    let mut world = World::new().await;
    let names = ["Readme", "README", "readme", "\u{e9}", "e\u{301}", "\u{df}", "ss", "\u{212b}", "\u{e5}"];
    let (mut patches, mut chunks) = (Vec::new(), Vec::new());
    for name in names {
        let (content, chunk) = file(format!("of {name}").as_bytes());
        patches.push(vec![born(world.volume, NodeId::ROOT, name, content)]);
        chunks.push(chunk);
    }
    fs::write(world.ben.dir.join("ReadMe"), "of ben").expect("a file");
    let _raw = tell(&world, patches, Answers::with(chunks)).await;
    for peer in [&world.anna, &world.ben] {
        for name in names {
            let wanted = format!("of {name}").into_bytes();
            until(name, || fs::read(peer.dir.join(name)).is_ok_and(|bytes| bytes == wanted)).await;
        }
        until("ben's", || fs::read(peer.dir.join("ReadMe")).is_ok_and(|bytes| bytes == b"of ben")).await;
    }
    world.honest_peers_go_on().await;
}

/// Attributes that no file system takes are that file's trouble alone.
#[tokio::test(flavor = "multi_thread")]
async fn attributes_that_cannot_be_set_hold_up_nobody() {
    let mut world = World::new().await;
    let (volume, (content, chunk)) = (world.volume, file(b"dressed up"));
    let names = [b"user.".to_vec(), b"user.a\0b".to_vec(), [&b"user."[..], &[b'x'; 300]].concat()];
    let dressed = names.into_iter().enumerate().map(|(n, name)| {
        let attr = Attr { mode: 0o777, xattrs: [(name, vec![1])].into() };
        Patch { attr: Some(attr), ..born(volume, NodeId::ROOT, &format!("dressed {n}"), content.clone()) }
    });
    let _raw = tell(&world, vec![dressed.collect()], Answers::with([chunk])).await;
    world.honest_peers_go_on().await;
    // With more in the same batch, and after a failure.
    for n in 0..20 {
        fs::write(world.anna.dir.join(format!("more {n}")), "more").expect("a file");
    }
    until("they come", || (0..20).all(|n| world.ben.dir.join(format!("more {n}")).exists())).await;
    world.honest_peers_go_on().await;
}
