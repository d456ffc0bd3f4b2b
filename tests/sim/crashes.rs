//! A kill, a loss of power and a full disk at every access to the store, one after the other, in the midst of each kind
//! of work.

use super::schedule::{Played, Script, play_script};
use super::world::{How, Plan};

/// What stands there before: made by the first, known to both.
const BASE: &str = "A write a a000; A mkdir d; A write d/b b000; A mkdir d/e; A mkdir f; rest";

/// To whom it happens, what goes before, and the work: the fault is set where `!` stands. `talk` lets both say
/// something to each other and the second one work, `hear` only the first of that.
const WORKS: [(char, &str, &str); 8] = [
    // A capture of everything that can be done.
    ('A', "", "A write a 1111; A mv d/b c; A rm f; A mkdir g; A swap a c; A link l a; !; A captures"),
    // A move and an edit of what moved.
    ('A', "", "A write d/b 22; A mv d g; A chmod g 700; !; A captures"),
    // Entries come and are carried out.
    ('B', "A write a 3333; A mv d/b c; A rm f; A swap d a; A captures", "!; talk; talk; talk"),
    // A file of several chunks.
    ('B', "A write a Long; A append d/b 9; A captures", "!; talk; talk; talk; talk"),
    // Two forks are settled.
    ('A', "A parts B; A write a 44; B write a 55; B mv d/b e; A mv d/b g; rest", "!; A resolves 0 0; A resolves 0 1"),
    // Old versions are let go of.
    ('A', "A write a 66; rest; A write a 77; rest; A write a 88; rest", "!; A gc"),
    // A start in a tree that has changed.
    ('A', "A write a 99; A mv d g; A captures; A killed; A write a 11; A mv g/b b", "!; A starts; A works"),
    // A start with entries that nobody has carried out.
    ('B', "A swap a d; A mv f d/f; A captures; hear; B killed", "!; B starts; B works; talk"),
];

/// What befalls the store at the nth access, and what comes on top of it.
const FAULTS: [(&str, &str); 3] = [("dies", ""), ("dies", "; ! unplugged 0"), ("fills", "")];

/// How many there are.
pub(crate) const COUNT: usize = WORKS.len() * FAULTS.len();

fn script(number: usize, access: usize) -> Script {
    let (who, before, work) = WORKS[number / FAULTS.len()];
    let (fault, after) = FAULTS[number % FAULTS.len()];
    let talk = (0..4).flat_map(|pick| [format!("A hears B {pick}"), format!("B hears A {pick}")]);
    let hear = format!("A meets B; {}", talk.collect::<Vec<_>>().join("; "));
    let talk = format!("{hear}; tick 300; B works");
    let work = work.replace('!', &format!("{who} {fault} {access}")) + &after.replace('!', &who.to_string());
    let acts = format!("{BASE}; {before}; {work}; rest")
        .replace("talk", &talk)
        .replace("hear;", &(hear + ";"))
        .replace("; ;", ";");
    let acts = acts.split(';').map(|act| act.parse().expect("an act")).collect();
    Script { plan: Plan { seed: 1, peers: 2, mesh: true, how: How::Free, full: false }, acts }
}

/// One fault in one work at each access, until the work is done before it comes. Gives the first schedule that fails,
/// else the last one, and how many there were.
pub(crate) fn play_through(number: usize) -> (Played, usize) {
    let mut access = 1;
    loop {
        let played = play_script(&script(number, access), false);
        if played.failed.is_some() || played.struck == 0 {
            return (played, access);
        }
        access += 1;
    }
}
