//! How the rest of a program says that a resource has changed (RFC 7641).

use core::cell::Cell;
use core::task::Waker;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::{NoopRawMutex, RawMutex};
use embassy_sync::waitqueue::GenericAtomicWaker;

/// The resources that can be observed (RFC 7641), and which of them have changed.
///
/// Whoever changes a resource calls [`notify`](Self::notify); the [server](super::Server::with_changes) that was told of this
/// list then asks its handler for the resource again, for each observer, and sends what it says. Several changes in a
/// row may be told in one notification: observers end on the last one.
///
/// `M` says from where it may be called, as everywhere in `embassy-sync`: [`NoopRawMutex`], the default, for the tasks of one
/// executor, `CriticalSectionRawMutex` for a `static` that interrupts and other threads see as well. `N` is the number of
/// resources, 32 at most.
///
/// ```
/// use dtls_psk::coap::Changes;
///
/// let changes = Changes::local(["/temperature", "/led"]);
/// // The sensor's task has a new value.
/// assert!(changes.notify("/temperature"));
/// assert!(!changes.notify("/humidity"), "nobody was told that this one can be observed");
/// ```
///
/// In a `static`:
///
/// ```
/// use dtls_psk::coap::Changes;
/// use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
///
/// static CHANGES: Changes<CriticalSectionRawMutex, 1> = Changes::new(["/button"]);
/// # let _ = &CHANGES;
/// ```
pub struct Changes<M: RawMutex, const N: usize> {
    paths: [&'static str; N],
    changed: Mutex<M, Cell<u32>>,
    server: GenericAtomicWaker<M>,
}

impl<const N: usize> Changes<NoopRawMutex, N> {
    /// A list for the tasks of one executor.
    pub const fn local(paths: [&'static str; N]) -> Self {
        Self::with_mutex(paths, NoopRawMutex::new(), NoopRawMutex::new())
    }
}

impl<M: RawMutex, const N: usize> Changes<M, N> {
    /// A list of paths like `/a/b`, none of which has changed yet.
    pub const fn new(paths: [&'static str; N]) -> Self {
        Self::with_mutex(paths, M::INIT, M::INIT)
    }

    const fn with_mutex(paths: [&'static str; N], changed: M, server: M) -> Self {
        const { assert!(N <= 32, "N: 32 resources can be observed at most") }
        Self {
            paths,
            changed: Mutex::const_new(changed, Cell::new(0)),
            server: GenericAtomicWaker::new(server),
        }
    }

    /// The resource at this path has changed: its observers are to be told, and
    /// [requests that wait](super::Server#separate-responses) for it answered. `false` where the path is not in the list.
    pub fn notify(&self, path: &str) -> bool {
        let Some(at) = self.paths.iter().position(|known| *known == path) else {
            return false;
        };
        self.changed.lock(|changed| changed.set(changed.get() | 1 << at));
        self.server.wake();
        true
    }
}

/// A [`Changes`] of whatever size, as a server keeps it. Nothing else implements it.
pub trait Observable: sealed::Sealed {}

impl<M: RawMutex, const N: usize> Observable for Changes<M, N> {}

pub(super) mod sealed {
    use core::task::Waker;

    pub trait Sealed {
        /// The path of each resource, by its number.
        fn paths(&self) -> &[&'static str];
        /// Which resources have changed since the last call, a bit for each.
        fn take(&self) -> u32;
        /// Whether some have.
        fn any(&self) -> bool;
        /// Whom to wake when one changes.
        fn register(&self, waker: &Waker);
    }
}

impl<M: RawMutex, const N: usize> sealed::Sealed for Changes<M, N> {
    fn paths(&self) -> &[&'static str] {
        &self.paths
    }

    fn take(&self) -> u32 {
        self.changed.lock(Cell::take)
    }

    fn any(&self) -> bool {
        self.changed.lock(|changed| changed.get() != 0)
    }

    fn register(&self, waker: &Waker) {
        self.server.register(waker);
    }
}
