//! A daemon and those who talk to it, in one process.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::{fs, thread};

use super::pfs;
use crate::connect::is_served;
use crate::home::{Home, POLL};

/// Runs a daemon while `visit` visits; both must end well.
fn with_daemon(home: &Path, visit: impl FnOnce()) -> String {
    thread::scope(|scope| {
        let daemon = scope.spawn(|| pfs(home, &["daemon", "run", "--listen", "127.0.0.1:0"]));
        while !is_served(&Home::new(Some(home.into())).unwrap()) {
            assert!(!daemon.is_finished(), "the daemon ended before it served");
            thread::sleep(POLL);
        }
        visit();
        let stopped = pfs(home, &["daemon", "stop"]);
        assert_eq!((stopped.code, stopped.out.as_str()), (0, "daemon stopped\n"), "{}", stopped.err);
        let ran = daemon.join().unwrap();
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.err
    })
}

#[test]
fn commands_ask_the_daemon_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    assert!(pfs(home, &["status"]).out.contains("no daemon runs"));
    let said = with_daemon(home, || {
        let status = pfs(home, &["status"]);
        assert!(status.out.contains("daemon running, listening on 127.0.0.1:0"), "{}", status.out);
        assert_eq!(pfs(home, &["daemon", "status"]).code, 0);
        assert_eq!(pfs(home, &["untrack", "missing"]).code, 3, "errors keep their kind on the way");
        assert_eq!(pfs(home, &["log", "half"]).code, 1, "also those on the way");
        assert_eq!(pfs(home, &["cat", "half"]).code, 1);
        let mode = fs::metadata(home.join("api.sock")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    });
    assert!(said.contains("volume linux") && said.contains("listening on 127.0.0.1:0"), "{said}");
    assert!(!home.join("api.sock").exists());
    assert!(pfs(home, &["status"]).out.contains("no daemon runs"));
}

#[test]
fn one_home_has_one_daemon() {
    let dir = tempfile::tempdir().unwrap();
    with_daemon(dir.path(), || {
        let second = pfs(dir.path(), &["daemon", "run"]);
        assert_eq!(second.code, 1);
        let pid = format!("pid {}", std::process::id());
        assert!(second.err.contains("already runs") && second.err.contains(&pid), "{}", second.err);
    });
}

#[test]
fn the_socket_of_a_dead_daemon_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(dir.path().join("api.sock")).unwrap());
    assert!(pfs(dir.path(), &["status"]).out.contains("no daemon runs"));
    with_daemon(dir.path(), || {
        assert!(pfs(dir.path(), &["status"]).out.contains("daemon running"));
    });
}

#[test]
fn a_service_that_does_not_open_is_said_so() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("broken");
    for args in [&["daemon", "run"][..], &["init"], &["status"]] {
        let ran = pfs(&home, args);
        let said = "error: the store is damaged\nhint: restore it from another peer\n";
        assert_eq!((ran.code, ran.err.as_str()), (1, said), "{args:?}");
    }
    assert!(!home.join("api.sock").exists());
}

#[test]
fn a_path_too_long_for_a_socket_is_said_so() {
    let dir = tempfile::tempdir().unwrap();
    let ran = pfs(&dir.path().join("x".repeat(100)), &["daemon", "run"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("shorter --home"), "{}", ran.err);
}
