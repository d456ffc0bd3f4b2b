//! RocksDB behind the tables, tuned for one load: many small rows, rarely read twice, and chunks that are written
//! once, never changed, and far larger than all rows together.
//!
//! Chunks go to blob files: written once, not rewritten by compaction, and not through the log of changes unless
//! they ride in a small batch. All memory is bounded here.

use std::ops::ControlFlow;
use std::path::Path;

use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, ColumnFamilyDescriptor, CompactOptions, DB, DBCompressionType,
    ErrorKind, LogLevel, Options, ReadOptions, SliceTransform, WriteBatch, WriteBufferManager, WriteOptions,
};

use super::backend::{Backend, Change, Changes, Direction, Durability, Visit};
use super::error::StoreError;
use super::schema::{FORMAT_KEY, FORMAT_VERSION, Span, Table};

/// Chunks in memory before they go to a blob file, which gets this size too.
const CHUNK_BUFFER_BYTES: usize = 32 << 20;
/// One more may be on its way to disk while the next fills.
const CHUNK_BUFFERS: i32 = 2;
/// Smaller chunks stay with their keys, where compaction rewrites them: of a tree of source code 512 writes 40 %
/// less than 4096 does, and takes up 2 % more, for a blob costs about 75 bytes.
const BLOB_BYTES_MIN: u64 = 512;
/// Rows of one table in memory.
const ROW_BUFFER_BYTES: usize = 8 << 20;
/// Everything in memory that is not on disk yet; beyond it the oldest goes to disk.
const ALL_BUFFERS_BYTES: usize = 80 << 20;
/// Blocks read from disk, indexes and filters included.
const CACHE_BYTES: usize = 32 << 20;
/// Blocks of tables that are read a row here and a row there; others have larger ones, which pack better.
const POINT_BLOCK_BYTES: usize = 4 << 10;
const RANGE_BLOCK_BYTES: usize = 16 << 10;
/// One key in a hundred that is not there costs a look on disk.
const BLOOM_BITS: f64 = 10.0;
/// The log of changes; beyond it the tables it covers go to disk. It bounds what a restart reads.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// Files open at a time.
const OPEN_FILES_MAX: i32 = 512;
/// RocksDB's own diary: this large, and one older.
const DIARY_BYTES_MAX: usize = 1 << 20;

/// An open data base.
pub(super) struct Rocks {
    db: DB,
}

impl Rocks {
    /// Opens the data base in `dir`, or makes one.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let options = database_options();
        // Absent is not an error here: opening makes what is not there.
        if let Ok(names) = DB::list_cf(&options, dir)
            && !has_our_tables(&names)
        {
            refuse_other_format(&options, dir)?;
        }
        let cache = Cache::new_lru_cache(CACHE_BYTES);
        let tables = Table::ALL.map(|table| ColumnFamilyDescriptor::new(table.name(), table_options(table, &cache)));
        let db = DB::open_cf_descriptors(&options, dir, tables).map_err(|error| open_error(error, dir))?;
        Ok(Self { db })
    }

    fn family(&self, table: Table) -> &rocksdb::ColumnFamily {
        self.db.cf_handle(table.name()).expect("every table was opened or made")
    }
}

/// Whether a data base is in `dir`. Where this file is missing RocksDB takes what is there for nothing.
pub(super) fn is_at(dir: &Path) -> bool {
    dir.join("CURRENT").exists()
}

fn has_our_tables(names: &[String]) -> bool {
    names.len() == Table::ALL.len() && Table::ALL.iter().all(|table| names.iter().any(|name| name == table.name()))
}

/// Refuses a data base with other tables than ours before anything of it is changed, unless its making was cut
/// short before it got a version.
fn refuse_other_format(options: &Options, dir: &Path) -> Result<(), StoreError> {
    let db = DB::open_cf_for_read_only(options, dir, [Table::Meta.name()], false).map_err(|e| open_error(e, dir))?;
    match db.get(FORMAT_KEY).map_err(fault)? {
        None => Ok(()),
        Some(bytes) if bytes == FORMAT_VERSION.to_be_bytes() => {
            Err(StoreError::corrupt("it lacks tables of its format, or has others"))
        }
        Some(bytes) => match <[u8; 4]>::try_from(bytes) {
            Ok(bytes) => Err(StoreError::Format { found: u32::from_be_bytes(bytes), known: FORMAT_VERSION }),
            Err(_) => Err(StoreError::corrupt("its format version is not a number")),
        },
    }
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_background_jobs(2);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_total_wal_size(LOG_BYTES_MAX);
    options.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager(ALL_BUFFERS_BYTES, false));
    // Hands pages to the disk while a file grows, so that the sync at its end has little left to do.
    options.set_bytes_per_sync(1 << 20);
    options.set_max_manifest_file_size(4 << 20);
    options.set_skip_stats_update_on_db_open(true);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(DIARY_BYTES_MAX);
    options.set_keep_log_file_num(2);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

fn table_options(table: Table, cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let by_range = matches!(table, Table::Entries | Table::Times | Table::Placed | Table::Disk | Table::Inodes);
    blocks.set_block_size(if by_range { RANGE_BLOCK_BYTES } else { POINT_BLOCK_BYTES });
    blocks.set_bloom_filter(BLOOM_BITS, false);
    blocks.set_optimize_filters_for_memory(true);

    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    if let Some(len) = table.prefix() {
        options.set_prefix_extractor(SliceTransform::create_fixed_prefix(len));
    }
    if table == Table::Chunks {
        chunk_options(&mut options);
    } else {
        options.set_write_buffer_size(ROW_BUFFER_BYTES);
        // Most keys that a commit asks for are not there: no walk through the buffer to find that out.
        options.set_memtable_prefix_bloom_ratio(0.02);
        options.set_memtable_whole_key_filtering(true);
        options.set_compression_type(DBCompressionType::Zstd);
    }
    options
}

