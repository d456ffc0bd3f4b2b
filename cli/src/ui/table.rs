//! Aligned columns, of a whole table or of rows that come one by one.

use super::line::Line;

/// Between two columns.
const GAP: usize = 2;
/// No column is padded beyond this: one long path does not push the rest off the screen.
const PAD_MAX: usize = 48;
/// Rows that a pager looks at before it prints them.
const PAGE: usize = 128;

/// Which side of a column is even.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows with as many cells as there are columns.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(Align, usize)>,
    rows: Vec<Vec<Line>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(columns: impl IntoIterator<Item = Align>) -> Self {
        Self { columns: columns.into_iter().map(|align| (align, 0)).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Line>) {
        let cells: Vec<_> = cells.into_iter().collect();
        for ((_, width), cell) in self.columns.iter_mut().zip(&cells) {
            *width = (*width).max(cell.width().min(PAD_MAX));
        }
        self.rows.push(cells);
    }

    /// Takes the rows out, aligned. The columns keep their widths, so that later rows line up.
    pub(crate) fn take(&mut self) -> Vec<Line> {
        let rows = std::mem::take(&mut self.rows);
        rows.into_iter().map(|cells| self.align(cells)).collect()
    }

    fn align(&self, cells: Vec<Line>) -> Line {
        let mut line = Line::new();
        let mut gap = 0;
        for (cell, (align, width)) in cells.into_iter().zip(&self.columns).filter(|(_, (_, width))| *width > 0) {
            let pad = width.saturating_sub(cell.width());
            line = match align {
                Align::Left => line.text(" ".repeat(gap)).line(cell).text(" ".repeat(pad)),
                Align::Right => line.text(" ".repeat(gap + pad)).line(cell),
            };
            gap = GAP;
        }
        line
    }
}

/// A table of any length: aligned page by page.
#[derive(Debug)]
pub(crate) struct Pager(Table);

impl Pager {
    /// An empty one.
    pub(crate) fn new(columns: impl IntoIterator<Item = Align>) -> Self {
        Self(Table::new(columns))
    }

    /// Adds a row; gives the lines that are now to be printed.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Line>) -> Vec<Line> {
        self.0.row(cells);
        if self.0.rows.len() < PAGE { Vec::new() } else { self.0.take() }
    }

    /// The last lines.
    pub(crate) fn end(mut self) -> Vec<Line> {
        self.0.take()
    }
}

#[cfg(test)]
mod tests {
    use super::{Align, PAGE, Pager, Table};
    use crate::ui::Line;

    fn text(lines: &[Line]) -> String {
        lines.iter().map(|line| line.render(false)).collect()
    }

    #[test]
    fn columns_line_up_whatever_the_script() {
        let mut table = Table::new([Align::Left, Align::Left, Align::Left, Align::Right]);
        table.row(["", "日本", "", "1 B"].map(Line::from));
        table.row(["", "abc", "", "1.27 GB"].map(Line::from));
        assert_eq!(text(&table.take()), "日本      1 B\nabc   1.27 GB\n", "an empty column takes no room");
    }

    #[test]
    fn a_pager_prints_every_row_once() {
        let mut pager = Pager::new([Align::Right]);
        let mut lines = Vec::new();
        for n in 0..=2 * PAGE {
            lines.extend(pager.row([Line::from(n.to_string())]));
        }
        assert_eq!(lines.len(), 2 * PAGE);
        lines.extend(pager.end());
        let numbers: Vec<usize> = text(&lines).lines().map(|line| line.trim().parse().unwrap()).collect();
        assert!(numbers.into_iter().eq(0..=2 * PAGE));
    }
}
