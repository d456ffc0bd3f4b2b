//! The service of one peer alone, asked as a command asks it.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::api::service::{ErrorKind, ServiceError};
use crate::api::types::{Action, NodeKind, RawPath, Revision, Role, Target, VolumeState, WallTime};

/// A home and two tracked trees, `v` and `w`.
struct World {
    dir: TempDir,
    service: Arc<dyn Service>,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(Some(dir.path().join("home"))).unwrap();
    let service = open(&home, &Purpose::Command).unwrap();
    let world = World { dir, service };
    for (name, file) in [("v", "one\n"), ("w", "zwei\n")] {
        fs::create_dir_all(world.at(&format!("{name}/sub"))).unwrap();
        fs::write(world.at(&format!("{name}/sub/file")), file).unwrap();
        let request = TrackRequest { dir: world.at(name).as_path().into(), name: None, replicas: None };
        let captured = world.service.track(&request, &mut |_| {}).unwrap();
        assert_eq!((captured.volume.name.as_str(), captured.files, captured.patches), (name, 1, 2));
    }
    world
}

impl World {
    fn at(&self, path: &str) -> std::path::PathBuf {
        fs::canonicalize(self.dir.path()).unwrap().join(path)
    }

    fn write(&self, path: &str, bytes: &str) {
        fs::write(self.at(path), bytes).unwrap();
        self.service.capture(&CaptureRequest { volume: None, force: false, bring_back: false }, &mut |_| {}).unwrap();
    }

    fn target(&self, text: &str) -> Target {
        Target { text: text.into(), absolute: self.at(text).as_path().into() }
    }

    fn log(&self, target: Option<&str>, limit: Option<u64>) -> Result<Vec<LogLine>> {
        let target = target.map(|text| self.target(text));
        let request = LogRequest { target, limit, since: None, until: None, origin: None };
        let mut lines = Vec::new();
        self.service.log(&request, &mut |line| {
            lines.push(line);
            ControlFlow::Continue(())
        })?;
        Ok(lines)
    }

    fn cat(&self, text: &str, at: Option<Revision>) -> Result<String> {
        let mut bytes = Vec::new();
        let request = CatRequest { target: self.target(text), at, head: None };
        self.service.cat(&request, &mut |piece| {
            bytes.extend(piece);
            ControlFlow::Continue(())
        })?;
        Ok(String::from_utf8(bytes).unwrap())
    }

    fn ls(&self, text: &str, recursive: bool) -> Result<Vec<LsLine>> {
        let mut lines = Vec::new();
        let request = LsRequest { target: self.target(text), at: None, recursive };
        self.service.ls(&request, &mut |line| {
            lines.push(line);
            ControlFlow::Continue(())
        })?;
        Ok(lines)
    }
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    let ServiceError { kind, message, .. } = result.unwrap_err();
    assert!(!message.is_empty());
    kind
}

#[test]
fn a_target_is_a_volume_a_path_in_it_or_a_path_on_disk() {
    let world = world();
    let id = world.service.status(&StatusRequest { target: None }).unwrap().volumes[0].id.clone();
    let first = world.service.status(&StatusRequest { target: None }).unwrap().volumes[0].name.clone();
    for text in [format!("{first}:sub/file"), format!("{}:sub/file", &id[..8]), format!("{first}/sub/file")] {
        let lines = world.ls(&text, false).unwrap();
        assert_eq!((lines.len(), &lines[0].path), (1, &RawPath::from("sub/file")), "{text}");
    }
    std::os::unix::fs::symlink(world.at("v"), world.at("link")).unwrap();
    assert_eq!(world.ls("link", false).unwrap()[0].path, RawPath::from("sub"));
    assert_eq!(world.ls("v", true).unwrap().len(), 2);
    for (text, want) in [
        ("v:nope", ErrorKind::NotFound),
        ("v/nope", ErrorKind::NotFound),
        ("elsewhere", ErrorKind::NotFound),
        ("u:sub", ErrorKind::NotFound),
        ("v:a/../b", ErrorKind::Usage),
        ("v/.pfs/volume", ErrorKind::Usage),
    ] {
        assert_eq!(kind(world.ls(text, false)), want, "{text}");
    }
}

