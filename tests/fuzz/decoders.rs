//! A target for each decoder of values that peers send.

use pfs_engine::model::codec;
use pfs_engine::model::entry::SignedEntry;
use pfs_engine::model::frontier::Frontier;
use pfs_engine::model::ids::{NodeId, PatchId};
use pfs_engine::model::name::{Name, RelPath};
use pfs_engine::model::patch::Patch;
use pfs_net::Ticket;
use pfs_net::proto::frame::{FrameDecoder, framed};
use pfs_net::proto::limits::STRANGER_FRAME_BYTES_MAX;
use pfs_net::proto::message::{Message, MessageError, Want};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::samples::{self, encoded};
use crate::{Checked, fuzz, within};

/// What decoding may take: for each byte of the input, because a short encoding can be that of a longer value; and
/// before that, because a list that claims to be long has room made for a mebibyte of it, and lists lie in lists.
const MEMORY: (usize, usize) = (4 << 20, 64);

/// What decodes encodes to the same bytes.
fn canonical<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<Option<T>, TestCaseError> {
    let value = within(bytes, MEMORY, || codec::decode::<T>(bytes))?;
    if let Ok(value) = &value {
        prop_assert_eq!(codec::encode(value), bytes, "one value, one encoding");
    }
    Ok(value.ok())
}

#[test]
fn entries() {
    let samples = encoded(samples::entries());
    fuzz("entries", samples, |bytes| {
        if let Some(signed) = canonical::<SignedEntry>(bytes)? {
            // Whoever changed it has no key: only what was not changed passes.
            let is_sound = within(bytes, MEMORY, || signed.check())?.is_ok();
            prop_assert!(!is_sound || samples::entries().contains(&signed), "a forged entry passes");
        }
        Ok(())
    });
}

#[test]
fn patches() {
    fuzz("patches", encoded(samples::patches()), |bytes| {
        let Some(patch) = canonical::<Patch>(bytes)? else { return Ok(()) };
        if patch.check(samples::volume()).is_ok() {
            prop_assert!(patch.node != NodeId::ROOT);
            prop_assert_eq!(codec::decode::<Patch>(&codec::encode(&patch)).map(|again| again.id()), Ok(patch.id()));
        }
        Ok(())
    });
}

#[test]
fn frontiers() {
    let samples = encoded([Frontier::default(), samples::frontier(1), samples::frontier(200)]);
    fuzz("frontiers", samples, |bytes| canonical::<Frontier>(bytes).map(drop));
}

#[test]
fn messages() {
    fuzz("messages", samples::messages().iter().map(Message::encode).collect(), |bytes| {
        match within(bytes, MEMORY, || Message::decode(bytes))? {
            Ok(message) => prop_assert_eq!(message.encode(), bytes, "one value, one encoding"),
            Err(MessageError::Decode(_) | MessageError::Bounds { .. }) => {}
            Err(error) => prop_assert!(false, "{error}"),
        }
        Ok(())
    });
}

#[test]
fn wants() {
    fuzz("wants", vec![samples::want().encode()], |bytes| {
        if let Ok(want) = within(bytes, MEMORY, || Want::decode(bytes))? {
            prop_assert_eq!(want.encode(), bytes, "one value, one encoding");
        }
        Ok(())
    });
}

/// A stream of frames as it comes over a connection, in pieces of any length: what is kept is what has arrived.
#[test]
fn frames() {
    let stream: Vec<u8> = samples::messages().iter().flat_map(|message| framed(&message.encode())).collect();
    let first = framed(&samples::messages()[0].encode());
    fuzz("frames", vec![stream, first], |bytes| {
        for cut in [1, 7, 1000] {
            let frames = within(bytes, (64 << 10, 4), || split(bytes, cut))?;
            let whole: usize = frames.iter().map(|len| len + 4).sum();
            prop_assert!(whole <= bytes.len());
            prop_assert_eq!(frames, split(bytes, bytes.len().max(1)), "however they are cut");
        }
        Ok(())
    });
}

/// The lengths of the frames of a stream, up to the first that is too long.
fn split(bytes: &[u8], cut: usize) -> Vec<usize> {
    let (mut decoder, mut frames) = (FrameDecoder::default(), Vec::new());
    for piece in bytes.chunks(cut) {
        decoder.push(piece);
        loop {
            match decoder.next_frame(STRANGER_FRAME_BYTES_MAX) {
                Ok(Some(body)) => frames.push(body.len()),
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
    }
    frames
}

#[test]
fn tickets() {
    let ticket = samples::ticket();
    let texts = [ticket.to_string(), format!(" {}\n", ticket.to_string().to_ascii_uppercase())];
    fuzz("tickets", texts.map(String::into_bytes).to_vec(), |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(read) = within(bytes, MEMORY, || text.parse::<Ticket>())? {
            prop_assert_eq!(&read, &ticket, "a changed ticket passes");
            prop_assert_eq!(read.to_string(), text.trim().to_ascii_lowercase());
        }
        Ok(())
    });
}

#[test]
fn names_and_paths() {
    let samples = ["a", "..", ".pfs", "a/../b", "./x//y", "\u{e9}", "e\u{301}", "a\nb", "a\0b"];
    let long = ["x".repeat(255), "x".repeat(256), "d/".repeat(300)];
    let samples = samples.iter().map(|text| text.as_bytes().to_vec()).chain(long.map(String::into_bytes));
    fuzz("names_and_paths", samples.collect(), |bytes| {
        if let Ok(name) = Name::try_from(bytes) {
            sound_name(&name)?;
            prop_assert_eq!(name.as_bytes(), bytes);
            prop_assert_eq!(codec::decode::<Name>(&codec::encode(&name)), Ok(name));
        }
        if let Ok(name) = codec::decode::<Name>(bytes) {
            sound_name(&name)?;
        }
        if let Ok(path) = within(bytes, MEMORY, || RelPath::parse(bytes))? {
            path.0.iter().try_for_each(sound_name)?;
            prop_assert_eq!(RelPath::parse(&path.to_bytes()), Ok(path));
        }
        Ok(())
    });
}

/// Nothing that leads elsewhere, into pfs's own, or does things to a terminal.
fn sound_name(name: &Name) -> Checked {
    let bytes = name.as_bytes();
    prop_assert!((1..=255).contains(&bytes.len()) && !bytes.contains(&b'/'));
    prop_assert!(bytes.iter().all(|byte| *byte >= 0x20 && *byte != 0x7f));
    prop_assert!(![&b"."[..], b"..", b".pfs"].contains(&bytes));
    Ok(())
}

#[test]
fn ids() {
    let samples = [PatchId([0xab; 32]).to_string(), "0".repeat(63), "0".repeat(65)];
    fuzz("ids", samples.map(String::into_bytes).to_vec(), |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(id) = within(bytes, (1000, 16), || text.parse::<PatchId>())? {
            prop_assert_eq!(id.to_string(), text);
        }
        Ok(())
    });
}
