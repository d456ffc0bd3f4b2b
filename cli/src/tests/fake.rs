//! A peer that knows a small, fixed world. It writes down what it was asked, in a file of its home.
//!
//! Some names make it misbehave: `missing` and `refused` fail at once, `half` fails on the way, `endless`
//! never ends. A home called `broken` does not open.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;

use crate::api::service::{ErrorKind, OnProgress, Result, Service, ServiceError, Sink};
use crate::api::types::{
    CaptureRequest, Captured, CatRequest, Choice, Collected, DaemonInfo, DiffItem, DiffRequest, EventLine,
    EventsRequest, Fork, ForksRequest, GcRequest, Holding, InitRequest, Initialised, InviteRequest, Invited, Jobs,
    JoinRequest, Joined, LogLine, LogRequest, LsLine, LsRequest, PeerAddress, PeerAddressRequest, PeerRemoveRequest,
    PeerRemoved, PeerStatus, PeersRequest, Progress, ResolveRequest, Resolved, RestoreRequest, Restored, Role,
    ShowRequest, Shown, Stage, Status, StatusRequest, Target, TrackRequest, UntrackRequest, Untracked, Verified,
    VerifyRequest, Within,
};
use crate::connect::Purpose;
use crate::home::Home;

/// Where the fake of a home writes what it was asked.
pub(crate) fn asked(home: &Home) -> PathBuf {
    home.dir().join("asked")
}

pub(crate) fn open(home: &Home, purpose: &Purpose) -> Result<Arc<dyn Service>> {
    if home.dir().ends_with("broken") {
        return Err(ServiceError::new(ErrorKind::Failed, "the store is damaged").hint("restore it from another peer"));
    }
    Ok(Arc::new(Fake { asked: asked(home), purpose: *purpose }))
}

struct Fake {
    asked: PathBuf,
    purpose: Purpose,
}

/// `tag` eight times: an id that is easy to tell apart.
fn id(tag: &str) -> String {
    tag.repeat(8)
}

/// A value from its JSON, which is what the contract is about.
fn value<T: serde::de::DeserializeOwned>(json: serde_json::Value) -> T {
    serde_json::from_value(json).unwrap()
}

fn anna() -> serde_json::Value {
    json!({"id": id("4f1c0a00"), "name": "anna"})
}

fn ben() -> serde_json::Value {
    json!({"id": id("be000001"), "name": "ben"})
}

fn linux() -> serde_json::Value {
    json!({"id": id("11223344"), "name": "linux"})
}

impl Fake {
    /// Notes the question; fails where the name says so.
    fn ask<Q: Serialize>(&self, method: &str, request: &Q, name: &[u8]) -> Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.asked).unwrap();
        writeln!(file, "{method} {}", serde_json::to_string(request).unwrap()).unwrap();
        match name {
            b"missing" | b"remov" => Err(ServiceError::new(ErrorKind::NotFound, "no volume or path `missing`")
                .hint("`pfs status` lists the volumes")),
            b"refused" => Err(ServiceError::new(ErrorKind::Refused, "linux is halted: its marker is gone")),
            _ => Ok(()),
        }
    }
}

fn text(target: Option<&Target>) -> &[u8] {
    target.map_or(b"", |target| target.text.as_bytes())
}

fn report(progress: OnProgress<'_>, stage: Stage) {
    for files in [0, 39_312, 78_624] {
        progress(Progress { stage, files, bytes: files * 16_000, files_total: Some(78_624), bytes_total: None });
    }
}

fn captured(patches: u64) -> Captured {
    value(json!({
        "volume": linux(), "path": "/srv/linux", "files": 78_624, "bytes": 1_270_000_000,
        "patches": patches, "new_bytes": 4096 * patches,
        "skipped": [{"volume": "linux", "path": "run/\u{1b}[31mbus", "reason": "a socket"}],
    }))
}

