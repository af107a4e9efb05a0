//! Hello extensions (RFC 5246 §7.4.1.4, RFC 8446 §4.2): those that this crate reads and writes.
//!
//! What DTLS 1.3 knows alone is kept as it came: its form depends on the message that it is in, and has a file of its own.

use super::max_fragment_length::MaxFragmentLength;
use super::{BufferFull, InvalidMessage, Reader, Writer};
use crate::crypto::key_share::{POINT_LEN, Point};

/// `server_name` (RFC 6066 §3).
const SERVER_NAME: u16 = 0;
/// `max_fragment_length` (RFC 6066 §4).
const MAX_FRAGMENT_LENGTH: u16 = 1;
/// `supported_groups` (RFC 8422 §5.1.1).
const SUPPORTED_GROUPS: u16 = 10;
/// `ec_point_formats` (RFC 8422 §5.1.2).
const EC_POINT_FORMATS: u16 = 11;
/// `extended_master_secret` (RFC 7627 §5.1).
const EXTENDED_MASTER_SECRET: u16 = 23;
/// `record_size_limit` (RFC 8449 §4).
const RECORD_SIZE_LIMIT: u16 = 28;
/// `SessionTicket` (RFC 5077 §3.2).
const SESSION_TICKET: u16 = 35;
/// `pre_shared_key` (RFC 8446 §4.2.11).
#[cfg(feature = "dtls13")]
const PRE_SHARED_KEY: u16 = 41;
/// `supported_versions` (RFC 8446 §4.2.1).
#[cfg(feature = "dtls13")]
const SUPPORTED_VERSIONS: u16 = 43;
/// `cookie` (RFC 8446 §4.2.2).
#[cfg(feature = "dtls13")]
const COOKIE: u16 = 44;
/// `psk_key_exchange_modes` (RFC 8446 §4.2.9).
#[cfg(feature = "dtls13")]
const PSK_KEY_EXCHANGE_MODES: u16 = 45;
/// `key_share` (RFC 8446 §4.2.8).
#[cfg(feature = "dtls13")]
const KEY_SHARE: u16 = 51;
/// `connection_id` (RFC 9146 §3).
const CONNECTION_ID: u16 = 54;
/// `rrc` (RFC 9853 §3).
const RETURN_ROUTABILITY_CHECK: u16 = 61;
/// `renegotiation_info` (RFC 5746 §3.2).
const RENEGOTIATION_INFO: u16 = 0xFF01;

/// `host_name`, the one `NameType` there is (RFC 6066 §3).
const HOST_NAME: u8 = 0;

/// `x25519` among the `NamedGroup`s, the one that this crate knows (RFC 8422 §5.1.1).
pub const X25519: u16 = 29;

/// A public key on X25519, as it travels in either version.
pub fn parse_point(point: &[u8]) -> Result<Point, InvalidMessage> {
    <[u8; POINT_LEN]>::try_from(point).map_err(|_| InvalidMessage::IllegalLength)
}

/// `uncompressed`, the one `ECPointFormat` that is left (RFC 8422 §5.1.2).
const UNCOMPRESSED: u8 = 0;

