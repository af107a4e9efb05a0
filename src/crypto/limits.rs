//! How many records one key may seal, and how many forged ones it may refuse (RFC 9147 §4.5.3 and appendix B, whose
//! figures hold for the same AEAD algorithms in DTLS 1.2).

use crate::AeadAlgorithm;

/// Records under the limit that are kept for alerts, so that a session that may not send data any more can still say
/// goodbye.
pub const ALERT_RESERVE: u64 = 256;

impl AeadAlgorithm {
    /// How many records one key seals at most, the confidentiality limit: 2^23 with CCM, 2^24.5 with GCM (RFC 9147
    /// §4.5.3). Beyond that, an attacker's advantage over the cipher grows past 2^-60.
    ///
    /// ```
    /// assert_eq!(dtls_psk::AeadAlgorithm::Aes128Ccm8.seal_limit(), 8_388_608);
    /// ```
    pub const fn seal_limit(self) -> u64 {
        match self {
            Self::Aes128Ccm8 | Self::Aes128Ccm => 1 << 23,
            #[cfg(feature = "aes-gcm")]
            Self::Aes128Gcm => 23_726_566,
        }
    }
}

/// How many forged records one key refuses before the limit is reached, the integrity limit: 2^23.5 with CCM, 2^36 with
/// GCM (RFC 9147 §4.5.3), and with CCM_8 what the configuration says.
pub const fn forgery_limit(algorithm: AeadAlgorithm, ccm_8: u32) -> u64 {
    match algorithm {
        AeadAlgorithm::Aes128Ccm8 => ccm_8 as u64,
        AeadAlgorithm::Aes128Ccm => 11_863_283,
        #[cfg(feature = "aes-gcm")]
        AeadAlgorithm::Aes128Gcm => 1 << 36,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2^24.5, 2^23.5: the figures squared are whole powers of two.
    #[test]
    fn half_powers_of_two() {
        let squared = |limit: u64| u128::from(limit) * u128::from(limit);
        let ccm = forgery_limit(AeadAlgorithm::Aes128Ccm, 0);
        assert!(squared(ccm) <= 1 << 47 && squared(ccm + 1) > 1 << 47);
        #[cfg(feature = "aes-gcm")]
        {
            let gcm = AeadAlgorithm::Aes128Gcm.seal_limit();
            assert!(squared(gcm) <= 1 << 49 && squared(gcm + 1) > 1 << 49);
        }
        assert_eq!(forgery_limit(AeadAlgorithm::Aes128Ccm8, 7), 7);
    }
}
