//! A small world for tests that span the crates: peers that are real `pfs` processes, their trees, and patience.

mod rot;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

pub use rot::rot;

/// Nothing that is to happen takes so long, however busy the machine is.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks.
const POLL: Duration = Duration::from_millis(50);

/// One peer: a home, a directory for its tree, and its daemon while it runs, which ends with the peer.
pub struct Peer {
    /// What people call it.
    pub name: String,
    /// Where its key and store are.
    pub home: PathBuf,
    /// Where its tree is.
    pub dir: PathBuf,
    daemon: Option<Child>,
    /// The address of its first daemon, which later ones listen on again.
    listen: String,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; -1 where a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Peer {
    /// A peer of that name with an empty tree, in folders of that name in `world`.
    pub fn new(world: &Path, name: &str) -> Self {
        let (home, dir) = (world.join(name).join("home"), world.join(name).join("tree"));
        fs::create_dir_all(&dir).expect("a temporary directory takes folders");
        let peer = Self { name: name.to_owned(), home, dir, daemon: None, listen: "127.0.0.1:0".to_owned() };
        peer.ok(&["init", "--name", name]);
        peer
    }

    /// Runs a command on this peer, in its tree.
    pub fn run(&self, args: &[&str]) -> Output {
        let done = self.command(args).output().expect("the pfs program starts");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Output { code: done.status.code().unwrap_or(-1), out: text(done.stdout), err: text(done.stderr) }
    }

    /// Runs a command that must succeed; gives what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert_eq!(done.code, 0, "{}: pfs {}: {}{}", self.name, args.join(" "), done.out, done.err);
        done.out
    }

    /// Runs a command that must fail with that exit code; gives what it complained of.
    pub fn fails(&self, code: i32, args: &[&str]) -> String {
        let done = self.run(args);
        assert_eq!(done.code, code, "{}: pfs {}: {}{}", self.name, args.join(" "), done.out, done.err);
        done.err
    }

    /// Runs a command with `--json` that must succeed and prints one value.
    pub fn json(&self, args: &[&str]) -> Value {
        let printed = self.ok(&[args, &["--json"]].concat());
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("pfs {}: {error}: {printed}", args.join(" ")))
    }

    /// The same for a command that prints one value a line.
    pub fn lines(&self, args: &[&str]) -> Vec<Value> {
        let printed = self.ok(&[args, &["--json"]].concat());
        printed.lines().map(|line| serde_json::from_str(line).expect("each line is a value")).collect()
    }

    /// Starts the daemon; returns when it answers.
    pub fn start(&mut self) {
        self.launch("");
        let mut report = None;
        eventually("the daemon answers", || {
            assert!(!self.has_died(), "{}'s daemon ended: {}", self.name, self.log());
            let done = self.run(&["daemon", "status", "--json"]);
            report = serde_json::from_str::<Value>(&done.out).ok();
            done.code == 0
        });
        let listen = report.as_ref().and_then(|report| report["listen"].as_str());
        listen.expect("a daemon that runs listens").clone_into(&mut self.listen);
    }

    /// Starts a daemon with that failpoint, as `PFS_FAIL` has it. It may end before it ever answers.
    pub fn launch(&mut self, fail: &str) {
        let log = File::options().create(true).append(true).open(self.home.join("test.log"));
        let log = log.expect("the home takes a log");
        let mut command = self.command(&["-v", "daemon", "run", "--no-discovery", "--listen", &self.listen]);
        if !fail.is_empty() {
            command.env("PFS_FAIL", fail);
        }
        self.daemon = Some(command.stderr(log).stdout(Stdio::null()).spawn().expect("the pfs program starts"));
    }

    /// Whether the daemon has ended by itself.
    pub fn has_died(&mut self) -> bool {
        let daemon = self.daemon.as_mut().expect("its daemon was started");
        daemon.try_wait().expect("a child can be waited for").is_some()
    }

    /// How the daemon ended, once it has.
    pub fn end(&mut self) -> ExitStatus {
        let mut daemon = self.daemon.take().expect("its daemon was started");
        daemon.wait().expect("a child can be waited for")
    }

    /// Says where its daemons are to listen from now on.
    pub fn listen_on(&mut self, address: &str) {
        address.clone_into(&mut self.listen);
    }

    /// Stops the daemon in good order.
    pub fn stop(&mut self) {
        self.ok(&["daemon", "stop"]);
        let ended = self.end();
        assert!(ended.success(), "{}'s daemon: {ended}: {}", self.name, self.log());
    }

    /// Ends the daemon without any warning.
    pub fn kill(&mut self) {
        let daemon = self.daemon.as_mut().expect("its daemon runs");
        daemon.kill().expect("a child can be killed");
        self.end();
    }

    /// A fresh ticket for that volume.
    pub fn ticket(&self, volume: &str) -> String {
        self.json(&["invite", volume])["ticket"].as_str().expect("an invite is a ticket").to_owned()
    }

    /// Joins by a ticket with this peer's directory.
    pub fn join(&self, ticket: &str) {
        let dir = self.dir.display().to_string();
        self.ok(&["join", ticket, &dir]);
    }

    /// A path in its tree.
    pub fn at(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    /// Writes a file into its tree, with the folders above it.
    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().expect("it is below the tree")).expect("the tree takes folders");
        fs::write(path, bytes).expect("the tree takes files");
    }

    /// A file of its tree as text; none if it is not there.
    pub fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.at(path)).ok()
    }

    /// Everything in its tree.
    pub fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        collect(&self.dir, &self.dir, &mut tree);
        tree
    }

    /// The state of its only volume.
    pub fn state(&self) -> String {
        self.json(&["status"])["volumes"][0]["state"].as_str().unwrap_or_default().to_owned()
    }

    /// What its daemons logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.join("test.log")).unwrap_or_default()
    }

    /// A command on this peer in its tree, to be started otherwise than `run` does.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        // Its tree may be away.
        let here = if self.dir.is_dir() { &self.dir } else { Path::new("/") };
        command.arg("--home").arg(&self.home).args(args).current_dir(here).stdin(Stdio::null());
        command.env_remove("PFS_HOME").env_remove("PFS_LOG").env_remove("PFS_FAIL").env("NO_COLOR", "1");
        command
    }
}

