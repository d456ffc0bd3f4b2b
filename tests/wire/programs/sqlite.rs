//! SQLite files that are being written.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use pfs_tests::eventually;

use super::{followed, program, succeeds, wrote_nothing};
use crate::pair;

const TRANSACTIONS: u32 = 2000;

/// Writes that many transactions, a line for each hundred, and keeps its connection until its input ends.
const WRITER: &str = r#"
import sqlite3, sys
path, mode, first, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
db = sqlite3.connect(path, isolation_level=None)
db.execute(f"PRAGMA journal_mode={mode}")
db.execute("PRAGMA synchronous=OFF")
db.execute("PRAGMA wal_autocheckpoint=200")
db.execute("CREATE TABLE IF NOT EXISTS one (id INTEGER PRIMARY KEY, body BLOB)")
db.execute("CREATE TABLE IF NOT EXISTS two (id INTEGER PRIMARY KEY, other INTEGER)")
db.execute("CREATE INDEX IF NOT EXISTS by_other ON two (other)")
for n in range(first, first + count):
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO one VALUES (?, ?)", (n, bytes([n % 251]) * (n % 997)))
    db.execute("INSERT INTO two VALUES (?, ?)", (n, n * 7919 % 1000))
    db.execute("UPDATE one SET body = ? WHERE id = ?", (b"changed", n * 31 % (n + 1)))
    if n % 10 == 9:
        db.execute("DELETE FROM two WHERE id = ?", (n - 5,))
    db.execute("COMMIT")
print("written", flush=True)
sys.stdin.read()
db.close()
"#;

/// Whether the file is whole, and how much is in it. It only reads, but for what a log beside the file needs.
const READER: &str = r#"
import sqlite3, sys
db = sqlite3.connect(f"file:{sys.argv[1]}?{sys.argv[2]}", uri=True)
print(*[row[0] for row in db.execute("PRAGMA integrity_check")])
print(*[db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("one", "two")])
print(db.execute("SELECT count(*) FROM one WHERE body = 'changed' OR body = CAST('changed' AS BLOB)").fetchone()[0])
"#;

/// A program that writes, and then waits with its connection open.
struct Writer(Child);

impl Writer {
    fn start(file: &Path, mode: &str, first: u32) -> Self {
        let (path, first) = (file.display().to_string(), first.to_string());
        let args = ["-c", WRITER, &path, mode, &first, &TRANSACTIONS.to_string()];
        let mut command = program(file.parent().unwrap(), "python3", &args);
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn has_written(&mut self) {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "written\n");
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

/// What the reader says of a file.
fn said_of(file: &Path, how: &str) -> String {
    let path = file.display().to_string();
    succeeds(program(file.parent().unwrap(), "python3", &["-c", READER, &path, how]))
}

#[test]
fn a_sqlite_file_that_is_written() {
    let world = tempfile::tempdir().unwrap();
    let (anna, ben) = pair(world.path());
    let files = [("rollback", "delete"), ("truncated", "truncate"), ("wal", "wal")];
    let mut writers: Vec<_> =
        files.iter().map(|(name, mode)| Writer::start(&anna.at(&format!("{name}.db")), mode, 0)).collect();
    for writer in &mut writers {
        writer.has_written();
    }
    an_open_log_arrives(&anna, &ben, world.path());
    for writer in writers {
        writer.end();
    }
    let made = followed(&anna, &ben);
    assert!(!made.contains_key(Path::new("wal.db-wal")), "a log that was closed is gone");
    wrote_nothing(&ben);
    for (name, _) in files {
        let said = said_of(&ben.at(&format!("{name}.db")), "immutable=1");
        assert!(said.starts_with("ok\n2000 1800\n"), "{name}: {said}");
        assert_eq!(said, said_of(&anna.at(&format!("{name}.db")), "immutable=1"));
    }

    // The other goes on.
    for (name, mode) in files {
        let mut writer = Writer::start(&ben.at(&format!("{name}.db")), mode, TRANSACTIONS);
        writer.has_written();
        writer.end();
    }
    followed(&ben, &anna);
    for (name, _) in files {
        let said = said_of(&anna.at(&format!("{name}.db")), "immutable=1");
        assert!(said.starts_with("ok\n4000 3600\n"), "{name}: {said}");
    }
}

/// While nobody writes, but a connection is open, the file and the log beside it are enough.
fn an_open_log_arrives(anna: &pfs_tests::Peer, ben: &pfs_tests::Peer, world: &Path) {
    let names = ["wal.db", "wal.db-wal"];
    eventually("the file and its log have arrived", || {
        names.iter().all(|name| fs::read(anna.at(name)).unwrap() == fs::read(ben.at(name)).unwrap_or_default())
    });
    // In a copy: to read a log is to write beside it.
    for name in names {
        fs::copy(ben.at(name), world.join(name)).unwrap();
    }
    let said = said_of(&world.join("wal.db"), "mode=rw");
    assert!(said.starts_with("ok\n2000 1800\n"), "{said}");
}
