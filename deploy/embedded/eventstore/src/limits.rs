//! Every maximum of the node, with its unit and what happens past it.

use std::time::Duration;

/// A segment file is closed, and the next begun, before it would grow past this.
pub const SEGMENT_BYTES: u64 = 256 * 1024 * 1024;

/// The index of a segment is written in so many parts while the segment grows. They are
/// merged when it is finished.
pub const PARTS_PER_SEGMENT: u64 = 32;
/// Parts waiting to be written to their files: opening after a crash reads so many, and the
/// one that was not finished. Past it: appends wait; Unavailable if the files cannot be
/// written.
pub const PARTS_UNWRITTEN_MAX: usize = 4;
/// Streams whose whereabouts are remembered, and how long their names may be together.
pub const STREAMS_KNOWN_MAX: usize = 131_072;
pub const STREAMS_KNOWN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Filters of parts in memory, all together; those that find no room there are asked in
/// their files.
pub const FILTERS_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Streams for which the hashes of their recent ids are remembered, once somebody appends to
/// them with `Any` or `StreamExists`.
pub const STREAMS_RECENT_MAX: usize = 4096;

/// Data and metadata of one event. Past it: `maximum-append-size-exceeded`.
pub const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Data, metadata and names of all events of one append. Past it: `maximum-append-size-exceeded`.
pub const APPEND_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Events of one append. Past it: `maximum-append-size-exceeded`.
pub const APPEND_EVENTS_MAX: usize = 32_768;
/// One gRPC message: an append of a batch comes as one.
pub const MESSAGE_BYTES_MAX: usize = APPEND_BYTES_MAX + 1024 * 1024;
/// A stream's name. Past it: InvalidArgument.
pub const STREAM_NAME_BYTES_MAX: usize = 1024;
/// An event's type. Past it: InvalidArgument.
pub const EVENT_TYPE_BYTES_MAX: usize = 1024;
/// An event's content type. Past it: InvalidArgument.
pub const CONTENT_TYPE_BYTES_MAX: usize = 256;

/// Appends received but not yet answered, all clients together. Past it: Unavailable.
pub const APPENDS_IN_FLIGHT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Appends waiting for the writer; the next ones wait on their connection.
pub const APPEND_QUEUE_MAX: usize = 1024;
/// How long one append may take to arrive. Past it: DeadlineExceeded.
pub const APPEND_RECEIVE_MAX: Duration = Duration::from_secs(60);
/// Batches of one BatchAppend call that have begun and not ended. Past it: the call ends.
pub const BATCHES_OPEN_MAX: usize = 1024;
/// The longest deadline of a batch; clients ask for more by mistake.
pub const BATCH_DEADLINE_MAX: Duration = Duration::from_secs(60);

/// One group commit: as many appends as were waiting, up to these two.
pub const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;
pub const GROUP_APPENDS_MAX: usize = 1024;
/// How long a group waits for appenders that are expected back, and between two looks.
pub const GATHER_MAX: Duration = Duration::from_millis(4);
/// Nobody is waited for on a disk that syncs faster than this: there it is better that some
/// prepare their next append while those of others are synced.
pub const GATHER_SYNC_MIN: Duration = Duration::from_millis(1);
pub const GATHER_STEP: Duration = Duration::from_micros(50);
/// Groups that do not wait after one that waited in vain, at most.
pub const GATHER_SKIPS_MAX: u32 = 32;

/// What a backup writes at once.
pub const BACKUP_WRITE_BYTES: usize = 1024 * 1024;

/// Events of a stream, from its end, whose ids an append with `Any` is compared with.
pub const IDEMPOTENCY_EVENTS: usize = 1024;

/// One page of a read: whichever is reached first (but always one event).
pub const PAGE_EVENTS_MAX: usize = 512;
pub const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Index entries looked at per page of a filtered read, so that no lock is held for long.
pub const PAGE_SCAN_MAX: usize = 8192;
/// Pages being read from disk at once; the next ones wait.
pub const PAGES_IN_FLIGHT_MAX: usize = 32;
/// Events of a page whose links are resolved: each may stand for an event of any size.
pub const PAGE_LINKS_MAX: usize = 32;
/// Pages buffered per read; a slower client makes its own read wait.
pub const READ_BUFFER_PAGES: usize = 1;

/// Open subscriptions, and whoever is told statistics. Past it: Unavailable.
pub const SUBSCRIPTIONS_MAX: usize = 4096;
/// A filter's expression and prefixes together. Past it: InvalidArgument.
pub const FILTER_BYTES_MAX: usize = 16 * 1024;
/// Window of a filter that names none, in events.
pub const FILTER_WINDOW_DEFAULT: u32 = 32;
/// Events a live subscription takes at once; with more it catches up again.
pub const LIVE_EVENTS_MAX: usize = 32;
/// A live subscription that skipped events says how far it is after this much silence.
pub const CHECKPOINT_IDLE: Duration = Duration::from_millis(500);

/// How often statistics are told to one client, whatever it asks for.
pub const STATS_REFRESH_MIN: Duration = Duration::from_millis(100);
pub const STATS_REFRESH_MAX: Duration = Duration::from_secs(24 * 3600);

/// Open connections; the next ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 4096;
/// How long a connection may take to begin as HTTP/2 does. Past it: closed.
pub const GREETING_MAX: Duration = Duration::from_secs(5);
/// Calls at once on one connection.
pub const CALLS_PER_CONNECTION_MAX: u32 = 4096;
/// How long a stopping node waits for its clients.
pub const STOP_GRACE: Duration = Duration::from_secs(5);
/// How often a silent connection is asked whether it is still there, and how long it may
/// take to say so.
pub const KEEPALIVE: Duration = Duration::from_secs(20);