fn line(n: u64) -> LogLine {
    value(match n {
        0 => json!({
            "patch": id("9f3c21ab"), "time": "2026-11-20T14:00:11.042Z", "origin": anna(), "volume": "linux",
            "path": "drivers/net/foo.c", "action": "edit", "from": null, "size": 4215,
            "supersedes": [id("0badcafe")], "new_bytes": 1204,
        }),
        1 => json!({
            "patch": id("77aa0001"), "time": "2026-11-19T08:00:00.000Z", "origin": ben(), "volume": "linux",
            "path": "doc/caf\\xe9 \u{202e}txt", "action": "rename", "from": "doc/old", "size": 12,
            "supersedes": [id("77aa0000")], "new_bytes": 0,
        }),
        _ => json!({
            "patch": id("5500aa11"), "time": "2026-11-18T23:59:59.999Z", "origin": ben(), "volume": "linux",
            "path": "Makefile", "action": "delete", "from": null, "size": null,
            "supersedes": [id("5500aa10")], "new_bytes": 0,
        }),
    })
}

/// The other members, as somebody knows them who runs a daemon or does not.
fn peers(known: bool) -> Vec<PeerStatus> {
    let volumes = json!([{"volume": "linux", "role": "writer", "holding": "all"}]);
    let seen = |time: &str| known.then(|| time.to_owned());
    value(json!([
        {"id": id("be000001"), "name": "ben", "connected": known, "address": "192.168.1.7:7440",
         "rtt_ms": known.then_some(0.4), "last_seen": seen("2026-11-20T14:03:11.000Z"), "known": known,
         "volumes": volumes},
        {"id": id("c1a4a000"), "name": "clara", "connected": false, "address": "[fe80::1]:7440", "rtt_ms": null,
         "last_seen": seen("2026-11-20T11:00:00.000Z"), "known": known, "volumes": volumes},
        {"id": id("da000000"), "name": "dan\u{9b}7", "connected": false, "address": null, "rtt_ms": null,
         "last_seen": null, "known": known, "volumes": volumes},
    ]))
}

impl Service for Fake {
    fn init(&self, request: &InitRequest) -> Result<Initialised> {
        self.ask("init", request, b"")?;
        let name = request.name.clone().unwrap_or_else(|| "anna".to_owned());
        Ok(Initialised { id: id("4f1c0a00"), name, created: true })
    }

    fn track(&self, request: &TrackRequest, progress: OnProgress<'_>) -> Result<Captured> {
        self.ask("track", request, request.name.as_deref().unwrap_or_default().as_bytes())?;
        report(progress, Stage::Capturing);
        Ok(captured(78_624))
    }

    fn untrack(&self, request: &UntrackRequest) -> Result<Untracked> {
        self.ask("untrack", request, request.volume.as_bytes())?;
        Ok(value(json!({"volume": linux(), "path": "/srv/linux", "shared": !request.force})))
    }

    fn capture(&self, request: &CaptureRequest, progress: OnProgress<'_>) -> Result<Vec<Captured>> {
        self.ask("capture", request, request.volume.as_deref().unwrap_or_default().as_bytes())?;
        report(progress, Stage::Scanning);
        match request.volume.as_deref() {
            Some("half") => Err(ServiceError::new(ErrorKind::Failed, "the disk went away")),
            Some("idle") => Ok(vec![captured(0)]),
            _ => Ok(vec![captured(3)]),
        }
    }

