//! Every bound of the engine, with its reason. What comes from a peer or from disk is measured against these
//! before anything is allocated for it.

/// One path component; the bound of every file system in use.
pub const NAME_BYTES_MAX: usize = 255;
/// Names in a path of the tree. One bound for what is captured and what is shown, so that every peer can show
/// what another has captured; what a path costs grows with it. `PATH_MAX` comes to as many names of 15 bytes.
pub const DEPTH_MAX: usize = 255;
/// Names in a path on disk, where a move has taken along what then lies deeper than that: whoever goes up more
/// steps goes round in a ring.
pub const DISK_DEPTH_MAX: usize = 1 << 16;
/// What people call a peer or a volume; every member keeps and prints it.
pub const CALLED_BYTES_MAX: usize = 100;
/// The target of a symlink; Linux's `PATH_MAX`.
pub const SYMLINK_BYTES_MAX: usize = 4096;
/// All extended attributes of a node together; ext4 holds 64 KiB.
pub const XATTR_BYTES_MAX: usize = 64 << 10;
/// Patches that one patch supersedes in one register: as many sides as a fork can sensibly have. A chain of patches
/// supersedes more.
pub const SUPERSEDES_MAX: usize = 64;
/// Patches of one entry: with `ENTRY_BYTES_MAX` it bounds what one commit and one message hold.
pub const ENTRY_PATCHES_MAX: usize = 10_000;
/// The encoding of one entry.
pub const ENTRY_BYTES_MAX: usize = 4 << 20;
/// Logs that one peer can say it has: every peer has one, and another for each time that it lost its last entries.
pub const LOGS_MAX: usize = 1 << 16;
/// Logs that one entry can depend on anew; entries without patches go before one that depends on more.
pub const ENTRY_DEPS_MAX: usize = 4096;

/// Files up to this stay whole: one chunk, no manifest.
pub const CHUNK_BYTES_MIN: usize = 16 << 10;
/// What content-defined chunks come to on average.
pub const CHUNK_BYTES_AVG: usize = 64 << 10;
/// No chunk is larger, raw.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;
/// Pieces listed in one chunk of a manifest, at least, unless it is the last of its level: every level is this many
/// times shorter than the one below it.
pub const MANIFEST_PIECES_MIN: usize = 16;
/// Pieces listed in one chunk of a manifest, at most: keeps every list below `CHUNK_BYTES_MAX`.
pub const MANIFEST_PIECES_MAX: usize = 1024;
/// Levels of lists: 1024⁴ pieces are far more than a file can have.
pub const MANIFEST_DEPTH_MAX: u8 = 8;

/// Entries dated further ahead of this machine than this are refused: somebody's clock is wrong.
pub const CLOCK_AHEAD_MS_MAX: u64 = 24 * 3600 * 1000;
/// An ignore file is read up to here; far more than anyone writes by hand.
pub const IGNORE_FILE_BYTES_MAX: u64 = 1 << 20;
/// A file of pfs's home (keys, settings, the list of volumes).
pub const HOME_FILE_BYTES_MAX: u64 = 1 << 20;
/// Directories that one batch of steps keeps open at once; a process has 1024 descriptors by default.
pub const OPEN_DIRS_MAX: usize = 64;
/// Up to this many files or directories are synced one by one: it spares everyone else's dirty pages. For more,
/// one sync of the whole file system is faster.
pub const SYNC_EACH_MAX: usize = 4;
/// Contents fetched at the same time: enough small files to fill a few asks of every peer.
pub const FETCH_CONTENTS_MAX: usize = 4096;
/// Chunks of long contents that are looked for at the same time; about 200 bytes of memory each.
pub const FETCH_CHUNKS_MAX: usize = 16 << 10;
/// What those chunks come to, raw, before another list is opened.
pub const FETCH_BYTES_MAX: u64 = 512 << 20;
/// Asks that a peer has not answered yet: one on its way out, one being read, one on its way back.
pub const FETCH_ASKS_MAX: usize = 3;
/// What one ask is expected to bring, raw.
pub const ASK_BYTES_MAX: u64 = 4 << 20;
/// Chunks of one ask: as many as the network puts into one request.
pub const ASK_CHUNKS_MAX: usize = 128;
/// Without an answer for so long, another peer may be asked as well: far longer than any sound link takes.
pub const FETCH_LATE_MS: u64 = 5000;

