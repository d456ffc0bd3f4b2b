//! A bar for long work, on a terminal only.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::human;
use crate::api::types::{self, Stage};

/// How often it moves.
const TICK: Duration = Duration::from_millis(100);

/// Shows how far long work has come, or nothing.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// On standard error.
    pub(super) fn visible() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(style(false));
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// Nowhere.
    pub(super) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Shows a report.
    pub(crate) fn show(&self, report: &types::Progress) {
        let total = report.bytes_total.filter(|&total| total > 0);
        if let Some(total) = total {
            self.0.set_length(total);
        }
        self.0.set_style(style(total.is_some()));
        self.0.set_position(report.bytes);
        self.0.set_message(describe(report));
    }
}

/// The bar goes when the work ends, however it ends.
impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn style(has_total: bool) -> ProgressStyle {
    let template = if has_total {
        "{msg}  {bar:30} {percent:>3} %  {decimal_bytes_per_sec}, {eta} left"
    } else {
        "{spinner} {msg}  {elapsed}"
    };
    ProgressStyle::with_template(template).expect("the template is valid")
}

fn describe(report: &types::Progress) -> String {
    let stage = match report.stage {
        Stage::Scanning => "scanning",
        Stage::Capturing => "capturing",
        Stage::Fetching => "fetching",
        Stage::Writing => "writing",
        Stage::Verifying => "verifying",
    };
    let files = match report.files_total {
        Some(total) => format!("{} of {} files, ", human::count(report.files), human::count(total)),
        // Not everything is done file by file.
        None if report.files == 0 => String::new(),
        None => format!("{}, ", human::counted(report.files, "file", "files")),
    };
    format!("{stage}: {files}{}", human::size(report.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_in_words() {
        let mut report = types::Progress {
            stage: Stage::Fetching,
            files: 1200,
            bytes: 5_000_000,
            files_total: None,
            bytes_total: None,
        };
        assert_eq!(describe(&report), "fetching: 1 200 files, 5.00 MB");
        report.files_total = Some(78_624);
        assert_eq!(describe(&report), "fetching: 1 200 of 78 624 files, 5.00 MB");
        let report = types::Progress { stage: Stage::Verifying, files: 0, files_total: None, ..report };
        assert_eq!(describe(&report), "verifying: 5.00 MB");
    }
}