    fn status(&self, request: &StatusRequest) -> Result<Status> {
        let name = text(request.target.as_ref());
        self.ask("status", request, name)?;
        let daemon = match self.purpose {
            Purpose::Command if matches!(name, b"served" | b"halted") => Some(value(json!({
                "pid": 430, "listen": "[::]:7440", "since": "2026-11-20T13:00:00.000Z",
            }))),
            Purpose::Command => None,
            Purpose::Daemon { listen, .. } => Some(DaemonInfo {
                pid: std::process::id(),
                listen: listen.to_string(),
                since: value(json!("2026-11-20T13:00:00.000Z")),
            }),
        };
        let (state, reason, forks) = match name {
            b"halted" => ("halted", Some("its marker is gone; is its disk mounted?"), 2),
            b"served" | b"alone" => ("synced", None, 0),
            _ => ("waiting", None, 0),
        };
        let under = match name {
            b"served" => json!({"files": 0, "bytes": 0, "oldest_s": 0}),
            _ => json!({"files": 12, "bytes": 5_000_000, "oldest_s": 7200}),
        };
        let (is_alone, served) = (matches!(name, b"empty" | b"alone"), daemon.is_some());
        let volume = json!({
            "id": id("11223344"), "name": "linux", "path": "/srv/linux", "role": "writer", "holding": "all",
            "state": state, "reason": reason, "files": 78_624, "bytes": 1_270_000_000, "patches": 3, "forks": forks,
            "skipped": if name == b"halted" { 2 } else { 0 },
            "replicas": {"target": 2, "under": under, "known": served || is_alone},
        });
        let empty = name == b"empty";
        Ok(Status {
            peer: value(json!({"id": id("4f1c0a00"), "name": "anna", "version": "0.1.0"})),
            daemon,
            volumes: if empty { Vec::new() } else { vec![value(volume)] },
            peers: if is_alone { Vec::new() } else { peers(served) },
            jobs: Jobs { queued: 0, active: 0, failed: u64::from(name == b"halted") },
        })
    }

    fn log(&self, request: &LogRequest, each: Sink<'_, LogLine>) -> Result<()> {
        let name = text(request.target.as_ref());
        self.ask("log", request, name)?;
        let endless = name == b"endless";
        for n in (0..3).chain((0..).take_while(|_| endless)) {
            if each(line(n)) == ControlFlow::Break(()) {
                self.ask("log_ended", request, b"")?;
                return Ok(());
            }
        }
        if name == b"half" { Err(ServiceError::new(ErrorKind::Failed, "the store is damaged")) } else { Ok(()) }
    }

    fn show(&self, request: &ShowRequest) -> Result<Shown> {
        self.ask("show", request, b"")?;
        Ok(value(json!({
            "patch": id("9f3c21ab"), "volume": "linux", "node": id("00dead00"), "path": "drivers/net/foo.c",
            "action": "edit", "from": null, "size": 4215,
            "attested": [
                {"origin": anna(), "time": "2026-11-20T14:00:11.042Z"},
                {"origin": ben(), "time": "2026-11-20T14:02:00.000Z"},
            ],
            "sets": [
                {"register": "content", "value": "file, 4215 bytes", "supersedes": [id("0badcafe")]},
                {"register": "attr", "value": "mode 0644", "supersedes": []},
            ],
            "within": null,
            "chunks": {"total": 3, "new": [{"id": id("c0ffee00"), "offset": 131_072, "size": 1204}]},
        })))
    }

    fn cat(&self, request: &CatRequest, each: Sink<'_, Vec<u8>>) -> Result<()> {
        let name = request.target.text.as_bytes();
        self.ask("cat", request, name)?;
        let pieces = if name == b"big" { 100 } else { 1 };
        for n in 0..pieces {
            let piece = if name == b"big" { vec![n; 256 << 10] } else { b"int main(void) { return 0; }\n".to_vec() };
            if each(piece).is_break() {
                return Ok(());
            }
        }
        if name == b"half" { Err(ServiceError::new(ErrorKind::Failed, "a chunk is damaged")) } else { Ok(()) }
    }

