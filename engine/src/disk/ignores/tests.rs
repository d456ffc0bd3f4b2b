//! Ignore files that come from anybody: whatever is in them, they are rules, and what is looked at is judged.

use pfs_fixtures::damage::damaged;
use proptest::prelude::*;

use super::*;

const SAMPLES: [&str; 6] = [
    "target/\n*.o\n!keep.o\n/build\n# a comment\n",
    "**/a/**\n[a-z]*\n[!0-9]?\n\\#x\n\\!y\ntrailing \\ \n",
    "{a,b}{c,{d,e}}\n{{{{a}}}}\n[[:alpha:]]\n[z-a]\n[\n{\n\\\n",
    "\u{e9}\ne\u{301}\n\r\n\t\n",
    "/\n//\n.\n..\n../x\n!/\n!\n**\n***\n",
    "a/b/c/d/e/f\n*/*/*/*/*/*/*/*\n",
];

fn name(text: &[u8]) -> Option<Name> {
    Name::try_from(text).ok()
}

proptest! {
    #[test]
    fn any_ignore_file_judges(
        bytes in damaged(SAMPLES.iter().map(|text| text.as_bytes().to_vec()).collect()),
        parts in prop::collection::vec(prop_oneof!["[a-f.*]{1,5}".prop_map(String::into_bytes), any::<Vec<u8>>()], 1..6),
        is_dir: bool,
    ) {
        let folders: Vec<Name> = parts.iter().filter_map(|part| name(part)).collect();
        let Some((last, folders)) = folders.split_last() else { return Ok(()) };
        let matcher = Arc::new(parse(&RelPath::root(), &bytes));
        for depth in 0..=folders.len() {
            let rules = Rules { patterns: vec![(depth, Arc::clone(&matcher))], hidden: false };
            let hidden = rules.hide(folders, last, is_dir);
            prop_assert_eq!(rules.hide(folders, last, is_dir), hidden);
            prop_assert!(!matcher.is_empty() || !hidden, "nothing is hidden by no pattern");
        }
    }
}
