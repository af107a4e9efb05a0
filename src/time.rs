//! Time as the protocol sees it: [`Instant`], and the [`Clock`] and [`Timer`] that a shell needs.
//!
//! The sans-I/O core never reads a clock. Whoever drives it passes [`Instant`]s in, so a test can
//! live a year in a microsecond and a microcontroller can use whatever counter it has.

use core::time::Duration;

/// A point in time: milliseconds since an arbitrary start, such as power-on.
///
/// 64 bits of milliseconds last for half a billion years, so an `Instant` never wraps. It must
/// never run backwards within one connection or endpoint.
///
/// ```
/// use core::time::Duration;
/// use dtls_psk::Instant;
///
/// let start = Instant::from_millis(1_000);
/// assert_eq!(start + Duration::from_secs(9), Instant::from_millis(10_000));
/// assert_eq!(Instant::from_millis(1_250).saturating_since(start), Duration::from_millis(250));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Instant(u64);

impl Instant {
    /// The start of time.
    pub const ZERO: Self = Self(0);

    /// The instant `millis` milliseconds after the start of time.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the start of time.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl core::ops::Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of time. Fractions of a millisecond are dropped.
    fn add(self, after: Duration) -> Self {
        let millis = after.as_secs().saturating_mul(1_000).saturating_add(u64::from(after.subsec_millis()));
        Self(self.0.saturating_add(millis))
    }
}

/// A clock that a shell reads: a board's tick counter, or one of this module's implementations.
///
/// ```
/// use dtls_psk::{Clock, Instant};
/// # mod board { pub fn uptime_millis() -> u64 { 0 } }
///
/// /// The board's uptime, in 64 bits: a counter of 32 would wrap after 49 days.
/// struct Uptime;
///
/// impl Clock for Uptime {
///     fn now(&self) -> Instant {
///         Instant::from_millis(board::uptime_millis())
///     }
/// }
/// ```
pub trait Clock {
    /// The current time. Must never run backwards.
    fn now(&self) -> Instant;
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now(&self) -> Instant {
        C::now(self)
    }
}

/// A clock that can also wait, for the async shells.
pub trait Timer: Clock {
    /// Completes at `at`, or at once when `at` has passed. Dropping the future ends the wait.
    #[allow(async_fn_in_trait, reason = "microcontroller executors do not move futures between threads")]
    async fn sleep_until(&self, at: Instant);
}

impl<T: Timer + ?Sized> Timer for &T {
    async fn sleep_until(&self, at: Instant) {
        T::sleep_until(self, at).await;
    }
}

/// What a future comes to, or `None` when that time comes first.
#[cfg(feature = "embedded-nal-async")]
pub(crate) async fn before<F: Future>(
    future: F,
    at: Option<Instant>,
    timer: &impl Timer,
) -> Option<F::Output> {
    use embassy_futures::select::{Either, select};

    match at {
        None => Some(future.await),
        Some(at) => match select(future, timer.sleep_until(at)).await {
            Either::First(output) => Some(output),
            Either::Second(()) => None,
        },
    }
}

/// The host's monotonic clock, counting from the moment it was made.
///
/// With the feature `async-io` it is a [`Timer`] as well, on any executor.
///
/// ```
/// use dtls_psk::{Clock, StdClock};
///
/// let clock = StdClock::new();
/// assert!(clock.now() <= clock.now());
/// ```
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug)]
pub struct StdClock(std::time::Instant);

#[cfg(feature = "std")]
impl StdClock {
    /// A clock that reads zero now.
    pub fn new() -> Self {
        Self(std::time::Instant::now())
    }
}

#[cfg(feature = "std")]
impl Default for StdClock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "std")]
impl Clock for StdClock {
    fn now(&self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }
}

#[cfg(feature = "async-io")]
impl Timer for StdClock {
    async fn sleep_until(&self, at: Instant) {
        // An instant that the host's clock cannot express is never reached.
        match self.0.checked_add(Duration::from_millis(at.as_millis())) {
            Some(at) => async_io::Timer::at(at).await,
            None => async_io::Timer::never().await,
        };
    }
}

/// Tokio's clock, counting from the moment it was made. Needs a Tokio runtime with time enabled.
///
/// It follows Tokio's paused time, so tests may use `tokio::time::pause`.
#[cfg(feature = "tokio")]
#[derive(Clone, Copy, Debug)]
pub struct TokioTimer(tokio::time::Instant);

#[cfg(feature = "tokio")]
impl TokioTimer {
    /// A clock that reads zero now.
    pub fn new() -> Self {
        Self(tokio::time::Instant::now())
    }
}

#[cfg(feature = "tokio")]
impl Default for TokioTimer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "tokio")]
impl Clock for TokioTimer {
    fn now(&self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }
}

#[cfg(feature = "tokio")]
impl Timer for TokioTimer {
    async fn sleep_until(&self, at: Instant) {
        match self.0.checked_add(Duration::from_millis(at.as_millis())) {
            Some(at) => tokio::time::sleep_until(at).await,
            None => core::future::pending().await,
        }
    }
}

/// The clock of `embassy-time`, whose start is the board's.
#[cfg(feature = "embassy-time")]
#[derive(Clone, Copy, Debug, Default)]
pub struct EmbassyTimer;

#[cfg(feature = "embassy-time")]
impl Clock for EmbassyTimer {
    fn now(&self) -> Instant {
        Instant::from_millis(embassy_time::Instant::now().as_millis())
    }
}

#[cfg(feature = "embassy-time")]
impl Timer for EmbassyTimer {
    async fn sleep_until(&self, at: Instant) {
        if self.now() >= at {
            return;
        }
        // The tick that a millisecond begins in may begin before it, so this waits for the one behind. An instant that
        // the board's clock cannot express is never reached.
        let tick = embassy_time::Duration::from_ticks(1);
        let until = embassy_time::Instant::try_from_millis(at.as_millis());
        match until.and_then(|until| until.checked_add(tick)) {
            Some(until) => embassy_time::Timer::at(until).await,
            None => core::future::pending().await,
        }
    }
}
