//! The cipher suites and what each peer calls them.

use dtls_psk::CipherSuite;

/// A cipher suite by all its names.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// In the IANA registry, in our own programs and in Wireshark.
    pub name: &'static str,
    /// In the programs of `tests/peers`.
    pub short: &'static str,
    /// In the library.
    pub ours: CipherSuite,
    /// On the wire.
    pub number: u16,
    /// In OpenSSL, and in libcoap where it uses OpenSSL.
    pub openssl: &'static str,
    /// In GnuTLS's debug output, and in libcoap's where it uses GnuTLS.
    pub gnutls: &'static str,
    /// The cipher in a GnuTLS priority string and in what `gnutls-cli` prints.
    pub gnutls_cipher: &'static str,
}

pub const CCM_8: Suite = Suite {
    name: "TLS_PSK_WITH_AES_128_CCM_8",
    short: "CCM_8",
    ours: CipherSuite::Aes128Ccm8,
    number: 0xC0A8,
    openssl: "PSK-AES128-CCM8",
    gnutls: "GNUTLS_PSK_AES_128_CCM_8",
    gnutls_cipher: "AES-128-CCM-8",
};

pub const CCM: Suite = Suite {
    name: "TLS_PSK_WITH_AES_128_CCM",
    short: "CCM",
    ours: CipherSuite::Aes128Ccm,
    number: 0xC0A4,
    openssl: "PSK-AES128-CCM",
    gnutls: "GNUTLS_PSK_AES_128_CCM",
    gnutls_cipher: "AES-128-CCM",
};

pub const GCM: Suite = Suite {
    name: "TLS_PSK_WITH_AES_128_GCM_SHA256",
    short: "GCM",
    ours: CipherSuite::Aes128Gcm,
    number: 0x00A8,
    openssl: "PSK-AES128-GCM-SHA256",
    gnutls: "GNUTLS_PSK_AES_128_GCM_SHA256",
    gnutls_cipher: "AES-128-GCM",
};

pub const SUITES: [Suite; 3] = [CCM_8, CCM, GCM];

/// Those of DTLS 1.3.
pub const SUITES13: [Suite; 3] = [
    Suite { name: "TLS_AES_128_CCM_8_SHA256", ours: CipherSuite::Aes128Ccm8Sha256, number: 0x1305, ..CCM_8 },
    Suite { name: "TLS_AES_128_CCM_SHA256", ours: CipherSuite::Aes128CcmSha256, number: 0x1304, ..CCM },
    Suite { name: "TLS_AES_128_GCM_SHA256", ours: CipherSuite::Aes128GcmSha256, number: 0x1301, ..GCM },
];

/// The suites of wolfSSL.
#[cfg(feature = "x25519")]
pub const WITH_ECDHE_GCM: &[Suite] = &[CCM_8, CCM, GCM, ECDHE_GCM];
#[cfg(not(feature = "x25519"))]
pub const WITH_ECDHE_GCM: &[Suite] = &SUITES;

/// All there are, which are those of Bouncy Castle.
#[cfg(feature = "x25519")]
pub const ALL: &[Suite] = &[CCM_8, CCM, GCM, ECDHE_CCM_8, ECDHE_CCM, ECDHE_GCM];
#[cfg(not(feature = "x25519"))]
pub const ALL: &[Suite] = &SUITES;

#[cfg(feature = "x25519")]
const ECDHE_CCM_8: Suite = Suite {
    name: "TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256",
    short: "ECDHE_CCM_8",
    ours: CipherSuite::EcdhePskAes128Ccm8,
    number: 0xD003,
    openssl: "",
    gnutls: "",
    gnutls_cipher: "",
};

#[cfg(feature = "x25519")]
const ECDHE_CCM: Suite = Suite {
    name: "TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256",
    short: "ECDHE_CCM",
    ours: CipherSuite::EcdhePskAes128Ccm,
    number: 0xD005,
    ..ECDHE_CCM_8
};

#[cfg(feature = "x25519")]
const ECDHE_GCM: Suite = Suite {
    name: "TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256",
    short: "ECDHE_GCM",
    ours: CipherSuite::EcdhePskAes128Gcm,
    number: 0xD001,
    ..ECDHE_CCM_8
};
