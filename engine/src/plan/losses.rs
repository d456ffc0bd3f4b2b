//! Whether what is gone from a tree is to be written down as deleted. A delete goes to every member, so much of a
//! volume at once is first shown to a person. A live engine sees a large delete in slices: while one goes on it
//! waits for the end, and what it wrote within the last minute counts, too.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::limits::{LOSS_FILES_MIN, LOSS_QUIET_MS, LOSS_WAIT_FROM, LOSS_WITHIN_MS};

/// So much went at once that only a person can say that it was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Files that are gone, those of the last minute that are written down as deleted included.
    pub files: u64,
    /// Of so many.
    pub of: u64,
    /// Since when, wall-clock milliseconds since 1970.
    pub since_ms: u64,
}

/// What a look at the disk may do with the deletes that it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// Write them down.
    Write,
    /// Nothing yet: look again at that time, in the same milliseconds.
    Wait(u64),
    /// Nothing: stand still.
    Halt(Loss),
}

/// What went from one volume lately.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Losses {
    /// Deletes that were written down: when, how many files.
    written: VecDeque<(u64, u64)>,
    /// A delete that goes on, perhaps: since when, and how many files were gone at the last look.
    going: Option<(u64, u64)>,
}

impl Losses {
    /// Judges a look that found `gone` of the `files` on record gone; `is_broad`: with at least half of what stood in
    /// the root. What goes from one corner of a tree is work, however much it is: `git gc`, `make clean`. `stood` is what the volume stands still for,
    /// if it does. Who is asked to write down everything `may_wait` no longer.
    pub fn judge(
        &mut self,
        (gone, files, is_broad): (u64, u64, bool),
        stood: Option<Loss>,
        now_ms: u64,
        may_wait: bool,
    ) -> Verdict {
        while self.written.front().is_some_and(|(at_ms, _)| at_ms.saturating_add(LOSS_WITHIN_MS) < now_ms) {
            self.written.pop_front();
        }
        if gone == 0 {
            return Verdict::Write;
        }
        let before: u64 = self.written.iter().map(|(_, files)| files).sum();
        let (lost, of) = (before + gone, before + files);
        let (began_ms, last) = self.going.unwrap_or((now_ms, 0));
        let goes_on = last != gone && now_ms.saturating_sub(began_ms) < LOSS_WITHIN_MS;
        if may_wait && stood.is_none() && lost >= LOSS_WAIT_FROM && goes_on {
            self.going = Some((began_ms, gone));
            return Verdict::Wait(now_ms + LOSS_QUIET_MS);
        }
        self.going = None;
        // Once a volume stands still, less than half is no reason to go on: somebody may be putting files back.
        if lost >= LOSS_FILES_MIN && (lost > of / 2 && is_broad || stood.is_some()) {
            let first_ms = self.written.front().map_or(began_ms, |(at_ms, _)| *at_ms);
            return Verdict::Halt(Loss { files: lost, of, since_ms: stood.map_or(first_ms, |loss| loss.since_ms) });
        }
        self.written.push_back((now_ms, gone));
        Verdict::Write
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look that was asked for, in a volume that does not stand still.
    fn asked(losses: &mut Losses, gone: u64, files: u64, now_ms: u64) -> Verdict {
        losses.judge((gone, files, true), None, now_ms, false)
    }

    #[test]
    fn more_than_half_and_not_few_halts() {
        let halts = |gone, files| matches!(asked(&mut Losses::default(), gone, files, 0), Verdict::Halt(_));
        let min = LOSS_FILES_MIN;
        assert!(halts(min, min) && halts(min, 2 * min - 1) && halts(10_001, 20_000));
        assert!(!halts(min - 1, min) && !halts(min, 2 * min) && !halts(10_000, 20_000));
    }

    #[test]
    fn what_goes_from_one_corner_is_work() {
        assert_eq!(Losses::default().judge((9900, 10_000, false), None, 0, false), Verdict::Write);
    }

    #[test]
    fn slices_of_one_minute_count_together_and_older_ones_do_not() {
        let mut losses = Losses::default();
        let (slice, mut left) = (LOSS_FILES_MIN / 4, LOSS_FILES_MIN);
        for n in 0..3 {
            assert_eq!(asked(&mut losses, slice, left, n * 1000), Verdict::Write);
            left -= slice;
        }
        let mut later = losses.clone();
        let all = Loss { files: LOSS_FILES_MIN, of: LOSS_FILES_MIN, since_ms: 0 };
        assert_eq!(asked(&mut losses, slice, left, 3000), Verdict::Halt(all));
        assert_eq!(asked(&mut later, slice, left, 3001 + LOSS_WITHIN_MS), Verdict::Write);
    }

    #[test]
    fn a_delete_that_goes_on_is_judged_at_its_end() {
        let mut losses = Losses::default();
        let mut live = |gone, now_ms| losses.judge((gone, 1000, true), None, now_ms, true);
        assert_eq!(live(LOSS_WAIT_FROM - 1, 0), Verdict::Write, "few are written at once");
        assert_eq!(live(40, 10), Verdict::Wait(10 + LOSS_QUIET_MS));
        assert_eq!(live(0, 20), Verdict::Write, "a look elsewhere");
        assert_eq!(live(400, 600), Verdict::Wait(600 + LOSS_QUIET_MS));
        assert_eq!(live(950, 1200), Verdict::Wait(1200 + LOSS_QUIET_MS));
        let loss = Loss { files: 950 + LOSS_WAIT_FROM - 1, of: 1000 + LOSS_WAIT_FROM - 1, since_ms: 0 };
        assert_eq!(live(950, 1800), Verdict::Halt(loss));
    }

    #[test]
    fn one_that_never_ends_is_not_waited_for_without_end() {
        let mut losses = Losses::default();
        let ends = (0..1000).find(|n| losses.judge((100 + n, 100_000, true), None, n * 1000, true) == Verdict::Write);
        assert_eq!(ends, Some(LOSS_WITHIN_MS / 1000));
    }

    #[test]
    fn what_stands_still_goes_on_only_when_next_to_nothing_is_gone() {
        let stood = Some(Loss { files: 900, of: 1000, since_ms: 7 });
        let mut losses = Losses::default();
        let loss = Loss { files: 300, of: 1000, since_ms: 7 };
        assert_eq!(losses.judge((300, 1000, false), stood, 90_000, true), Verdict::Halt(loss));
        assert_eq!(losses.judge((LOSS_FILES_MIN - 1, 1000, true), stood, 90_000, true), Verdict::Write);
    }
}