/// The extensions of a hello.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions<'a> {
    /// The name of the server that the client wants to speak with; empty where a server says that it has made use of it.
    pub server_name: Option<&'a [u8]>,
    /// The longest fragment that the client wants to get and to send.
    pub max_fragment_length: Option<MaxFragmentLength>,
    /// The groups that the client knows, the best first, two bytes each.
    pub supported_groups: Option<&'a [u8]>,
    /// The forms of points that the sender of the hello reads: all read the one there is.
    pub ec_point_formats: bool,
    /// The master secret is bound to the handshake (RFC 7627).
    pub extended_master_secret: bool,
    /// The longest plaintext in bytes that the sender of the hello wants to get in one protected record; 64 at least.
    pub record_size_limit: Option<u16>,
    /// The ticket that the client would resume with; empty where it would like one, and where a server will send one.
    pub session_ticket: Option<&'a [u8]>,
    /// The connection ID that the sender of the hello wants to get records with; empty for none.
    pub connection_id: Option<&'a [u8]>,
    /// The sender of the hello answers return routability checks.
    pub return_routability_check: bool,
    /// `renegotiation_info` is there, and empty as it must be in a first handshake (RFC 5746 §3.4–3.6).
    pub renegotiation_info: bool,
    /// `renegotiation_info` is there and speaks of a connection that there is not: the handshake fails (RFC 5746 §3.4, §3.6).
    pub renegotiated_connection: bool,
    /// The versions that a client offers, or the one that a server has chosen.
    #[cfg(feature = "dtls13")]
    pub supported_versions: Option<&'a [u8]>,
    /// What the client has to repeat, without its length.
    #[cfg(feature = "dtls13")]
    pub cookie: Option<&'a [u8]>,
    /// How a client would use a pre-shared key, one byte each.
    #[cfg(feature = "dtls13")]
    pub psk_key_exchange_modes: Option<&'a [u8]>,
    /// Ephemeral keys, or the group that a server asks for one of.
    #[cfg(feature = "dtls13")]
    pub key_share: Option<&'a [u8]>,
    /// The pre-shared keys that a client offers, or which of them a server has chosen.
    #[cfg(feature = "dtls13")]
    pub pre_shared_key: Option<&'a [u8]>,
    /// Whether another extension follows that one: a client must put it last (RFC 8446 §4.2.11).
    #[cfg(feature = "dtls13")]
    pub pre_shared_key_is_not_last: bool,
    /// Something else is there: a server passes over it, a client did not offer it.
    pub unknown: bool,
}

impl<'a> Extensions<'a> {
    /// Reads the extensions block that ends a hello; a hello may also end before it.
    pub fn parse(r: &mut Reader<'a>) -> Result<Self, InvalidMessage> {
        if r.is_empty() { Ok(Self::default()) } else { Self::parse_list(r) }
    }

    /// Reads an extensions block that must be there: all of an EncryptedExtensions, for one (RFC 8446 §4.3.1).
    pub fn parse_list(r: &mut Reader<'a>) -> Result<Self, InvalidMessage> {
        let mut extensions = Self::default();
        let mut list = Reader::new(r.vec16()?);
        while !list.is_empty() {
            let extension_type = list.u16()?;
            let data = list.vec16()?;
            #[cfg(feature = "dtls13")]
            {
                extensions.pre_shared_key_is_not_last = extensions.pre_shared_key.is_some();
            }
            let is_repeated = match extension_type {
                SERVER_NAME => extensions.server_name.replace(host_name(data)?).is_some(),
                MAX_FRAGMENT_LENGTH => {
                    let length = MaxFragmentLength::parse(data)?;
                    extensions.max_fragment_length.replace(length).is_some()
                }
                SUPPORTED_GROUPS if cfg!(feature = "x25519") => {
                    extensions.supported_groups.replace(groups(data)?).is_some()
                }
                EC_POINT_FORMATS if cfg!(feature = "x25519") => {
                    if !whole(data, Reader::vec8)?.contains(&UNCOMPRESSED) {
                        return Err(InvalidMessage::IllegalValue);
                    }
                    core::mem::replace(&mut extensions.ec_point_formats, true)
                }
                EXTENDED_MASTER_SECRET => set(&mut extensions.extended_master_secret, data)?,
                RECORD_SIZE_LIMIT => extensions.record_size_limit.replace(size_limit(data)?).is_some(),
                SESSION_TICKET => extensions.session_ticket.replace(data).is_some(),
                CONNECTION_ID => extensions.connection_id.replace(whole(data, Reader::vec8)?).is_some(),
                RETURN_ROUTABILITY_CHECK => set(&mut extensions.return_routability_check, data)?,
                #[cfg(feature = "dtls13")]
                SUPPORTED_VERSIONS => extensions.supported_versions.replace(data).is_some(),
                #[cfg(feature = "dtls13")]
                COOKIE => extensions.cookie.replace(not_empty(whole(data, Reader::vec16)?)?).is_some(),
                #[cfg(feature = "dtls13")]
                PSK_KEY_EXCHANGE_MODES => {
                    let modes = not_empty(whole(data, Reader::vec8)?)?;
                    extensions.psk_key_exchange_modes.replace(modes).is_some()
                }
                #[cfg(feature = "dtls13")]
                KEY_SHARE => extensions.key_share.replace(data).is_some(),
                #[cfg(feature = "dtls13")]
                PRE_SHARED_KEY => extensions.pre_shared_key.replace(data).is_some(),
                RENEGOTIATION_INFO if data == [0] => {
                    core::mem::replace(&mut extensions.renegotiation_info, true)
                }
                RENEGOTIATION_INFO => core::mem::replace(&mut extensions.renegotiated_connection, true),
                _ => {
                    extensions.unknown = true;
                    false
                }
            };
            if is_repeated {
                return Err(InvalidMessage::DuplicateExtension);
            }
        }
        Ok(extensions)
    }

