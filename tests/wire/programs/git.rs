//! A git repository that is being worked in.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use pfs_tests::eventually_alike;

use super::{followed, program, succeeds, wrote_nothing};
use crate::{pair, set_mode};

/// A repository in somebody's tree.
struct Repo(PathBuf);

impl Repo {
    fn init(dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).unwrap();
        let repo = Self(dir);
        repo.git(&["init", "-q", "-b", "main"]);
        // A collection in the background would outlive the command that began it.
        let settings = ["user.name you", "user.email you@example.net", "gc.autoDetach false"];
        for (name, value) in settings.iter().filter_map(|line| line.split_once(' ')) {
            repo.git(&["config", name, value]);
        }
        repo
    }

    fn git(&self, args: &[&str]) -> String {
        succeeds(program(&self.0, "git", args))
    }

    /// A command that fails, as a merge with conflicts does.
    fn git_fails(&self, args: &[&str]) {
        let done = program(&self.0, "git", args).output().unwrap();
        assert!(!done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stdout));
    }

    /// Asks without writing: to refresh the index would be to work here.
    fn ask(&self, args: &[&str]) -> String {
        let mut command = program(&self.0, "git", args);
        command.env("GIT_OPTIONAL_LOCKS", "0");
        succeeds(command)
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// What a person would look at to believe in this copy.
    fn is_sound(&self, head: &str) {
        assert_eq!(self.ask(&["rev-parse", "HEAD"]), head);
        assert_eq!(self.ask(&["status", "--porcelain"]), "");
        let checked = self.ask(&["fsck", "--full", "--strict", "--no-progress"]);
        assert!(!checked.contains("missing") && !checked.contains("corrupt"), "{checked}");
    }
}

fn text_of(branch: &str, n: usize) -> String {
    format!("{branch}, file {n}\n").repeat(n % 23 + 1)
}

/// The commits that both branches begin from: `src/0` to `src/11` with twenty files each, and some that differ in kind.
fn furnish_main(repo: &Repo) {
    for folder in 0..12 {
        for n in 0..20 {
            repo.write(&format!("src/{folder}/{n}.c"), &text_of("main", folder * 20 + n));
        }
        repo.commit(&format!("folder {folder}"));
    }
    repo.write("thing", "a file\n");
    repo.write("box/in/deep", "in a folder\n");
    symlink("src/0", repo.at("link")).unwrap();
    repo.commit("things of every kind");
}

/// Everything edited; a file becomes a folder, a folder a file, a link a folder; a folder is renamed, modes change.
fn branch_left(repo: &Repo) {
    repo.git(&["checkout", "-q", "-b", "left", "main"]);
    for folder in 0..12 {
        for n in 0..20 {
            repo.write(&format!("src/{folder}/{n}.c"), &text_of("left", folder * 20 + n));
        }
        repo.commit(&format!("left {folder}"));
    }
    for path in ["thing", "link"] {
        fs::remove_file(repo.at(path)).unwrap();
        repo.write(&format!("{path}/now/a/folder"), "of the left\n");
    }
    fs::remove_dir_all(repo.at("box")).unwrap();
    repo.write("box", "a file now\n");
    repo.git(&["mv", "src/5", "five"]);
    for n in 0..20 {
        set_mode(&repo.at(&format!("src/1/{n}.c")), 0o755);
    }
    repo.commit("left: kinds and modes");
}

/// Half of everything deleted, as much of another kind added, what is a folder on the left linked here.
fn branch_right(repo: &Repo) {
    repo.git(&["checkout", "-q", "-b", "right", "main"]);
    for folder in 0..6 {
        repo.git(&["rm", "-q", "-r", &format!("src/{folder}")]);
        for n in 0..25 {
            repo.write(&format!("src/{folder}.d/x/{n}"), &text_of("right", folder * 25 + n));
        }
        repo.commit(&format!("right {folder}"));
    }
    fs::rename(repo.at("src/7"), repo.at("src/5")).unwrap();
    repo.commit("right: another five");
    for path in ["thing", "box"] {
        repo.git(&["rm", "-q", "-r", path]);
        symlink("src", repo.at(path)).unwrap();
    }
    repo.commit("right: links");
}