fn chunk_options(options: &mut Options) {
    options.set_write_buffer_size(CHUNK_BUFFER_BYTES);
    options.set_max_write_buffer_number(CHUNK_BUFFERS);
    options.set_compression_type(DBCompressionType::None);
    options.set_enable_blob_files(true);
    options.set_blob_gc_age_cutoff(1.0);
    options.set_min_blob_size(BLOB_BYTES_MIN);
    options.set_blob_file_size(CHUNK_BUFFER_BYTES as u64);
    // Blob files are not collected on the side: that rewrites a quarter of them with every compaction, garbage or
    // none. `compact` does it when chunks were removed.
    // Every durable commit of a stream may leave a small file; they are cheap to read past, dear to merge.
    options.set_level_zero_file_num_compaction_trigger(8);
}

impl Backend for Rocks {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(self.family(table), key).map_err(fault)
    }

    fn multi_get(&self, table: Table, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let values = self.db.batched_multi_get_cf(self.family(table), keys, false);
        values.into_iter().map(|value| Ok(value.map_err(fault)?.map(|bytes| bytes.to_vec()))).collect()
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        let family = self.family(table);
        if !self.db.key_may_exist_cf(family, key) {
            return Ok(false);
        }
        Ok(self.db.get_pinned_cf(family, key).map_err(fault)?.is_some())
    }

    fn scan(&self, table: Table, span: &Span, direction: Direction, visit: Visit<'_>) -> Result<(), StoreError> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(span.from.clone());
        if let Some(to) = &span.to {
            if *to <= span.from {
                return Ok(());
            }
            options.set_iterate_upper_bound(to.clone());
        }
        if table.prefix().is_some_and(|len| span.shares(len)) && direction == Direction::Ascending {
            options.set_prefix_same_as_start(true);
        } else {
            options.set_total_order_seek(true);
        }
        let mut rows = self.db.raw_iterator_cf_opt(self.family(table), options);
        match direction {
            Direction::Ascending => rows.seek(&span.from),
            Direction::Descending => rows.seek_to_last(),
        }
        while let Some((key, value)) = rows.item() {
            if visit(key, value)? == ControlFlow::Break(()) {
                return Ok(());
            }
            match direction {
                Direction::Ascending => rows.next(),
                Direction::Descending => rows.prev(),
            }
        }
        rows.status().map_err(fault)
    }

    fn write(&self, changes: Changes, durability: Durability) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        for change in changes.0 {
            match change {
                Change::Put(table, key, value) => batch.put_cf(self.family(table), key, value),
                Change::Delete(table, key) => batch.delete_cf(self.family(table), key),
                Change::DeleteRange(table, from, to) => batch.delete_range_cf(self.family(table), from, to),
            }
        }
        let mut options = WriteOptions::default();
        match durability {
            Durability::Synced => options.set_sync(true),
            Durability::Logged => {}
            Durability::Volatile => options.disable_wal(true),
        }
        self.db.write_opt(batch, &options).map_err(fault)
    }

    fn position(&self) -> u64 {
        self.db.latest_sequence_number()
    }

    fn flush(&self, table: Table) -> Result<(), StoreError> {
        self.db.flush_cf(self.family(table)).map_err(fault)
    }

    fn bytes(&self, table: Table) -> Result<u64, StoreError> {
        let family = self.family(table);
        let of = |property: &str| self.db.property_int_value_cf(family, property).map_err(fault);
        let parts = [of("rocksdb.total-sst-files-size")?, of("rocksdb.total-blob-file-size")?];
        Ok(parts.into_iter().flatten().sum())
    }

    fn compact(&self, table: Table) -> Result<(), StoreError> {
        let family = self.family(table);
        let collect = |on| self.db.set_options_cf(family, &[("enable_blob_garbage_collection", on)]).map_err(fault);
        collect("true")?;
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        self.db.compact_range_cf_opt(family, None::<&[u8]>, None::<&[u8]>, &options);
        collect("false")
    }
}

/// What RocksDB says, by what a caller does about it. It keeps the system's own words, and no numbers.
fn fault(error: rocksdb::Error) -> StoreError {
    let text = error.as_ref();
    if text.contains("No space left on device") || text.contains("Disk quota exceeded") {
        return StoreError::Full;
    }
    match error.kind() {
        ErrorKind::Corruption => StoreError::corrupt(text),
        // A file of its own, for it names no other.
        ErrorKind::IOError if text.contains("No such file or directory") => StoreError::corrupt(text),
        _ => StoreError::Io(Box::new(error)),
    }
}

fn open_error(error: rocksdb::Error, dir: &Path) -> StoreError {
    let text = error.as_ref();
    // The first is another process, the second this one.
    if text.contains("While lock file") || text.contains("lock hold by current process") {
        return StoreError::Locked { path: dir.to_owned() };
    }
    match fault(error) {
        StoreError::Corrupt { what } if !what.contains(&*dir.to_string_lossy()) => {
            StoreError::corrupt(format!("{}: {what}", dir.display()))
        }
        other => other,
    }
}