    /// Writes the extensions block; nothing at all where there is no extension.
    pub fn emit(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        let nothing = Self {
            unknown: self.unknown,
            renegotiated_connection: self.renegotiated_connection,
            ..Self::default()
        };
        if *self == nothing { Ok(()) } else { self.emit_list(w, |_| Ok(())) }
    }

    /// Writes the extensions block, with what `last` writes at its end, and be there nothing in it.
    pub fn emit_list(
        &self,
        w: &mut Writer<'_>,
        last: impl FnOnce(&mut Writer<'_>) -> Result<(), BufferFull>,
    ) -> Result<(), BufferFull> {
        w.nested16(|w| {
            if self.renegotiation_info {
                w.u16(RENEGOTIATION_INFO)?;
                w.vec16(&[0])?;
            }
            if self.extended_master_secret {
                w.u16(EXTENDED_MASTER_SECRET)?;
                w.vec16(&[])?;
            }
            if let Some(name) = self.server_name {
                w.u16(SERVER_NAME)?;
                w.nested16(|w| match name {
                    [] => Ok(()),
                    name => w.nested16(|w| {
                        w.u8(HOST_NAME)?;
                        w.vec16(name)
                    }),
                })?;
            }
            if let Some(length) = self.max_fragment_length {
                w.u16(MAX_FRAGMENT_LENGTH)?;
                w.vec16(&[length.number()])?;
            }
            if let Some(groups) = self.supported_groups.filter(|_| cfg!(feature = "x25519")) {
                w.u16(SUPPORTED_GROUPS)?;
                w.nested16(|w| w.vec16(groups))?;
            }
            if self.ec_point_formats && cfg!(feature = "x25519") {
                w.u16(EC_POINT_FORMATS)?;
                w.vec16(&[1, UNCOMPRESSED])?;
            }
            if let Some(limit) = self.record_size_limit {
                w.u16(RECORD_SIZE_LIMIT)?;
                w.vec16(&limit.to_be_bytes())?;
            }
            if let Some(ticket) = self.session_ticket {
                w.u16(SESSION_TICKET)?;
                w.vec16(ticket)?;
            }
            if let Some(id) = self.connection_id {
                w.u16(CONNECTION_ID)?;
                w.nested16(|w| w.vec8(id))?;
            }
            if self.return_routability_check {
                w.u16(RETURN_ROUTABILITY_CHECK)?;
                w.vec16(&[])?;
            }
            #[cfg(feature = "dtls13")]
            self.emit_dtls13(w)?;
            last(w)
        })
    }

    #[cfg(feature = "dtls13")]
    fn emit_dtls13(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        if let Some(versions) = self.supported_versions {
            w.u16(SUPPORTED_VERSIONS)?;
            w.vec16(versions)?;
        }
        if let Some(cookie) = self.cookie {
            w.u16(COOKIE)?;
            w.nested16(|w| w.vec16(cookie))?;
        }
        if let Some(modes) = self.psk_key_exchange_modes {
            w.u16(PSK_KEY_EXCHANGE_MODES)?;
            w.nested16(|w| w.vec8(modes))?;
        }
        if let Some(key_share) = self.key_share {
            w.u16(KEY_SHARE)?;
            w.vec16(key_share)?;
        }
        // A client has to put it last (RFC 8446 §4.2.11).
        self.pre_shared_key.map_or(Ok(()), |psk| {
            w.u16(PRE_SHARED_KEY)?;
            w.vec16(psk)
        })
    }

    /// Whether the client can use X25519: it says so, or it names no groups, which leaves the choice to the server (RFC 8422
    /// §4).
    pub fn allow_x25519(&self) -> bool {
        let named = |groups: &[u8]| groups.chunks_exact(2).any(|group| group == X25519.to_be_bytes());
        self.supported_groups.is_none_or(named)
    }

    /// Whether a server's answer holds nothing that the client did not offer (RFC 5246 §7.4.1.4). `renegotiation_info`
    /// is always offered, by the signaling suite. A HelloRetryRequest may have a cookie all the same (RFC 8446 §4.2).
    pub const fn are_offered_by(&self, offer: &Self) -> bool {
        !self.unknown
            && (offer.server_name.is_some() || self.server_name.is_none())
            && (offer.max_fragment_length.is_some() || self.max_fragment_length.is_none())
            // It has no place in a ServerHello, but some servers say it, and OpenSSL lets them.
            && (offer.supported_groups.is_some() || self.supported_groups.is_none())
            && (offer.ec_point_formats || !self.ec_point_formats)
            && (offer.extended_master_secret || !self.extended_master_secret)
            && (offer.record_size_limit.is_some() || self.record_size_limit.is_none())
            && (offer.session_ticket.is_some() || self.session_ticket.is_none())
            && (offer.connection_id.is_some() || self.connection_id.is_none())
            && (offer.return_routability_check || !self.return_routability_check)
            && self.dtls13_is_offered_by(offer)
    }

    #[cfg(feature = "dtls13")]
    const fn dtls13_is_offered_by(&self, offer: &Self) -> bool {
        (offer.supported_versions.is_some() || self.supported_versions.is_none())
            && (offer.cookie.is_some() || self.cookie.is_none())
            && (offer.psk_key_exchange_modes.is_some() || self.psk_key_exchange_modes.is_none())
            && (offer.key_share.is_some() || self.key_share.is_none())
            && (offer.pre_shared_key.is_some() || self.pre_shared_key.is_none())
    }

    #[cfg(not(feature = "dtls13"))]
    const fn dtls13_is_offered_by(&self, _: &Self) -> bool {
        true
    }
}

/// At least one byte.
#[cfg(feature = "dtls13")]
const fn not_empty(data: &[u8]) -> Result<&[u8], InvalidMessage> {
    if data.is_empty() { Err(InvalidMessage::IllegalLength) } else { Ok(data) }
}

/// Writes `pre_shared_key` with what `offer` writes as its data.
#[cfg(feature = "dtls13")]
pub fn emit_pre_shared_key(
    w: &mut Writer<'_>,
    offer: impl FnOnce(&mut Writer<'_>) -> Result<(), BufferFull>,
) -> Result<(), BufferFull> {
    w.u16(PRE_SHARED_KEY)?;
    w.nested16(offer)
}

/// At least one group, of two bytes each.
fn groups(data: &[u8]) -> Result<&[u8], InvalidMessage> {
    let groups = whole(data, Reader::vec16)?;
    if groups.is_empty() || !groups.len().is_multiple_of(2) {
        return Err(InvalidMessage::IllegalLength);
    }
    Ok(groups)
}

/// Reads an extension without contents: whether it was there before.
fn set(flag: &mut bool, data: &[u8]) -> Result<bool, InvalidMessage> {
    if data.is_empty() { Ok(core::mem::replace(flag, true)) } else { Err(InvalidMessage::IllegalLength) }
}

/// Reads one field that must be all there is.
fn whole<'a, T>(
    data: &'a [u8],
    field: impl FnOnce(&mut Reader<'a>) -> Result<T, InvalidMessage>,
) -> Result<T, InvalidMessage> {
    let mut r = Reader::new(data);
    let value = field(&mut r)?;
    r.finish()?;
    Ok(value)
}

/// `ServerNameList` of a client, or the empty answer of a server. Names of types that nobody has defined are passed over.
fn host_name(data: &[u8]) -> Result<&[u8], InvalidMessage> {
    if data.is_empty() {
        return Ok(data);
    }
    let mut list = Reader::new(whole(data, Reader::vec16)?);
    let mut host_name = None;
    while !list.is_empty() {
        let name_type = list.u8()?;
        let name = list.vec16()?;
        if name.is_empty() {
            return Err(InvalidMessage::IllegalLength);
        }
        // More than one name of a type is against the rules (RFC 6066 §3).
        if name_type == HOST_NAME && host_name.replace(name).is_some() {
            return Err(InvalidMessage::IllegalValue);
        }
    }
    host_name.ok_or(InvalidMessage::IllegalLength)
}

/// Less than 64 bytes is against the rules (RFC 8449 §4).
fn size_limit(data: &[u8]) -> Result<u16, InvalidMessage> {
    match whole(data, Reader::u16)? {
        0..64 => Err(InvalidMessage::IllegalValue),
        limit => Ok(limit),
    }
}

#[cfg(all(test, feature = "dtls13"))]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// A block with these extensions.
    fn block(extensions: &[(u16, &[u8])]) -> Vec<u8> {
        let mut buf = [0; 256];
        let mut w = Writer::new(&mut buf);
        w.nested16(|w| {
            extensions.iter().try_for_each(|(extension_type, data)| {
                w.u16(*extension_type)?;
                w.vec16(data)
            })
        })
        .unwrap();
        w.written().to_vec()
    }

    fn read(block: &[u8]) -> Result<Extensions<'_>, InvalidMessage> {
        let mut r = Reader::new(block);
        let extensions = Extensions::parse_list(&mut r)?;
        r.finish().map(|()| extensions)
    }