    fn ls(&self, request: &LsRequest, each: Sink<'_, LsLine>) -> Result<()> {
        self.ask("ls", request, request.target.text.as_bytes())?;
        let lines: Vec<LsLine> = value(json!([
            {"path": "drivers/net", "kind": "dir", "size": 0, "mode": "0755", "mtime": null, "held": true,
             "fork": null, "target": null},
            {"path": "drivers/foo.c", "kind": "file", "size": 4215, "mode": "0644",
             "mtime": "2026-11-20T14:00:00.000Z", "held": true, "fork": "content", "target": null},
            {"path": "drivers/blob.bin", "kind": "file", "size": 1_270_000_000, "mode": "0600",
             "mtime": "2024-02-29T00:00:00.000Z", "held": false, "fork": null, "target": null},
            {"path": "drivers/link", "kind": "symlink", "size": 8, "mode": "0777", "mtime": null, "held": true,
             "fork": null, "target": "../a\\xff"},
        ]));
        let _ = lines.into_iter().try_for_each(each);
        Ok(())
    }

    fn diff(&self, request: &DiffRequest, each: Sink<'_, DiffItem>) -> Result<()> {
        let name = request.target.text.as_bytes();
        self.ask("diff", request, name)?;
        if name == b"same" {
            return Ok(());
        }
        let side = |by, at: &str, patch, kind, size: u64, mode: Option<&str>| json!({"patch": id(patch), "origin": by, "time": at, "kind": kind, "size": size, "mode": mode});
        let old = side(ben(), "2026-11-20T13:00:00.000Z", "0badcafe", "file", 12, Some("0644"));
        let new = side(anna(), "2026-11-20T14:00:11.042Z", "9f3c21ab", "file", 15, Some("0755"));
        let big = |size| side(anna(), "2026-11-20T14:00:11.042Z", "9f3c21ab", "file", size, None);
        let far: Vec<_> =
            (1..=10_u64).map(|n| json!({"start": n * 1_000_000, "end": n * 1_000_000 + 64_000})).collect();
        let items: Vec<DiffItem> = value(json!([
            {"volume": "linux", "path": "foo.c", "change": "changed", "from": "bar.c", "before": old, "after": new,
             "text": "@@ -1,2 +1,2 @@\n one\n-two\n+two \u{1b}[31m\n\\ No newline at end of file\n",
             "ranges": null, "lacking": false},
            {"volume": "linux", "path": "new", "change": "added", "from": null, "before": null, "after": new,
             "text": "@@ -0,0 +1 @@\n+new\n", "ranges": null, "lacking": false},
            {"volume": "linux", "path": "image", "change": "changed", "from": null, "before": big(900_000),
             "after": big(1_200_000_000), "text": null, "ranges": far, "lacking": false},
            {"volume": "linux", "path": "far", "change": "changed", "from": null, "before": big(900_000),
             "after": big(900), "text": null, "ranges": null, "lacking": true},
            {"volume": "linux", "path": "run.sh", "change": "attr", "from": null, "before": old, "after": new,
             "text": null, "ranges": null, "lacking": false},
        ]));
        let _ = items.into_iter().try_for_each(each);
        if name == b"half" { Err(ServiceError::new(ErrorKind::Failed, "the store is damaged")) } else { Ok(()) }
    }

    fn forks(&self, request: &ForksRequest) -> Result<Vec<Fork>> {
        let name = text(request.target.as_ref());
        self.ask("forks", request, name)?;
        if name == b"none" {
            return Ok(Vec::new());
        }
        Ok(value(json!([
            {"volume": "linux", "path": "drivers/net/foo.c", "kind": "content",
             "base": {"patch": id("0badcafe"), "size": 4096},
             "heads": [
                {"patch": id("9f3c21ab"), "origin": anna(), "time": "2026-11-20T14:00:11.042Z",
                 "summary": "edited", "size": 4215, "shown": true},
                {"patch": id("be0be0be"), "origin": ben(), "time": "2026-11-20T13:00:00.000Z",
                 "summary": "edited", "size": 12, "shown": false},
             ],
             "choices": ["take", "ours", "theirs", "newest", "both", "delete", "merge"]},
            {"volume": "linux", "path": "it's gone", "kind": "delete", "base": null,
             "heads": [
                {"patch": id("aaaa0001"), "origin": anna(), "time": "2026-11-20T14:03:00.000Z",
                 "summary": "deleted", "size": null, "shown": false},
                {"patch": id("aaaa0002"), "origin": ben(), "time": "2026-11-17T14:03:00.000Z",
                 "summary": "moved to b/c", "size": 1000, "shown": false},
             ],
             "choices": ["take", "newest", "delete"]},
        ])))
    }