#[test]
fn the_logs_of_several_volumes_are_one_newest_first() {
    let world = world();
    for round in 0..3 {
        world.write("v/sub/file", &format!("v {round}\n"));
        world.write("w/sub/file", &format!("w {round} and more\n"));
    }
    let all = world.log(None, None).unwrap();
    assert_eq!(all.len(), 10);
    assert!(all.windows(2).all(|pair| pair[0].time >= pair[1].time));
    let names: Vec<_> = all[..6].iter().map(|line| line.volume.as_str()).collect();
    assert_eq!(names, ["w", "v", "w", "v", "w", "v"]);
    assert_eq!(world.log(None, Some(4)).unwrap(), all[..4]);
    let one = world.log(Some("v/sub/file"), None).unwrap();
    assert_eq!(
        one.iter().map(|line| line.action).collect::<Vec<_>>(),
        [Action::Edit, Action::Edit, Action::Edit, Action::Create]
    );
    assert_eq!(one[0].supersedes, std::slice::from_ref(&one[1].patch));
    assert_eq!(world.log(Some("v:sub"), None).unwrap().len(), 5);
}

#[test]
fn every_version_can_be_read() {
    let world = world();
    world.write("v/sub/file", "two\n");
    fs::rename(world.at("v/sub/file"), world.at("v/moved")).unwrap();
    world
        .service
        .capture(&CaptureRequest { volume: Some("v".into()), force: false, bring_back: false }, &mut |_| {})
        .unwrap();
    let log = world.log(Some("v/moved"), None).unwrap();
    let told: Vec<_> = log.iter().map(|line| (line.action, line.size)).collect();
    assert_eq!(told[0].0, Action::Rename);
    assert_eq!(log[0].from, Some(RawPath::from("sub/file")));
    assert_eq!(world.cat("v/moved", None).unwrap(), "two\n");
    let patch = |at: usize| Some(Revision::Patch(log[at].patch[..8].to_owned()));
    assert_eq!(world.cat("v/moved", patch(2)).unwrap(), "one\n");
    assert_eq!(world.cat("v/moved", patch(1)).unwrap(), "two\n");
    let then = Some(Revision::Time(log[1].time));
    assert_eq!(world.cat("v:sub/file", then.clone()).unwrap(), "two\n", "by the name it had then");
    assert_eq!(world.cat("v/moved", then).unwrap(), "two\n", "by the name it has now");
    let before = Some(Revision::Time(WallTime("2001-01-01T00:00:00Z".parse().unwrap())));
    assert_eq!(kind(world.cat("v/moved", before)), ErrorKind::NotFound);
    for (path, why) in [("v/sub", "sub is a directory"), ("v", "the volume's root is a directory")] {
        let error = world.cat(path, None).unwrap_err();
        assert!(error.kind == ErrorKind::Usage && error.message.starts_with(why), "{error}");
    }

    let shown = world.service.show(&ShowRequest { patch: log[1].patch[..8].to_owned() }).unwrap();
    assert_eq!((shown.path, shown.action, shown.size), (RawPath::from("sub/file"), Action::Edit, Some(4)));
    assert_eq!((shown.chunks.total, shown.chunks.new.len()), (1, 1));
    assert_eq!(shown.sets[0].value, "file, 4 bytes");
    assert_eq!(kind(world.service.show(&ShowRequest { patch: "0".repeat(64) })), ErrorKind::NotFound);
}

#[test]
fn the_log_has_the_names_and_the_actions_of_then() {
    let world = world();
    world.write("v/sub/file", "two\n");
    fs::rename(world.at("v/sub"), world.at("v/dir")).unwrap();
    world.write("v/dir/file", "three\n");
    fs::remove_file(world.at("v/dir/file")).unwrap();
    world.write("v/other", "x");
    world.write("v/dir/file", "again\n");
    let told = world.log(Some("v/dir"), None).unwrap();
    let told: Vec<_> = told.iter().map(|line| (line.action, line.path.to_string())).collect();
    let want = [
        (Action::Create, "dir/file"),
        (Action::Delete, "dir/file"),
        (Action::Edit, "dir/file"),
        (Action::Rename, "dir"),
        (Action::Edit, "sub/file"),
        (Action::Create, "sub/file"),
        (Action::Create, "sub"),
    ];
    assert_eq!(told, want.map(|(action, path)| (action, path.to_owned())));
}