    /// One of each that DTLS 1.3 brought, with the least that may be in it.
    const EACH: [(u16, &[u8]); 5] = [
        (SUPPORTED_VERSIONS, &[2, 0xFE, 0xFC]),
        (COOKIE, &[0, 1, 7]),
        (PSK_KEY_EXCHANGE_MODES, &[1, 0]),
        (KEY_SHARE, &[0, 0]),
        (PRE_SHARED_KEY, &[0, 0]),
    ];

    #[test]
    fn written_and_read() {
        let bytes = block(&EACH);
        let extensions = read(&bytes).unwrap();
        let expected = Extensions {
            supported_versions: Some(&[2, 0xFE, 0xFC]),
            cookie: Some(&[7]),
            psk_key_exchange_modes: Some(&[0]),
            key_share: Some(&[0, 0]),
            pre_shared_key: Some(&[0, 0]),
            ..Extensions::default()
        };
        assert_eq!(extensions, expected);
        let mut buf = [0; 256];
        let mut w = Writer::new(&mut buf);
        extensions.emit(&mut w).unwrap();
        assert_eq!(w.written(), bytes);
    }

    /// A hello may end before its extensions, an EncryptedExtensions may not; and that has them even where there are none.
    #[test]
    fn none() {
        assert_eq!(Extensions::parse(&mut Reader::new(&[])), Ok(Extensions::default()));
        assert_eq!(read(&[]), Err(InvalidMessage::Truncated));
        assert_eq!(read(&[0, 0]), Ok(Extensions::default()));
        let mut buf = [0; 4];
        let mut w = Writer::new(&mut buf);
        Extensions::default().emit(&mut w).unwrap();
        assert_eq!(w.len(), 0);
        Extensions::default().emit_list(&mut w, |_| Ok(())).unwrap();
        assert_eq!(w.written(), [0, 0]);
    }