/// Merge, conflict, rebase, stash, a second worktree.
fn day_of_work(repo: &Repo) {
    repo.git(&["checkout", "-q", "-b", "topic", "left"]);
    for n in 0..6 {
        repo.write(&format!("topic/{n}"), "topic\n");
        repo.commit(&format!("topic {n}"));
    }
    repo.git(&["checkout", "-q", "left"]);
    repo.write("src/11/0.c", "moved on\n");
    repo.commit("left moves on");
    repo.git(&["checkout", "-q", "topic"]);
    repo.git(&["rebase", "-q", "left"]);
    repo.git(&["checkout", "-q", "left"]);
    repo.git(&["merge", "-q", "--no-ff", "-m", "topic", "topic"]);
    repo.git_fails(&["merge", "-q", "right"]);
    repo.git(&["merge", "--abort"]);

    repo.write("src/10/1.c", "put away\n");
    repo.write("untracked/thing", "put away too\n");
    repo.git(&["stash", "push", "-q", "-u"]);
    repo.git(&["checkout", "-q", "right"]);
    repo.git(&["checkout", "-q", "left"]);
    repo.git(&["stash", "pop", "-q"]);
    repo.commit("what was put away");

    repo.git(&["worktree", "add", "-q", "second", "right"]);
    let second = Repo(repo.at("second"));
    second.write("second/file", "in the other worktree\n");
    second.commit("right: from the second worktree");
    repo.git(&["worktree", "remove", "second"]);
}

fn collect_garbage(repo: &Repo) {
    repo.git(&["repack", "-a", "-d", "-q"]);
    repo.git(&["reflog", "expire", "--expire=now", "--all"]);
    repo.git(&["gc", "-q", "--aggressive", "--prune=now"]);
}

#[test]
fn a_git_repository_that_is_worked_in() {
    let world = tempfile::tempdir().unwrap();
    let (anna, ben) = pair(world.path());
    // The root of the volume is that of the repository: git must not take notice of what is pfs's own.
    let repo = Repo::init(anna.dir.clone());
    furnish_main(&repo);
    assert_eq!(repo.ask(&["ls-files", ".pfs"]), "");
    branch_left(&repo);
    branch_right(&repo);
    // Some checkouts are followed to the end, others overtake what ben does.
    for round in 0..3 {
        for branch in ["left", "right", "main", "right", "left"] {
            repo.git(&["checkout", "-q", branch]);
        }
        if round > 0 {
            repo.git(&["checkout", "-q", if round == 1 { "right" } else { "main" }]);
            eventually_alike(&[&anna, &ben]);
        }
    }
    day_of_work(&repo);
    collect_garbage(&repo);
    repo.git(&["checkout", "-q", "right"]);
    repo.git(&["checkout", "-q", "left"]);
    followed(&anna, &ben);
    wrote_nothing(&ben);
    let (his, hers) = (Repo(ben.dir.clone()), repo);
    his.is_sound(&hers.ask(&["rev-parse", "HEAD"]));

    ben_works(&his);
    followed(&ben, &anna);
    hers.is_sound(&his.ask(&["rev-parse", "HEAD"]));
}

/// The other takes the repository over.
fn ben_works(repo: &Repo) {
    repo.git(&["status"]);
    repo.git(&["checkout", "-q", "-b", "of-ben", "right"]);
    for n in 0..5 {
        repo.write("of ben", &text_of("ben", n));
        repo.commit(&format!("ben {n}"));
    }
    repo.git(&["merge", "-q", "-s", "ours", "-m", "ours", "left"]);
    repo.git(&["checkout", "-q", "left"]);
    collect_garbage(repo);
    repo.git(&["checkout", "-q", "of-ben"]);
}

#[test]
fn a_git_repository_while_daemons_are_killed() {
    let world = tempfile::tempdir().unwrap();
    let (mut anna, mut ben) = pair(world.path());
    let repo = Repo::init(anna.at("project"));
    furnish_main(&repo);
    branch_left(&repo);
    branch_right(&repo);
    // The copy has the objects as hard links, which the collection below takes apart again.
    repo.git(&["clone", "-q", "--local", ".", "../copy"]);
    for _ in 0..4 {
        repo.git(&["checkout", "-q", "left"]);
        ben.kill();
        repo.git(&["checkout", "-q", "right"]);
        ben.start();
        repo.git(&["checkout", "-q", "left"]);
        anna.kill();
        repo.git(&["checkout", "-q", "main"]);
        anna.start();
    }
    collect_garbage(&repo);
    followed(&anna, &ben);
    wrote_nothing(&ben);
    for name in ["project", "copy"] {
        let head = Repo(anna.at(name)).ask(&["rev-parse", "HEAD"]);
        Repo(ben.at(name)).is_sound(&head);
    }
}
