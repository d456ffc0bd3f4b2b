//! The points at which volumes come and go: what a command that dies leaves behind does not stand in the way of the
//! next one.

use pfs_engine::failpoint::Point;
use pfs_tests::{Peer, eventually};

use super::{Deed, daemon_dies, dies, in_step, launch, pair, points_of};

#[test]
fn a_command_dies_as_it_tracks() {
    let world = tempfile::tempdir().unwrap();
    for point in points_of("a_command_dies_as_it_tracks", &[Deed::Track, Deed::TrackOrJoin]) {
        let peer = Peer::new(world.path(), point.name());
        peer.write("folder/one", "1\n");
        let track = ["track", &peer.dir.display().to_string(), "--name", "v"];
        dies(&peer, point, &track);
        if point == Point::TrackBorn {
            // The volume is there already; what is in it is found by the first look.
            peer.ok(&["capture"]);
        } else {
            peer.ok(&track);
        }
        assert_eq!(peer.ok(&["cat", "v:folder/one"]), "1\n", "{}", point.name());
        assert!(peer.ok(&["verify"]).contains("all is well"));
        assert_eq!(peer.lines(&["status"]).len(), 1, "one volume");
    }
}

#[test]
fn a_daemon_dies_as_it_joins() {
    let world = tempfile::tempdir().unwrap();
    for point in points_of("a_daemon_dies_as_it_joins", &[Deed::Join, Deed::TrackOrJoin]) {
        let (mut anna, mut ben) = (
            Peer::new(world.path(), &format!("anna {}", point.name())),
            Peer::new(world.path(), &format!("ben {}", point.name())),
        );
        anna.write("folder/one", "1\n");
        anna.write("same", "same\n");
        anna.ok(&["track", &anna.dir.display().to_string(), "--name", "v"]);
        anna.start();
        ben.write("folder/of ben", "2\n");
        // What is here as it is there is no change.
        ben.ok(&["init"]);
        std::fs::copy(anna.at("same"), ben.at("same")).unwrap();
        launch(&mut ben, point);
        let ticket = anna.ticket("v");
        let dir = ben.dir.display().to_string();
        daemon_dies(&mut ben, point, &["join", &ticket, &dir]);
        ben.start();
        ben.join(&ticket);
        eventually("both have everything", || anna.read("folder/of ben").is_some() && ben.read("folder/one").is_some());
        eventually("both rest", || anna.state() == "synced" && ben.state() == "synced");
        pfs_tests::eventually_alike(&[&anna, &ben]);
        for peer in [&anna, &ben] {
            assert_eq!(peer.json(&["forks"]), serde_json::json!([]), "{}", peer.name);
            assert!(peer.ok(&["verify"]).contains("all is well"), "{}", peer.name);
        }
    }
}

#[test]
fn a_daemon_dies_as_it_untracks() {
    let world = tempfile::tempdir().unwrap();
    let [anna, ben] = &mut pair(world.path());
    for point in points_of("a_daemon_dies_as_it_untracks", &[Deed::Untrack]) {
        ben.stop();
        launch(ben, point);
        daemon_dies(ben, point, &["untrack", "v", "--force"]);
        ben.start();
        assert_eq!(ben.read("stays").as_deref(), Some("1\n"));
        ben.ok(&["untrack", "v", "--force"]);
        assert_eq!(ben.read("stays").as_deref(), Some("1\n"));
        assert!(!ben.at(".pfs").exists(), "nothing is left in the tree");
        ben.join(&anna.ticket("v"));
        in_step([&*anna, &*ben]);
    }
}