    /// RFC 8446 §4.2.11: it is the last one of a ClientHello. Whoever reads one finds out.
    #[test]
    fn pre_shared_key_is_last() {
        for (at, other) in EACH[..4].iter().enumerate() {
            let psk = EACH[4];
            assert!(!read(&block(&[*other, psk])).unwrap().pre_shared_key_is_not_last, "{at}");
            assert!(read(&block(&[psk, *other])).unwrap().pre_shared_key_is_not_last, "{at}");
        }
        assert!(!read(&block(&EACH[4..])).unwrap().pre_shared_key_is_not_last);
        // However it is made, it is written behind all others.
        let every = Extensions {
            server_name: Some(b"lamp"),
            record_size_limit: Some(64),
            connection_id: Some(b"id"),
            return_routability_check: true,
            extended_master_secret: true,
            supported_versions: Some(EACH[0].1),
            cookie: Some(b"cookie"),
            psk_key_exchange_modes: Some(&[1]),
            key_share: Some(EACH[3].1),
            pre_shared_key: Some(b"psk"),
            ..Extensions::default()
        };
        let mut buf = [0; 256];
        let mut w = Writer::new(&mut buf);
        every.emit(&mut w).unwrap();
        let written = w.written();
        assert!(written.ends_with(b"\0\x29\0\x03psk"));
        assert_eq!(read(written), Ok(every));
    }