    fn resolve(&self, request: &ResolveRequest) -> Result<Resolved> {
        self.ask("resolve", request, text(request.targets.first()))?;
        let kept = json!({
            "patch": id("9f3c21ab"), "origin": anna(), "time": "2026-11-20T14:00:11.042Z", "summary": "edited",
            "size": 4215, "shown": true,
        });
        let (deleted, both) = (request.choice == Choice::Delete, request.choice == Choice::Both);
        let merged = request.choice == Choice::Merge;
        let mut done = Resolved::default();
        for target in &request.targets {
            let path = target.text.clone();
            match path.as_bytes() {
                b"nofork" => done.left.push(value(json!({
                    "volume": null, "path": path, "kind": "not_found", "reason": "nofork has no fork",
                    "hint": "`pfs forks` lists the open forks",
                }))),
                b"stuck" => done.left.push(value(json!({
                    "volume": "linux", "path": path, "kind": "refused", "reason": "no place fork can keep both sides",
                    "hint": null,
                }))),
                _ => done.resolved.push(value(json!({
                    "volume": "linux", "path": path, "patch": id("5e77ed00"), "deleted": deleted,
                    "merged": merged, "kept": (!deleted && !merged).then_some(&kept),
                    "beside": if both { json!(["a (ben).c", "a (clara).c"]) } else { json!([]) },
                }))),
            }
        }
        Ok(done)
    }

    fn restore(&self, request: &RestoreRequest) -> Result<Restored> {
        let name = request.target.text.as_bytes();
        self.ask("restore", request, name)?;
        let same = name == b"same";
        Ok(value(json!({
            "volume": "linux", "path": if request.to.is_some() { "old/d" } else { "d" },
            "patches": if same { 0 } else { 4 }, "patch": (!same).then(|| id("5e57a11d")), "dry_run": request.dry_run,
            "counts": {"back": u8::from(!same), "changed": u8::from(!same), "moved": u8::from(!same),
                       "removed": u8::from(!same), "settled": 0},
            "changes": if same { json!([]) } else { json!([
                {"path": "d/back", "change": "back", "from": null},
                {"path": "d/caf\\xe9", "change": "changed", "from": null},
                {"path": "d/moved", "change": "moved", "from": "d/e/there"},
                {"path": "d/new", "change": "removed", "from": null},
            ]) },
            "lacking": {"files": u8::from(name == b"far"), "bytes": if name == b"far" { 5_000_000 } else { 0 }},
        })))
    }

    fn invite(&self, request: &InviteRequest) -> Result<Invited> {
        self.ask("invite", request, request.volume.as_bytes())?;
        let InviteRequest { volume, role, expires, uses } = request.clone();
        Ok(Invited {
            ticket: "pfs1qqpzry9x8gf2tvdw0s3jn54khce6mua7l".to_owned(),
            expires,
            volume,
            role,
            uses,
            listening: role == Role::Writer,
        })
    }

    fn join(&self, request: &JoinRequest, progress: OnProgress<'_>) -> Result<Joined> {
        self.ask("join", request, request.ticket.as_bytes())?;
        report(progress, Stage::Fetching);
        Ok(value(json!({
            "volume": "linux", "path": "/srv/linux", "role": "writer", "files": 78_624, "bytes": 1_270_000_000,
            "kept": request.holding == Holding::Share,
        })))
    }