impl Drop for Peer {
    #[expect(clippy::print_stdout, reason = "what the test runner shows of a test that failed")]
    fn drop(&mut self) {
        let status = if thread::panicking() { self.run(&["status", "--json"]).out } else { String::new() };
        if let Some(mut daemon) = self.daemon.take() {
            // The test is over; there is nobody left to tell.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        if thread::panicking() {
            let log = self.log();
            let tail = log.lines().rev().take(40).collect::<Vec<_>>();
            let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
            println!("--- {}: {status}\n{tail}", self.name);
        }
    }
}

/// A small file system in memory, mounted while this lives.
pub struct Mount(PathBuf);

impl Mount {
    /// Mounts one of so many megabytes; nothing where this user may not.
    pub fn new(at: &Path, megabytes: u32) -> Option<Self> {
        fs::create_dir_all(at).expect("a temporary directory takes folders");
        let size = format!("size={megabytes}m");
        mount(&["-t", "tmpfs", "-o", &size, "tmpfs"], at).then(|| Self(at.to_owned()))
    }

    /// Changes how much it holds.
    pub fn resize(&self, megabytes: u32) {
        assert!(mount(&["-o", &format!("remount,size={megabytes}m")], &self.0), "what was mounted can be remounted");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: somebody may still be in it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).stderr(Stdio::null()).status();
    }
}

fn mount(args: &[&str], at: &Path) -> bool {
    Command::new("mount").args(args).arg(at).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Says which test could not run, and why.
#[expect(clippy::print_stdout, reason = "what the test runner shows of a test")]
pub fn not_run(test: &str, why: &str) {
    println!("NOT RUN: {test}: {why}");
}

/// The program under test: cargo puts it beside the tests' own folder.
fn program() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows where it is");
    let path = own.parent().and_then(Path::parent).expect("tests are in target/PROFILE/deps").join("pfs");
    assert!(path.exists(), "{} is not built: `cargo build --workspace --all-targets` first", path.display());
    path
}

/// Waits until it is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "not within {} s: {what}", PATIENCE.as_secs());
        thread::sleep(POLL);
    }
}

