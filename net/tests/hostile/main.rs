//! A hostile peer against real engines behind real nodes: whatever it says ends its connection at the most, and
//! nothing else: honest peers go on, nothing outside their trees is touched, and memory and descriptors stay inside
//! the limits.

mod contents;
mod floods;
mod raw;
mod sessions;
mod trees;
mod world;

#[global_allocator]
static HEAP: pfs_heap::Counted = pfs_heap::Counted;