const _: () = assert!(MANIFEST_PIECES_MIN > 1 && MANIFEST_PIECES_MIN < MANIFEST_PIECES_MAX, "levels get shorter");
const _: () = assert!(CHUNK_BYTES_MIN < CHUNK_BYTES_AVG && CHUNK_BYTES_AVG < CHUNK_BYTES_MAX);
const _: () = assert!(MANIFEST_PIECES_MAX * 48 < CHUNK_BYTES_MAX, "a full list fits into a chunk");

/// Files read and committed together: well below an entry's patches.
pub const BATCH_FILES: usize = 2000;
/// Bytes read and committed together; a larger file is a batch of its own.
pub const BATCH_BYTES: u64 = 48 << 20;
/// New chunks up to this ride in the synced write of the commit; more go to the blob files first.
pub const CHUNKS_INLINE_BYTES_MAX: u64 = 1 << 20;
const _: () = assert!(BATCH_FILES < ENTRY_PATCHES_MAX);

/// Files that go at once before it can be an accident: fewer are seen and brought back by hand.
pub const LOSS_FILES_MIN: u64 = 100;
/// Deletes of this long count as one: no `rm -rf` pauses longer.
pub const LOSS_WITHIN_MS: u64 = 60_000;
/// From so many files on, a delete that goes on is waited for; people delete fewer one by one.
pub const LOSS_WAIT_FROM: u64 = 16;
/// A delete has ended when nothing more goes for so long.
pub const LOSS_QUIET_MS: u64 = 500;
const _: () = assert!(LOSS_WAIT_FROM * 2 < LOSS_FILES_MIN, "what is written ahead is the lesser part");

/// Patches of other peers taken in by one commit, unless one entry has more: some 5 KB of memory each.
pub const RECEIVE_PATCHES: usize = 4000;
/// Nodes being brought up to date that are kept in mind at once: some 600 bytes each.
pub const WINDOW_NODES: usize = 16_384;
/// Nodes carried out, synced and committed together.
pub const STEP_BATCH_NODES: usize = 2000;
/// Bytes written to the tree before one sync.
pub const STEP_BATCH_BYTES: u64 = 64 << 20;
/// Pieces of one file that are gone through to find out how much of it is holes: some 64 GB, in about a second.
pub const SPARSE_PIECES_MAX: usize = 1 << 20;
/// Pieces of a file may be this short on average, once there are more than `PIECES_SMALL_MAX`: a sixteenth of what a
/// chunk has at least that is not the last one.
pub const PIECE_BYTES_MIN: u64 = CHUNK_BYTES_MIN as u64 / 16;
/// So many pieces can be of any length.
pub const PIECES_SMALL_MAX: u64 = 1 << 16;
/// Pieces of one level of a file that are compared with another's: those of some 16 GB, in some 80 MB of memory.
pub const COMPARED_PIECES_MAX: usize = 1 << 18;
/// Chunks looked up in the store at once.
pub const LOOKUPS_MAX: usize = 1024;
/// Longer files are not compared line by line, nor merged: nobody reads that, and it takes long where all differs.
pub const TEXT_BYTES_MAX: u64 = 512 << 10;
/// Earlier versions that are looked through for whether a patch brings one of them back: some 5 µs each.
pub const LOOK_BACK_MAX: usize = 1024;
const _: () = assert!(MANIFEST_PIECES_MAX <= FETCH_CHUNKS_MAX, "a full list can be opened");
