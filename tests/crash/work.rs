//! Somebody at work in a folder: many files at once, edits, moves of whole directories, deletes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Numbers that follow from a seed (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8)).flat_map(|_| self.below(usize::MAX).to_le_bytes()).take(len).collect()
    }
}

/// A folder, and what it must hold.
pub(crate) struct Worker {
    folder: PathBuf,
    files: BTreeMap<PathBuf, Vec<u8>>,
    made: usize,
}

impl Worker {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), files: BTreeMap::new(), made: 0 }
    }

    /// Goes on in that peer's tree.
    pub(crate) fn move_to(&mut self, tree: &Path) {
        self.folder = tree.join(self.folder.file_name().unwrap());
    }

    /// Fills the folder for a beginning.
    pub(crate) fn furnish(&mut self, dice: &mut Dice) {
        for _ in 0..4 {
            self.add_directory(dice);
        }
    }

    /// Some pieces of work.
    pub(crate) fn work(&mut self, dice: &mut Dice) {
        for _ in 0..=dice.below(3) {
            match dice.below(6) {
                0 => self.add_directory(dice),
                1 => self.move_directory(dice),
                2 => self.remove_directory(dice),
                3 => self.swap_directories(dice),
                _ => self.edit(dice),
            }
        }
    }

    /// One piece of every kind, and a file that is too large to ride in a commit.
    pub(crate) fn do_everything(&mut self, dice: &mut Dice) {
        self.remove_directory(dice);
        self.add_directory(dice);
        self.move_directory(dice);
        self.edit(dice);
        let all = self.directories();
        let apart = |(a, b): &(&PathBuf, &PathBuf)| !a.starts_with(b) && !b.starts_with(a);
        let mut pairs = all.iter().flat_map(|a| all.iter().map(move |b| (a, b)));
        if let Some((a, b)) = pairs.find(apart) {
            self.swap(a, b);
        }
        fs::create_dir_all(self.folder.join("big")).unwrap();
        let bytes = dice.bytes(1_200_000);
        self.write(PathBuf::from("big/large"), bytes);
    }

    /// What its folder in that tree holds otherwise than it should.
    pub(crate) fn amiss_in(&self, tree: &Path) -> Vec<String> {
        let folder = tree.join(self.folder.file_name().unwrap());
        let (mut ahead, mut found) = (vec![folder.clone()], BTreeMap::new());
        while let Some(dir) = ahead.pop() {
            // What goes while it is looked at is amiss.
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    ahead.push(path);
                } else {
                    found.insert(path.strip_prefix(&folder).unwrap().to_owned(), fs::read(&path).unwrap_or_default());
                }
            }
        }
        let all: BTreeSet<_> = found.keys().chain(self.files.keys()).collect();
        let differs = |path: &&&PathBuf| found.get(**path) != self.files.get(**path);
        let brief = |files: &BTreeMap<PathBuf, Vec<u8>>, path: &PathBuf| {
            files.get(path).map(|bytes| format!("{} bytes from {:02x?}", bytes.len(), &bytes[..bytes.len().min(4)]))
        };
        let tell = |path: &PathBuf| {
            format!("{}: is {:?}, should be {:?}", path.display(), brief(&found, path), brief(&self.files, path))
        };
        all.iter().filter(differs).map(|path| tell(path)).collect()
    }

    fn directories(&self) -> Vec<PathBuf> {
        let mut all: Vec<_> = self.files.keys().filter_map(|path| path.parent().map(Path::to_owned)).collect();
        all.dedup();
        all
    }

    fn some_directory(&self, dice: &mut Dice) -> Option<PathBuf> {
        let all = self.directories();
        (!all.is_empty()).then(|| all[dice.below(all.len())].clone())
    }

    fn fresh_name(&mut self) -> PathBuf {
        self.made += 1;
        PathBuf::from(format!("d{}", self.made))
    }

    fn write(&mut self, path: PathBuf, bytes: Vec<u8>) {
        fs::write(self.folder.join(&path), &bytes).unwrap();
        self.files.insert(path, bytes);
    }

    fn add_directory(&mut self, dice: &mut Dice) {
        let name = self.fresh_name();
        let dir = match self.some_directory(dice) {
            Some(above) if dice.below(2) == 0 && above.components().count() < 5 => above.join(name),
            _ => name,
        };
        fs::create_dir_all(self.folder.join(&dir)).unwrap();
        for n in 0..=dice.below(40) {
            let len = if dice.below(20) == 0 { 300_000 } else { dice.below(6000) };
            let bytes = dice.bytes(len);
            self.write(dir.join(format!("f{n}")), bytes);
        }
    }

    fn edit(&mut self, dice: &mut Dice) {
        let Some(dir) = self.some_directory(dice) else { return };
        let inside: Vec<_> = self.files.keys().filter(|path| path.parent() == Some(&dir)).cloned().collect();
        for path in inside {
            if dice.below(2) == 0 {
                let len = dice.below(6000);
                let bytes = dice.bytes(len);
                self.write(path, bytes);
            }
        }
    }

    fn move_directory(&mut self, dice: &mut Dice) {
        let Some(from) = self.some_directory(dice) else { return };
        let name = self.fresh_name();
        let to = match self.some_directory(dice) {
            Some(above) if !above.starts_with(&from) && above.components().count() < 5 => above.join(name),
            _ => name,
        };
        self.rename(&from, &to);
    }

    fn swap_directories(&mut self, dice: &mut Dice) {
        let (Some(a), Some(b)) = (self.some_directory(dice), self.some_directory(dice)) else { return };
        self.swap(&a, &b);
    }

    fn swap(&mut self, a: &Path, b: &Path) {
        if a.starts_with(b) || b.starts_with(a) {
            return;
        }
        let aside = self.fresh_name();
        self.rename(a, &aside);
        self.rename(b, a);
        self.rename(&aside, b);
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        fs::rename(self.folder.join(from), self.folder.join(to)).unwrap();
        let below: Vec<_> = self.files.keys().filter(|path| path.starts_with(from)).cloned().collect();
        for path in below {
            let bytes = self.files.remove(&path).unwrap();
            self.files.insert(to.join(path.strip_prefix(from).unwrap()), bytes);
        }
    }

    fn remove_directory(&mut self, dice: &mut Dice) {
        let all = self.directories();
        if all.len() < 3 {
            return;
        }
        let dir = &all[dice.below(all.len())];
        fs::remove_dir_all(self.folder.join(dir)).unwrap();
        self.files.retain(|path, _| !path.starts_with(dir));
    }
}
