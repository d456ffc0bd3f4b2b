//! Events that are read late: other things have happened since at the places that they tell of.

use std::fs;

use tempfile::TempDir;

use super::*;

struct Late {
    dir: TempDir,
    watched: Watched,
}

impl Late {
    /// A tree with these directories, watched.
    fn new(dirs: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        for path in dirs {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        let events = Arc::new(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap());
        let root = fs::File::open(dir.path()).unwrap().into();
        let mut watched = Watched::new(root, events);
        watched.enter(None, RelPath::root()).unwrap();
        Self { dir, watched }
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.dir.path().join(from), self.dir.path().join(to)).unwrap();
    }

    fn make(&self, path: &str) {
        fs::create_dir(self.dir.path().join(path)).unwrap();
    }

    /// Reads all events that there are by now.
    fn read(&mut self) -> Hints {
        let (mut hints, mut buffer) = (Hints::default(), vec![MaybeUninit::uninit(); EVENT_BYTES]);
        let events = Arc::clone(&self.watched.events);
        let mut reader = Reader::new(&*events, &mut buffer);
        while let Ok(event) = reader.next() {
            self.watched.note(&event, &mut hints);
        }
        self.watched.forget_moved_out();
        hints
    }

    /// What is written into each of these directories is noticed there and nowhere else.
    #[track_caller]
    fn sees(&mut self, dirs: &[&str]) {
        self.read();
        for dir in dirs {
            fs::write(self.dir.path().join(dir).join("file"), "x").unwrap();
            let dirty: Vec<_> = self.read().dirty.into_iter().map(|path| path.to_string()).collect();
            assert_eq!(dirty, [*dir]);
        }
    }
}

#[test]
fn a_directory_that_is_made_in_one_that_is_renamed_is_watched() {
    let mut late = Late::new(&["d"]);
    late.make("d/new");
    late.rename("d", "e");
    late.sees(&["e", "e/new"]);
}

#[test]
fn a_new_directory_and_another_that_swap_names_are_both_watched() {
    let mut late = Late::new(&["b/below"]);
    late.make("a");
    late.make("a/under");
    late.rename("a", "aside");
    late.rename("b", "a");
    late.rename("aside", "b");
    late.sees(&["a", "a/below", "b", "b/under"]);
}

#[test]
fn directories_that_change_places_in_one_that_is_new_are_watched() {
    let mut late = Late::new(&["x/one", "y/two"]);
    late.make("d");
    late.rename("x", "d/x");
    late.rename("y", "d/y");
    late.rename("d/x", "d/aside");
    late.rename("d/y", "d/x");
    late.rename("d/aside", "d/x/moved");
    late.make("d/x/moved/made");
    late.rename("d", "e");
    late.sees(&["e", "e/x", "e/x/two", "e/x/moved", "e/x/moved/one", "e/x/moved/made"]);
}

#[test]
fn a_chain_of_names_is_followed() {
    let mut late = Late::new(&["a/1", "b/2", "c/3"]);
    late.make("d");
    late.rename("d", "t");
    late.rename("a", "d");
    late.rename("b", "a");
    late.rename("c", "b");
    late.rename("t", "c");
    late.make("c/new");
    late.sees(&["a", "a/2", "b", "b/3", "c", "c/new", "d", "d/1"]);
}
