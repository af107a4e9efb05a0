//! Which cells the matrix has, and which of them cannot be tried, and why.

pub const PEERS: [&str; 10] = [
    "openssl",
    "gnutls",
    "libcoap (OpenSSL)",
    "libcoap (GnuTLS)",
    "mbedtls",
    "wolfssl",
    "wolfssl13",
    "bouncycastle",
    "tinydtls",
    "aiocoap",
];

pub const FEATURES: [&str; 17] = [
    "handshake and data",
    "psk_ke",
    "psk_dhe_ke",
    "KeyUpdate",
    "offering DTLS 1.2 too",
    "offering DTLS 1.3 too",
    "wrong key, unknown identity",
    "loss, doubles, delays",
    "our fragments",
    "their fragments",
    "no extended master secret",
    "server name",
    "max_fragment_length",
    "record_size_limit",
    "resumption by id",
    "resumption by ticket",
    "connection IDs, new address",
];

/// What our side is.
pub const ROLES: [&str; 2] = ["client", "server"];

pub const SUITES: [&str; 6] = ["CCM_8", "CCM", "GCM", "ECDHE_CCM_8", "ECDHE_CCM", "ECDHE_GCM"];

/// One place of the matrix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell<'a> {
    pub peer: &'a str,
    pub feature: &'a str,
    pub role: &'a str,
    pub suite: &'a str,
}

impl Cell<'_> {
    pub fn exists(&self) -> bool {
        PEERS.contains(&self.peer)
            && FEATURES.contains(&self.feature)
            && ROLES.contains(&self.role)
            && SUITES.contains(&self.suite)
    }

    /// Why it cannot be tried, if it cannot.
    pub fn is_impossible_since(&self) -> Option<&'static str> {
        let fits = |pattern: &[&str], value| pattern.is_empty() || pattern.contains(&value);
        let fact = FACTS.iter().find(|fact| {
            fits(fact.peers, self.peer)
                && fits(fact.features, self.feature)
                && fits(fact.roles, self.role)
                && fits(fact.suites, self.suite)
        });
        fact.map(|fact| fact.reason)
    }
}

/// What a peer, or our side, does not have. An empty list stands for all.
struct Fact {
    peers: &'static [&'static str],
    features: &'static [&'static str],
    roles: &'static [&'static str],
    suites: &'static [&'static str],
    reason: &'static str,
}

const ANY: Fact = Fact { peers: &[], features: &[], roles: &[], suites: &[], reason: "" };