#[test]
fn one_peer_alone_is_synced_and_says_what_it_alone_holds() {
    let world = world();
    let status = world.service.status(&StatusRequest { target: Some(world.target("w/sub")) }).unwrap();
    let [w] = &status.volumes[..] else { panic!("one volume was asked for: {status:?}") };
    assert_eq!((w.name.as_str(), w.state, w.forks), ("w", VolumeState::Synced, 0));
    assert_eq!((w.replicas.target, w.replicas.under.files, w.replicas.known), (2, 1, true));
    assert_eq!((status.daemon, status.peers.len()), (None, 0));
    let lines = world.ls("w", false).unwrap();
    assert_eq!((lines[0].kind, lines[0].held), (NodeKind::Dir, true));
    for (volume, chunks) in [(None, 2), (Some("w".to_owned()), 1)] {
        let verified = world.service.verify(&VerifyRequest { volume, repair: false }, &mut |_| {}).unwrap();
        assert_eq!((verified.chunks, verified.damaged), (chunks, vec![]));
    }
}

#[test]
fn what_is_not_carried_is_counted() {
    let world = world();
    let skipped = || {
        world.service.status(&StatusRequest { target: None }).unwrap().volumes.iter().map(|v| v.skipped).sum::<u64>()
    };
    assert_eq!(skipped(), 0);
    let sockets = ["v/sub/socket", "v/socket"].map(|at| std::os::unix::net::UnixListener::bind(world.at(at)).unwrap());
    world.write("w/other", "x");
    assert_eq!(skipped(), 2);
    drop(sockets);
    fs::remove_file(world.at("v/sub/socket")).unwrap();
    world.write("w/other", "y");
    assert_eq!(skipped(), 1);
}

#[test]
fn bytes_of_another_file_are_not_taken_for_this_one() {
    let world = world();
    world.write("v/other", "not this\n");
    let patch = world.log(Some("v/other"), None).unwrap()[0].patch.clone();
    let cat = |path: &str| {
        let request = CatRequest { target: world.target(path), at: None, head: Some(patch[..8].to_owned()) };
        world.service.cat(&request, &mut |_| ControlFlow::Continue(()))
    };
    assert_eq!(cat("v/other"), Ok(()));
    let error = cat("v/sub/file").unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.message.contains("is no version of sub/file, but of other"), "{error}");
}

#[test]
fn a_path_can_be_given_back_as_it_was_shown() {
    use std::os::unix::ffi::OsStrExt as _;
    let world = world();
    let odd = std::ffi::OsStr::from_bytes(b"caf\xe9 \\x");
    fs::write(world.at("v").join(odd), "odd\n").unwrap();
    world.write("v/caf\\xe9", "as typed\n");
    let shown: Vec<_> = world.ls("v", false).unwrap().iter().map(|line| line.path.to_string()).collect();
    assert!(shown.contains(&r"caf\xe9 \\x".to_owned()), "{shown:?}");
    assert_eq!(world.cat(r"v:caf\xe9 \\x", None).unwrap(), "odd\n");
    assert_eq!(world.cat(r"v/caf\xe9 \\x", None).unwrap(), "odd\n");
    assert_eq!(world.cat(r"v:caf\xe9", None).unwrap(), "as typed\n", "what is there as it is typed comes first");
    assert_eq!(world.cat(r"v:caf\\xe9", None).unwrap(), "as typed\n");
    assert_eq!(kind(world.cat(r"v:caf\xee", None)), ErrorKind::NotFound);
}

