//! Random number generators of older versions of `rand_core`, made to fit this crate's.
//!
//! A blanket implementation for each version would be two for one type, so these are newtypes.

/// A generator of `rand_core` 0.9, such as that of embassy-stm32.
///
/// ```
/// # struct Trng;
/// # impl rand_core_09::TryRngCore for Trng {
/// #     type Error = core::convert::Infallible;
/// #     fn try_next_u32(&mut self) -> Result<u32, Self::Error> { Ok(4) }
/// #     fn try_next_u64(&mut self) -> Result<u64, Self::Error> { Ok(4) }
/// #     fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> { dst.fill(4); Ok(()) }
/// # }
/// # impl rand_core_09::TryCryptoRng for Trng {}
/// use dtls_psk::{Config, Connection, Instant, Psk, compat::Rng09};
///
/// let mut rng = Rng09(Trng);
/// let config = Config::coap();
/// let psk = Psk::new(b"client1", b"hardfault_secure_key")?;
/// let connection = Connection::client(&config, &psk, &mut rng, Instant::ZERO)?;
/// # Ok::<(), dtls_psk::Error>(())
/// ```
#[cfg(feature = "rand-core-09")]
#[derive(Clone, Debug)]
pub struct Rng09<R>(pub R);

#[cfg(feature = "rand-core-09")]
impl<R: rand_core_09::TryRngCore<Error: core::error::Error>> rand_core::TryRng for Rng09<R> {
    type Error = R::Error;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.0.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.0.try_next_u64()
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
        self.0.try_fill_bytes(dst)
    }
}

#[cfg(feature = "rand-core-09")]
impl<R: rand_core_09::TryCryptoRng<Error: core::error::Error>> rand_core::TryCryptoRng for Rng09<R> {}

/// A generator of `rand_core` 0.6. See [`Rng09`] for an example.
#[cfg(feature = "rand-core-06")]
#[derive(Clone, Debug)]
pub struct Rng06<R>(pub R);

/// A generator of `rand_core` 0.6 failed.
#[cfg(feature = "rand-core-06")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rng06Error;

#[cfg(feature = "rand-core-06")]
impl core::fmt::Display for Rng06Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the random number generator failed")
    }
}

#[cfg(feature = "rand-core-06")]
impl core::error::Error for Rng06Error {}

#[cfg(feature = "rand-core-06")]
impl<R: rand_core_06::RngCore> rand_core::TryRng for Rng06<R> {
    type Error = Rng06Error;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Only this method of `rand_core` 0.6 can report a failure, so the others go through it.
    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
        self.0.try_fill_bytes(dst).map_err(|_| Rng06Error)
    }
}

#[cfg(feature = "rand-core-06")]
impl<R: rand_core_06::RngCore + rand_core_06::CryptoRng> rand_core::TryCryptoRng for Rng06<R> {}