    fn peers(&self, request: &PeersRequest) -> Result<Vec<PeerStatus>> {
        self.ask("peers", request, request.volume.as_deref().unwrap_or_default().as_bytes())?;
        Ok(if request.volume.as_deref() == Some("alone") { Vec::new() } else { peers(true) })
    }

    fn peer_remove(&self, request: &PeerRemoveRequest) -> Result<PeerRemoved> {
        self.ask("peer_remove", request, request.peer.as_bytes())?;
        Ok(value(json!({"peer": ben(), "volumes": ["linux", "notes"]})))
    }

    fn peer_address(&self, request: &PeerAddressRequest) -> Result<PeerAddress> {
        self.ask("peer_address", request, request.peer.as_bytes())?;
        Ok(PeerAddress { peer: value(ben()), address: request.address.clone() })
    }

    fn verify(&self, request: &VerifyRequest, progress: OnProgress<'_>) -> Result<Verified> {
        let name = request.volume.as_deref().unwrap_or_default();
        self.ask("verify", request, name.as_bytes())?;
        report(progress, Stage::Verifying);
        let damaged = match name {
            "damaged" => json!([{"volume": "linux", "path": "Makefile", "reason": "no peer has chunk c0ffee00"}]),
            _ => json!([]),
        };
        let repaired = if request.repair { 2 } else { 0 };
        Ok(value(json!({"chunks": 80_000, "bytes": 1_270_000_000, "repaired": repaired, "damaged": damaged})))
    }

    fn gc(&self, request: &GcRequest) -> Result<Collected> {
        self.ask("gc", request, b"")?;
        let idle = request.last.is_some_and(|last| last > 5);
        let old = json!([
            {"volume": "linux", "path": "drivers/net/foo.c", "patch": id("0badcafe"),
             "time": "2026-05-02T10:00:00.000Z", "replaced": "2026-08-01T09:30:00.000Z", "size": 4096},
            {"volume": "linux", "path": "Makefile", "patch": id("77aa0002"),
             "time": "2026-01-07T10:00:00.000Z", "replaced": "2026-02-01T09:30:00.000Z", "size": 61_000},
        ]);
        Ok(value(json!({
            "dry_run": request.dry_run, "versions": if idle { 0 } else { 1203 }, "files": if idle { 0 } else { 417 },
            "bytes": if idle { 0 } else { 9_300_000 },
            "kept": {"current": 78_624, "forked": if idle { 3 } else { 0 }, "recent": 512, "last": 44},
            "within": request.within.unwrap_or(Within::Seconds(90 * 86_400)), "last": request.last.unwrap_or(3),
            "old": if idle { json!([]) } else { old },
        })))
    }

    fn events(&self, request: &EventsRequest, each: Sink<'_, EventLine>) -> Result<()> {
        self.ask("events", request, request.volume.as_deref().unwrap_or_default().as_bytes())?;
        let event =
            |kind: &str, volume: Option<&str>, path: Option<&str>, peer: Option<serde_json::Value>| -> EventLine {
                value(json!({
                    "time": "2026-11-20T14:00:11.042Z", "kind": kind, "volume": volume, "path": path,
                    "fork": path.map(|_| "content"), "peer": peer,
                    "reason": (kind == "halted").then_some("its marker is gone"),
                }))
            };
        let told = [
            event("listening", None, None, None),
            event("fork_opened", Some("linux"), Some("drivers/foo.c"), None),
            event("fork_closed", Some("linux"), Some("drivers/foo.c"), None),
            event("halted", Some("linux"), None, None),
            event("resumed", Some("linux"), None, None),
            event("synced", Some("linux"), None, None),
            event("peer_up", None, None, Some(ben())),
            event("peer_down", None, None, Some(ben())),
        ];
        let _ = told.into_iter().try_for_each(each);
        Ok(())
    }

    fn shutdown(&self) -> Result<()> {
        Ok(())
    }
}