#[test]
fn history_is_not_put_out_of_reach_unawares() {
    let world = world();
    let untrack = |force| world.service.untrack(&UntrackRequest { volume: "v".into(), force });
    let error = untrack(false).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.message.contains("2 patches") && error.hint.unwrap().contains("--force"));
    assert_eq!(world.log(Some("v:"), None).unwrap().len(), 2, "nothing was done");
    assert!(!untrack(true).unwrap().shared);
    assert_eq!(fs::read_to_string(world.at("v/sub/file")).unwrap(), "one\n");
}

#[test]
fn what_cannot_be_done_is_said_so() {
    let world = world();
    let service = &*world.service;
    let expires = WallTime("2100-01-01T00:00:00Z".parse().unwrap());
    let invite = |volume: &str, role| InviteRequest { volume: volume.into(), role, expires, uses: 1 };
    assert_eq!(kind(service.invite(&invite("u", Role::Writer))), ErrorKind::NotFound);
    assert_eq!(kind(service.invite(&invite("v", Role::Vault))), ErrorKind::Usage);
    let invited = service.invite(&invite("v", Role::Writer)).unwrap();
    assert!(!invited.listening && invited.ticket.starts_with("pfs1"));
    let dir = world.at(&invited.ticket);
    let (ticket, holding) = (invited.ticket.clone(), crate::api::types::Holding::All);
    let twice = JoinRequest {
        ticket,
        dir: Some(dir.as_path().into()),
        cwd: world.at("").as_path().into(),
        name: None,
        holding,
    };
    assert_eq!(kind(service.join(&twice, &mut |_| {})), ErrorKind::Usage);
    assert!(!dir.exists(), "no directory is named by a ticket");
    let remove = PeerRemoveRequest { peer: "nobody".into(), volume: None };
    assert_eq!(kind(service.peer_remove(&remove)), ErrorKind::NotFound);
    let choice = crate::api::types::Choice::Ours;
    let resolve = ResolveRequest { targets: vec![world.target("v")], choice };
    let resolved = service.resolve(&resolve).unwrap();
    assert_eq!((resolved.resolved.len(), resolved.left.len(), resolved.left[0].kind), (0, 1, ErrorKind::NotFound));
    let track = |dir: &Path| TrackRequest { dir: dir.into(), name: Some("x".into()), replicas: None };
    assert_eq!(kind(service.track(&track(&world.at("v/sub")), &mut |_| {})), ErrorKind::Refused);
    assert_eq!(kind(service.track(&track(&world.at("v/sub/file")), &mut |_| {})), ErrorKind::Usage);
    assert_eq!(kind(service.track(&track(&world.at("gone")), &mut |_| {})), ErrorKind::NotFound);
    let whole = TrackRequest { dir: Path::new("/").into(), name: None, replicas: None };
    let error = service.track(&whole, &mut |_| {}).unwrap_err();
    assert!(error.kind == ErrorKind::Refused && error.message.starts_with("/ is the whole machine"), "{error}");
    let join = JoinRequest {
        ticket: "pfs1nonsense".into(),
        dir: None,
        cwd: world.at("").as_path().into(),
        name: None,
        holding: crate::api::types::Holding::All,
    };
    assert_eq!(kind(service.join(&join, &mut |_| {})), ErrorKind::Usage);
}

#[test]
fn a_home_without_a_peer_opens_and_has_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let service = open(&Home::new(Some(dir.path().join("home"))).unwrap(), &Purpose::Command).unwrap();
    let error = service.status(&StatusRequest { target: None }).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.hint.unwrap().contains("pfs track DIR"));
    let made = service.init(&InitRequest { name: Some("anna".into()) }).unwrap();
    assert!(made.created);
    let again = service.init(&InitRequest { name: None }).unwrap();
    assert_eq!((again.created, again.name.as_str(), &again.id), (false, "anna", &made.id));
    let same = service.init(&InitRequest { name: Some("anna".into()) }).unwrap();
    assert_eq!((same.created, same.id), (false, made.id));
    let error = service.init(&InitRequest { name: Some("ben".into()) }).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage);
    assert!(error.message.contains("called anna") && error.message.contains("cannot be changed"), "{error}");
    service.shutdown().unwrap();
}