/// The first that fits counts. The versions are those that xtask installs on Debian 12.
const FACTS: &[Fact] = &[
    Fact {
        peers: &["wolfssl13"],
        suites: &["ECDHE_CCM_8", "ECDHE_CCM", "ECDHE_GCM"],
        reason: "in DTLS 1.3, the key exchange is not part of the suite: see psk_ke and psk_dhe_ke",
        ..ANY
    },
    Fact {
        peers: &["wolfssl13"],
        features: &[
            "handshake and data",
            "offering DTLS 1.3 too",
            "no extended master secret",
            "resumption by id",
        ],
        reason: "of DTLS 1.2 alone; for DTLS 1.3, see psk_ke and psk_dhe_ke",
        ..ANY
    },
    Fact {
        peers: &["wolfssl13"],
        features: &["our fragments"],
        roles: &["client"],
        reason: "a ClientHello is never cut, and what else a client sends in DTLS 1.3 fits",
        ..ANY
    },
    Fact {
        peers: &["wolfssl13"],
        features: &["their fragments"],
        roles: &["server"],
        reason: "a ClientHello is never cut, and what else a client sends in DTLS 1.3 fits",
        ..ANY
    },
    Fact {
        peers: &["wolfssl13"],
        features: &["record_size_limit", "server name", "max_fragment_length"],
        reason: "no record_size_limit in wolfSSL; what it does with the others does not depend on the version",
        ..ANY
    },
    Fact {
        peers: &[
            "openssl",
            "gnutls",
            "libcoap (OpenSSL)",
            "libcoap (GnuTLS)",
            "mbedtls",
            "wolfssl",
            "bouncycastle",
            "tinydtls",
            "aiocoap",
        ],
        features: &["psk_ke", "psk_dhe_ke", "KeyUpdate", "offering DTLS 1.2 too"],
        reason: "DTLS 1.3 with pre-shared keys is in wolfSSL alone: see wolfssl13",
        ..ANY
    },
    Fact {
        peers: &["aiocoap"],
        features: &["offering DTLS 1.3 too"],
        roles: &["client"],
        reason: "aiocoap's server is tinydtls's: see there",
        ..ANY
    },
    Fact {
        features: &["offering DTLS 1.3 too"],
        roles: &["server"],
        reason: "it is the client that offers; our server always knows both",
        ..ANY
    },
    Fact {
        peers: &[
            "openssl",
            "gnutls",
            "libcoap (OpenSSL)",
            "libcoap (GnuTLS)",
            "mbedtls",
            "tinydtls",
            "aiocoap",
        ],
        suites: &["ECDHE_CCM_8", "ECDHE_CCM", "ECDHE_GCM"],
        reason: "no ECDHE_PSK suites of RFC 8442 but in wolfSSL and Bouncy Castle",
        ..ANY
    },
    Fact {
        peers: &["wolfssl"],
        suites: &["ECDHE_CCM_8", "ECDHE_CCM"],
        reason: "of those, wolfSSL has the one with GCM",
        ..ANY
    },
    Fact {
        peers: &["tinydtls", "aiocoap"],
        suites: &["GCM"],
        reason: "tinydtls, which aiocoap uses, has no suite with GCM",
        ..ANY
    },
    Fact {
        peers: &[
            "openssl",
            "gnutls",
            "libcoap (OpenSSL)",
            "libcoap (GnuTLS)",
            "mbedtls",
            "wolfssl",
            "bouncycastle",
            "tinydtls",
            "aiocoap",
        ],
        features: &["resumption by ticket"],
        roles: &["server"],
        reason: "our server gives no tickets in DTLS 1.2",
        ..ANY
    },
    Fact {
        peers: &["libcoap (OpenSSL)", "libcoap (GnuTLS)"],
        features: &["resumption by id"],
        reason: "libcoap's client resumes nothing, its server by ticket alone, and with GnuTLS nothing",
        ..ANY
    },
    Fact {
        peers: &["libcoap (GnuTLS)"],
        features: &["resumption by ticket"],
        reason: "libcoap's client resumes nothing, its server by ticket alone, and with GnuTLS nothing",
        ..ANY
    },
    Fact {
        peers: &["gnutls"],
        features: &["resumption by ticket"],
        reason: "GnuTLS's tickets are 406 bytes long, and our client keeps 255 (the handshake is a full one)",
        ..ANY
    },
    Fact {
        peers: &[
            "openssl",
            "gnutls",
            "libcoap (OpenSSL)",
            "libcoap (GnuTLS)",
            "bouncycastle",
            "tinydtls",
            "aiocoap",
        ],
        features: &["connection IDs, new address"],
        reason: "no connection IDs in OpenSSL, GnuTLS, tinydtls and Bouncy Castle 1.72",
        ..ANY
    },
    Fact {
        peers: &["openssl", "libcoap (OpenSSL)", "mbedtls", "wolfssl", "bouncycastle", "tinydtls", "aiocoap"],
        features: &["record_size_limit"],
        reason: "no record_size_limit in OpenSSL, wolfSSL, tinydtls and Bouncy Castle 1.72, and in Mbed TLS for TLS 1.3 alone",
        ..ANY
    },
    Fact {
        peers: &["gnutls"],
        features: &["max_fragment_length"],
        roles: &["server"],
        reason: "gnutls-cli asks for record_size_limit as well, which goes before (RFC 8449 §5)",
        ..ANY
    },
    Fact {
        peers: &["bouncycastle"],
        features: &["resumption by id", "resumption by ticket"],
        roles: &["client"],
        reason: "Bouncy Castle 1.72 resumes as a client alone, and by id",
        ..ANY
    },
    Fact {
        peers: &["openssl"],
        features: &["their fragments"],
        roles: &["server"],
        reason: "s_client takes no MTU below 256, and its messages fit",
        ..ANY
    },
    Fact {
        peers: &["wolfssl"],
        features: &["their fragments"],
        reason: "wolfSSL cuts certificates and what goes with them alone",
        ..ANY
    },
    Fact {
        peers: &["tinydtls", "aiocoap"],
        features: &["loss, doubles, delays"],
        roles: &["client"],
        reason: "tinydtls's server never repeats its last flight, and answers a hello that comes twice with another random",
        ..ANY
    },
    Fact {
        peers: &["tinydtls", "aiocoap"],
        features: &["our fragments", "their fragments"],
        reason: "tinydtls neither cuts handshake messages nor puts them together",
        ..ANY
    },
    Fact {
        peers: &["tinydtls", "aiocoap"],
        features: &["server name", "max_fragment_length", "resumption by id", "resumption by ticket"],
        reason: "tinydtls passes over what it does not know: names, lengths, sessions to resume",
        ..ANY
    },
    Fact {
        peers: &["tinydtls", "aiocoap"],
        features: &["no extended master secret"],
        reason: "tinydtls always has the extended master secret",
        ..ANY
    },
    Fact {
        peers: &["libcoap (OpenSSL)", "libcoap (GnuTLS)"],
        features: &[
            "their fragments",
            "no extended master secret",
            "max_fragment_length",
            "record_size_limit",
        ],
        reason: "libcoap's programs have no option for it: see the library that they use",
        ..ANY
    },
];
