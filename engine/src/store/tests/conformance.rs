//! RocksDB and memory, asked the same, answer the same.

use std::ops::ControlFlow;

use proptest::prelude::*;

use super::super::backend::{Backend, Change, Changes, Direction, Durability};
use super::super::memory::Medium;
use super::super::rocks::Rocks;
use super::super::schema::{Span, Table};

type Row = (Vec<u8>, Vec<u8>);

fn scan(backend: &dyn Backend, table: Table, span: &Span, direction: Direction, n: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let visit = &mut |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        Ok(if rows.len() < n { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    };
    backend.scan(table, span, direction, visit).unwrap();
    rows
}

/// Tables with and without key prefix, with and without blobs.
fn tables() -> impl Strategy<Value = Table> {
    prop::sample::select(vec![Table::Nodes, Table::Disk, Table::Inodes, Table::Chunks])
}

/// Few keys, many of which share prefixes of the lengths that matter, or end in the highest byte.
fn keys() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop::sample::select(vec![0_u8, 1, 0xff]);
    let tail = prop::collection::vec(byte.clone(), 0..3);
    (byte, prop::sample::select(vec![0_usize, 4, 31, 32, 36]), tail)
        .prop_map(|(byte, len, tail)| [vec![byte; len], tail].concat())
}

fn values() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), prop::sample::select(vec![0_usize, 1, 511, 512, 5000])).prop_map(|(byte, len)| vec![byte; len])
}

fn spans() -> impl Strategy<Value = Span> {
    let prefix = keys().prop_map(Span::prefix);
    let between = (keys(), prop::option::of(keys())).prop_map(|(from, to)| Span { from, to });
    let after = (keys(), keys()).prop_map(|(prefix, key)| Span::prefix(prefix).after(&key));
    prop_oneof![prefix, between, after]
}

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<Change>, bool),
    Flush(Table),
    Compact(Table),
    Reopen,
}

fn steps() -> impl Strategy<Value = Step> {
    let change = prop_oneof![
        6 => (tables(), keys(), values()).prop_map(|(table, key, value)| Change::Put(table, key, value)),
        2 => (tables(), keys()).prop_map(|(table, key)| Change::Delete(table, key)),
        1 => (tables(), keys(), keys()).prop_map(|(table, a, b)| {
            let (from, to) = if a <= b { (a, b) } else { (b, a) };
            Change::DeleteRange(table, from, to)
        }),
    ];
    prop_oneof![
        8 => (prop::collection::vec(change, 1..12), any::<bool>()).prop_map(|(changes, logged)| Step::Write(changes, logged)),
        2 => tables().prop_map(Step::Flush),
        1 => tables().prop_map(Step::Compact),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn both_backends_answer_alike(
        steps in prop::collection::vec(steps(), 1..24),
        looks in prop::collection::vec((tables(), spans(), any::<bool>(), 1..9_usize), 1..40),
        asked in prop::collection::vec((tables(), keys()), 1..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let memory = Medium::new();
        let mut rocks = Rocks::open(dir.path()).unwrap();
        for step in steps {
            match step {
                Step::Write(changes, logged) => {
                    let durability = if logged { Durability::Logged } else { Durability::Volatile };
                    memory.write(Changes(changes.clone()), durability).unwrap();
                    rocks.write(Changes(changes), durability).unwrap();
                }
                Step::Flush(table) => rocks.flush(table).unwrap(),
                Step::Compact(table) => rocks.compact(table).unwrap(),
                Step::Reopen => {
                    for table in Table::ALL {
                        rocks.flush(table).unwrap();
                    }
                    drop(rocks);
                    rocks = Rocks::open(dir.path()).unwrap();
                }
            }
        }
        for (table, span, ascending, n) in looks {
            let direction = if ascending { Direction::Ascending } else { Direction::Descending };
            let rows = scan(&memory, table, &span, direction, n);
            prop_assert_eq!(&scan(&rocks, table, &span, direction, n), &rows, "{:?} {:?}", table, span);
        }
        for table in Table::ALL {
            let keys: Vec<_> = asked.iter().filter(|(of, _)| *of == table).map(|(_, key)| key.clone()).collect();
            let values = memory.multi_get(table, &keys).unwrap();
            prop_assert_eq!(&rocks.multi_get(table, &keys).unwrap(), &values);
            for (key, value) in keys.iter().zip(values) {
                prop_assert_eq!(rocks.has(table, key).unwrap(), value.is_some());
                prop_assert_eq!(memory.has(table, key).unwrap(), value.is_some());
                prop_assert_eq!(&memory.get(table, key).unwrap(), &value);
                prop_assert_eq!(rocks.get(table, key).unwrap(), value);
            }
        }
    }

    #[test]
    fn spans_hold_what_they_say(prefix in keys(), key in keys(), len in 0..40_usize) {
        let span = Span::prefix(prefix.clone());
        let inside = key >= span.from && span.to.as_ref().is_none_or(|to| key < *to);
        prop_assert_eq!(inside, key.starts_with(&prefix));
        prop_assert_eq!(span.shares(len), prefix.len() >= len);
    }
}

#[test]
fn later_changes_of_a_batch_win() {
    let dir = tempfile::tempdir().unwrap();
    let backends: [Box<dyn Backend>; 2] = [Box::new(Medium::new()), Box::new(Rocks::open(dir.path()).unwrap())];
    for backend in backends {
        let put = |value: &[u8]| Change::Put(Table::Disk, vec![5; 40], value.to_vec());
        let changes = vec![put(b"a"), Change::Delete(Table::Disk, vec![5; 40]), put(b"b")];
        backend.write(Changes(changes), Durability::Synced).unwrap();
        assert_eq!(backend.get(Table::Disk, &[5; 40]).unwrap(), Some(b"b".to_vec()));

        let all = Change::DeleteRange(Table::Disk, vec![5], vec![6]);
        backend.write(Changes(vec![put(b"c"), all]), Durability::Synced).unwrap();
        assert_eq!(backend.get(Table::Disk, &[5; 40]).unwrap(), None);
    }
}

#[test]
fn a_scan_shows_the_rows_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let backends: [Box<dyn Backend>; 2] = [Box::new(Medium::new()), Box::new(Rocks::open(dir.path()).unwrap())];
    for backend in backends {
        for n in 0..3 {
            let put = Change::Put(Table::Stale, vec![n], vec![]);
            backend.write(Changes(vec![put]), Durability::Logged).unwrap();
        }
        let mut seen = Vec::new();
        let span = Span::prefix(vec![]);
        backend
            .scan(Table::Stale, &span, Direction::Ascending, &mut |key, _| {
                let changes = vec![Change::Delete(Table::Stale, vec![2]), Change::Put(Table::Stale, vec![9], vec![])];
                backend.write(Changes(changes), Durability::Logged)?;
                seen.extend_from_slice(key);
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
        assert_eq!(seen, [0, 1, 2]);
    }
}
