//! What a script's first bytes make of both sides, and who may come.

use dtls_psk::{
    CipherSuite, Config, Connection, Instant, MemoryCache, ProtocolVersion, Psk, PskKeyExchangeMode, PskUse,
};

use crate::cipher::Cipher;
use crate::random::SplitMix;
use crate::script::{Modes, Setup, Versions};

/// A suite of each version, without an ephemeral key.
const PLAIN_SUITES: [[CipherSuite; 2]; 3] = [
    [CipherSuite::Aes128Ccm8Sha256, CipherSuite::Aes128Ccm8],
    [CipherSuite::Aes128CcmSha256, CipherSuite::Aes128Ccm],
    [CipherSuite::Aes128GcmSha256, CipherSuite::Aes128Gcm],
];

/// Long enough that it has to be cut where the datagrams are small.
const HINT: &[u8] = &[b'h'; 120];

/// The configurations of the clients and of the server.
pub fn make<'a>(
    setup: &Setup,
    caches: &'a [MemoryCache<4>; 2],
    ciphers: &'a [Cipher; 2],
    psks: &[Psk<'_>],
) -> [Config<'a>; 2] {
    let suites = match setup.suites {
        0 => CipherSuite::ALL,
        at => PLAIN_SUITES[usize::from(at) - 1].as_slice(),
    };
    let mut both = Config::new().with_suites(suites);
    if setup.connection_ids {
        both = both.with_connection_id(1);
    }
    if setup.short_records {
        both = both.with_record_size_limit(64);
    }
    if setup.few_forgeries {
        both = both.with_ccm_8_forgery_limit(4);
    }
    let (of_client, of_server) = versions(setup.versions);
    let mut client = both.with_versions(of_client).with_crypto(&ciphers[0]);
    let mut server = both.with_versions(of_server).with_crypto(&ciphers[1]);
    let (of_client, of_server) = modes(setup.modes);
    client = client.with_key_exchange_modes(of_client);
    server = server.with_key_exchange_modes(of_server);
    if setup.resumption {
        client = client.with_resumption(&caches[0]);
        server = server.with_resumption(&caches[1]);
    }
    if setup.connection_ids && setup.no_client_ids {
        client = client.with_connection_id(0);
    }
    if setup.small_mtu {
        let starts = |mtu: &usize| {
            let config = client.with_mtu(*mtu);
            config.validate().is_ok() && psks.iter().all(|psk| is_long_enough(&config, psk))
        };
        let mtu = (Config::MIN_MTU..1_500).step_by(8).find(starts).expect("every hello fits somewhere");
        client = client.with_mtu(mtu);
        // Of DTLS 1.3, it takes no less: a HelloRetryRequest is never cut.
        server = server.with_mtu(132);
    }
    server = server.with_required_extended_master_secret(setup.require_ems);
    server = server.with_cookie_exchange(!setup.no_cookies);
    if setup.hint {
        server = server.with_identity_hint(HINT);
    }
    [client, server]
}

/// Whether a client can say hello with this key.
fn is_long_enough(config: &Config<'_>, psk: &Psk<'_>) -> bool {
    Connection::client(config, psk, &mut SplitMix(0), Instant::ZERO).is_ok()
}

/// The versions of the clients and of the server.
const fn versions(of: Versions) -> (&'static [ProtocolVersion], &'static [ProtocolVersion]) {
    const OLD: &[ProtocolVersion] = &[ProtocolVersion::Dtls12];
    const NEW: &[ProtocolVersion] = &[ProtocolVersion::Dtls13];
    match of {
        Versions::Dtls12 => (OLD, OLD),
        Versions::Dtls13 => (NEW, NEW),
        Versions::Both => (ProtocolVersion::ALL, ProtocolVersion::ALL),
        Versions::OldServer => (ProtocolVersion::ALL, OLD),
    }
}

/// How the clients and the server make their secrets.
const fn modes(of: Modes) -> (&'static [PskKeyExchangeMode], &'static [PskKeyExchangeMode]) {
    const PSK_KE: &[PskKeyExchangeMode] = &[PskKeyExchangeMode::PskKe];
    const PSK_DHE_KE: &[PskKeyExchangeMode] = &[PskKeyExchangeMode::PskDheKe];
    const PSK_KE_FIRST: &[PskKeyExchangeMode] = &[PskKeyExchangeMode::PskKe, PskKeyExchangeMode::PskDheKe];
    match of {
        Modes::PskKe => (PSK_KE, PSK_KE),
        Modes::PskDheKe => (PSK_DHE_KE, PSK_DHE_KE),
        Modes::Both => (PskKeyExchangeMode::ALL, PskKeyExchangeMode::ALL),
        Modes::ServerPrefersPskKe => (PskKeyExchangeMode::ALL, PSK_KE_FIRST),
    }
}

/// What clients may come with.
pub struct Credentials {
    keys: [Psk<'static>; 4],
    imported: Psk<'static>,
}

impl Default for Credentials {
    fn default() -> Self {
        let psk = |identity, key| Psk::new(identity, key).expect("within the bounds");
        Self {
            keys: [
                psk(b"client1", b"hardfault_secure_key"),
                psk(b"client1", b"another key"),
                psk(b"nobody", b"hardfault_secure_key"),
                psk(b"\0", &[0x5A; 64]),
            ],
            imported: psk(b"imported", b"hardfault_secure_key")
                .with_use(PskUse::imported(b"lamp").and_dtls12()),
        }
    }
}

impl Credentials {
    /// The right key, a wrong key, an unknown identity, another right key; an unknown identity or else the right key; and one that
    /// DTLS 1.3 imports.
    pub fn of_clients(&self) -> [Psk<'_>; 6] {
        let [right, wrong, unknown, other] = self.keys;
        [right, wrong, unknown, other, unknown.or(&self.keys[0]), self.imported]
    }

    /// What the server knows.
    pub fn of_server(&self) -> [Psk<'static>; 3] {
        [self.keys[0], self.keys[3], self.imported]
    }
}