    #[test]
    fn hostile() {
        for extension in EACH {
            assert_eq!(
                read(&block(&[extension, extension])),
                Err(InvalidMessage::DuplicateExtension),
                "{extension:?}"
            );
        }
        for (extension_type, data, error) in [
            (COOKIE, &[0, 0][..], InvalidMessage::IllegalLength),
            (COOKIE, &[0, 2, 1], InvalidMessage::Truncated),
            (COOKIE, &[0, 1, 1, 1], InvalidMessage::TrailingData),
            (COOKIE, &[], InvalidMessage::Truncated),
            (PSK_KEY_EXCHANGE_MODES, &[0], InvalidMessage::IllegalLength),
            (PSK_KEY_EXCHANGE_MODES, &[2, 1], InvalidMessage::Truncated),
            (PSK_KEY_EXCHANGE_MODES, &[1, 1, 0], InvalidMessage::TrailingData),
            (PSK_KEY_EXCHANGE_MODES, &[], InvalidMessage::Truncated),
        ] {
            assert_eq!(read(&block(&[(extension_type, data)])), Err(error), "{extension_type} {data:?}");
        }
        let bytes = block(&EACH);
        for len in 0..bytes.len() {
            assert_eq!(read(&bytes[..len]), Err(InvalidMessage::Truncated), "{len}");
        }
        assert_eq!(read(&[0, 0, 0]), Err(InvalidMessage::TrailingData));
        // The length of the block tells the truth, that of an extension does not.
        assert_eq!(read(&[0, 4, 0, 51, 0, 1]), Err(InvalidMessage::Truncated));
        assert_eq!(read(&[0, 3, 0, 51, 0]), Err(InvalidMessage::Truncated));
    }

    /// What was not offered is not accepted, with a hello of any version (RFC 8446 §4.2).
    #[test]
    fn answers_go_by_the_offer() {
        let nothing = Extensions::default();
        for extension in EACH {
            let bytes = block(&[extension]);
            let answer = read(&bytes).unwrap();
            assert!(!answer.are_offered_by(&nothing), "{extension:?}");
            assert!(answer.are_offered_by(&answer), "{extension:?}");
            assert!(nothing.are_offered_by(&answer), "{extension:?}");
        }
    }
}
