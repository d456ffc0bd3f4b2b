//! Every pair of deeds of two users, in every order in which they can come together.

use super::schedule::Script;
use super::world::{How, Plan};

/// What stands there before: made by the first, known to both.
const BASE: &str = "A write a a000; A mkdir d; A write d/b b000; A mkdir d/e; A mkdir f; rest";

/// What a user does.
const DEEDS: [&str; 17] = [
    "write a 1111",
    "save a 22222",
    "append a 3",
    "rm a",
    "mv a c",
    "mv a d/a",
    "chmod a 700",
    "mv a d/b",
    "write c 4444",
    "link c a",
    "mkdir c",
    "rm d",
    "mv d c",
    "mv d f/d",
    "write d/b 5555",
    "write d/e/n 6666",
    "swap a d",
];

/// How the deeds of two users come together. `A!` is what the first does, `B!` the second; `talk` lets everything
/// happen on their connection, but nothing on their disks.
const ORDERS: [&str; 5] = [
    // One knows of the other's.
    "A!; rest; B!; rest",
    // They meet only afterwards.
    "A parts B; A!; B!; A captures; B captures; rest",
    "A parts B; A!; B!; B captures; A captures; tick 5000; rest",
    // The log of the one knows of it, its disk does not.
    "A!; A captures; talk; B!; B works; rest",
    // It was done, and is captured only when the log knows of the other's.
    "B!; A!; A captures; talk; tick 200; B captures; rest",
];

fn script(order: &str, first: &str, second: &str) -> Script {
    let talk = (0..12).flat_map(|pick| [format!("A hears B {pick}"), format!("B hears A {pick}")]);
    let talk = talk.collect::<Vec<_>>().join("; ");
    let order = order.replace("A!", &format!("A {first}")).replace("B!", &format!("B {second}")).replace("talk", &talk);
    let acts = format!("{BASE}; {order}").split(';').map(|act| act.parse().expect("an act")).collect();
    let how = if order.contains("rest; B") { How::Turns } else { How::Free };
    Script { plan: Plan { seed: 1, peers: 2, mesh: true, how, full: false }, acts }
}

/// All of them.
pub(crate) fn scripts() -> Vec<Script> {
    let pairs = DEEDS.iter().flat_map(|first| DEEDS.map(|second| (*first, second)));
    pairs.flat_map(|(first, second)| ORDERS.map(|order| script(order, first, second))).collect()
}
