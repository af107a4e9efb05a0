//! `psk_key_exchange_modes` (RFC 8446 §4.2.9).

/// How DTLS 1.3 makes its secrets of a pre-shared key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum PskKeyExchangeMode {
    /// `psk_ke`: of the key alone.
    ///
    /// There is no forward secrecy: whoever learns the key, today or in ten years, can read everything that was recorded before.
    /// What it saves is 90 bytes in a handshake and two multiplications on the curve at each side.
    PskKe = 0,
    /// `psk_dhe_ke`: of the key and of ephemeral keys of both sides, with X25519. What was recorded stays secret when the key gets
    /// known.
    #[cfg(feature = "x25519")]
    PskDheKe = 1,
}

impl PskKeyExchangeMode {
    /// Every mode of this build, the best first.
    pub const ALL: &'static [Self] = &[
        #[cfg(feature = "x25519")]
        Self::PskDheKe,
        Self::PskKe,
    ];

    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether both sides add ephemeral keys to the pre-shared one.
    pub const fn has_forward_secrecy(self) -> bool {
        !matches!(self, Self::PskKe)
    }
}

#[cfg(test)]
#[test]
fn the_best_is_first() {
    assert_eq!(PskKeyExchangeMode::PskKe.number(), 0);
    assert_eq!(PskKeyExchangeMode::ALL.last(), Some(&PskKeyExchangeMode::PskKe));
    let number = if cfg!(feature = "x25519") { 1 } else { 0 };
    let best = PskKeyExchangeMode::ALL.first().unwrap();
    assert_eq!((best.number(), best.has_forward_secrecy()), (number, cfg!(feature = "x25519")));
}