/// Waits until nothing is amiss, and says what is if that never comes.
pub fn eventually_nothing(what: &str, mut amiss: impl FnMut() -> Vec<String>) {
    let end = Instant::now() + PATIENCE;
    loop {
        let amiss = amiss();
        if amiss.is_empty() {
            return;
        }
        let some = amiss.iter().take(10).cloned().collect::<Vec<_>>().join("; ");
        assert!(Instant::now() < end, "not within {} s: {what}: {} amiss: {some}", PATIENCE.as_secs(), amiss.len());
        thread::sleep(POLL);
    }
}

/// Waits until all have the same tree, and says where they differ if they never have.
pub fn eventually_equal(peers: &[&Peer]) {
    eventually_same(peers, Peer::tree);
}

/// The same where files may have been touched: that is no change, so it does not cross.
pub fn eventually_alike(peers: &[&Peer]) {
    eventually_same(peers, |peer| without_times(peer.tree()));
}

/// A tree in which it does not show that a file was touched.
pub fn without_times(mut tree: Tree) -> Tree {
    for thing in tree.values_mut() {
        if let Thing::File { mtime, .. } = thing {
            *mtime = 0;
        }
    }
    tree
}

fn eventually_same(peers: &[&Peer], look: impl Fn(&Peer) -> Tree) {
    let end = Instant::now() + PATIENCE;
    loop {
        let trees: Vec<_> = peers.iter().map(|peer| look(peer)).collect();
        let Some(other) = trees.iter().position(|tree| *tree != trees[0]) else { return };
        assert!(
            Instant::now() < end,
            "the trees of {} and {} differ: {}",
            peers[0].name,
            peers[other].name,
            difference(&trees[0], &trees[other])
        );
        thread::sleep(POLL);
    }
}

/// A tree by path: everything that pfs carries of it.
pub type Tree = BTreeMap<PathBuf, Thing>;

/// One thing in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// A regular file.
    File {
        /// Permission bits.
        mode: u32,
        /// Nanoseconds since 1970.
        mtime: i128,
        /// Its content.
        bytes: Vec<u8>,
    },
    /// A directory.
    Dir {
        /// Permission bits.
        mode: u32,
    },
    /// A symbolic link.
    Link(PathBuf),
}

fn collect(root: &Path, dir: &Path, tree: &mut Tree) {
    // What goes while it is looked at is not there.
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.file_name() == Some(OsStr::new(".pfs")) {
            continue;
        }
        let Some(thing) = look_at(&path) else { continue };
        if let Thing::Dir { .. } = thing {
            collect(root, &path, tree);
        }
        tree.insert(path.strip_prefix(root).expect("it is below").to_owned(), thing);
    }
}

fn look_at(path: &Path) -> Option<Thing> {
    let meta = fs::symlink_metadata(path).ok()?;
    let mode = meta.permissions().mode() & 0o777;
    if meta.is_symlink() {
        return fs::read_link(path).ok().map(Thing::Link);
    }
    if meta.is_dir() {
        return Some(Thing::Dir { mode });
    }
    let mtime = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
    Some(Thing::File { mode, mtime, bytes: fs::read(path).ok()? })
}

fn difference(a: &Tree, b: &Tree) -> String {
    let told = |path: &Path| match (a.get(path), b.get(path)) {
        (Some(x), Some(y)) if x == y => None,
        (Some(_), None) => Some(format!("{} only in the first", path.display())),
        (None, Some(_)) => Some(format!("{} only in the second", path.display())),
        (x, y) => Some(format!("{}: {} against {}", path.display(), brief(x), brief(y))),
    };
    let all: std::collections::BTreeSet<&PathBuf> = a.keys().chain(b.keys()).collect();
    all.into_iter().filter_map(|path| told(path)).take(10).collect::<Vec<_>>().join("; ")
}

fn brief(thing: Option<&Thing>) -> String {
    match thing {
        Some(Thing::File { mode, mtime, bytes }) => format!("{} bytes, mode {mode:o}, mtime {mtime}", bytes.len()),
        Some(other) => format!("{other:?}"),
        None => "nothing".to_owned(),
    }
}
