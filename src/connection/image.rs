//! Sessions saved over a deep sleep or a reboot.
//!
//! An image is `version ‖ role ‖ counter ‖ nonce ‖ sealed session ‖ tag`, with AES-128-CCM under a key that comes from the
//! caller's. The nonce is a MAC over everything else, so that a counter that is used twice by mistake shows no more than
//! whether both images are the same.

use zeroize::Zeroizing;

use super::session::{MAX_SESSION_LEN, Session};
use crate::AeadAlgorithm;
use crate::config::Config;
use crate::crypto;
use crate::crypto::hmac::HmacKey;
use crate::crypto::provider::{KEY_LEN, NONCE_LEN};
use crate::error::Error;
use crate::wire::{Reader, Writer};

/// Longest image of a saved session in bytes: a buffer of this length always does.
///
/// It depends on the features and caps of the build: the longest identity, the longest connection ID of a peer, and
/// `exporter` make most of it.
pub const MAX_IMAGE_LEN: usize = HEADER_LEN + FINGERPRINT_LEN + MAX_SESSION_LEN + TAG_LEN;

/// Goes up whenever an image changes its form.
const VERSION: u8 = 1;

const ALGORITHM: AeadAlgorithm = AeadAlgorithm::Aes128Ccm;
const TAG_LEN: usize = ALGORITHM.tag_len();
/// Version, role, counter and nonce.
const HEADER_LEN: usize = 2 + 8 + NONCE_LEN;
const FINGERPRINT_LEN: usize = 8;

/// What a saved session is sealed with, the caller's.
///
/// The key must be this device's alone. The counter is the device's as well, and only ever goes up: a hardware monotonic
/// counter, or a number in storage that nobody can put an old state of back into. Each image gets a new value, and is
/// restored with that value alone. So raise it before an image is restored, and old ones are worth nothing any more: this
/// is what keeps a record number from being used twice under one key, which would break the encryption.
///
/// ```
/// use dtls_psk::ImageSeal;
///
/// let seal = ImageSeal { key: &[0x5A; 16], counter: 7 };
/// assert_eq!(format!("{seal:?}"), "ImageSeal { counter: 7, .. }");
/// ```
#[derive(Clone, Copy)]
pub struct ImageSeal<'k> {
    /// The key, 16 random bytes.
    pub key: &'k [u8; KEY_LEN],
    /// The counter's value.
    pub counter: u64,
}

impl core::fmt::Debug for ImageSeal<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ImageSeal").field("counter", &self.counter).finish_non_exhaustive()
    }
}

/// Whose session it is.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    Client = 0,
    Server = 1,
}

/// The two keys that come from the caller's.
struct Keys {
    encryption: Zeroizing<[u8; KEY_LEN]>,
    mac: HmacKey,
}

impl ImageSeal<'_> {
    fn keys(&self) -> Keys {
        let caller = HmacKey::new(self.key);
        let [encryption, mac] =
            [b"dtls-psk image encryption".as_slice(), b"dtls-psk image mac"].map(|label| caller.mac([label]));
        let encryption = encryption.first_chunk().copied().unwrap_or_default();
        Keys { encryption: Zeroizing::new(encryption), mac: HmacKey::new(&mac) }
    }

    /// What tells, in an image, whether an identity still has the key that it had.
    fn fingerprint(&self, psk: &[u8]) -> [u8; FINGERPRINT_LEN] {
        let mac = self.keys().mac.mac([b"psk".as_slice(), psk]);
        mac.first_chunk().copied().unwrap_or_default()
    }

    fn header(&self, role: Role) -> [u8; 2 + 8] {
        let [a, b, c, d, e, f, g, h] = self.counter.to_be_bytes();
        [VERSION, role as u8, a, b, c, d, e, f, g, h]
    }

    /// Writes the image of a session whose identity has the key `psk`, and returns its length.
    pub(crate) fn seal(
        &self,
        config: &Config<'_>,
        role: Role,
        session: &Session,
        psk: &[u8],
        buf: &mut [u8],
    ) -> Result<usize, Error> {
        let too_small = Error::BufferTooSmall { needed: MAX_IMAGE_LEN };
        let keys = self.keys();
        let header = self.header(role);
        let (head, rest) = buf.split_at_mut_checked(HEADER_LEN).ok_or(too_small)?;
        let room = rest.len().checked_sub(TAG_LEN).ok_or(too_small)?;
        let (body, _) = rest.split_at_mut_checked(room).ok_or(too_small)?;
        let mut w = Writer::new(body);
        w.bytes(&self.fingerprint(psk)).and_then(|()| session.save(&mut w)).map_err(|_| too_small)?;
        let len = w.len();
        let (body, rest) = rest.split_at_mut_checked(len).ok_or(too_small)?;
        let tag = rest.get_mut(..TAG_LEN).ok_or(too_small)?;

        let mac = keys.mac.mac([header.as_slice(), body]);
        let nonce = mac.first_chunk::<NONCE_LEN>().copied().unwrap_or_default();
        let sealed = config.crypto().seal(ALGORITHM, &keys.encryption, &nonce, &header, body, tag);
        if sealed.is_err() {
            // It may lie there in the clear still.
            body.fill(0);
            return Err(Error::CryptoFailed);
        }
        let mut w = Writer::new(head);
        w.bytes(&header).and_then(|()| w.bytes(&nonce)).map_err(|_| too_small)?;
        Ok(HEADER_LEN + len + TAG_LEN)
    }

    /// Makes a session of an image. `psk` lends the key of its identity, if there is one.
    pub(crate) fn open(
        &self,
        config: &Config<'_>,
        role: Role,
        image: &[u8],
        psk: impl FnOnce(&Session, &mut dyn FnMut(&[u8])),
    ) -> Result<Session, Error> {
        let header = self.header(role);
        let mut r = Reader::new(image);
        let invalid = |_| Error::InvalidImage;
        if r.array().map_err(invalid)? != header {
            return Err(Error::InvalidImage);
        }
        let nonce = r.array().map_err(invalid)?;
        let sealed = image.get(HEADER_LEN..).and_then(|sealed| sealed.split_last_chunk::<TAG_LEN>());
        let (sealed, tag) = sealed.ok_or(Error::InvalidImage)?;

        let keys = self.keys();
        let mut body = Zeroizing::new([0; FINGERPRINT_LEN + MAX_SESSION_LEN]);
        let body = body.get_mut(..sealed.len()).ok_or(Error::InvalidImage)?;
        body.copy_from_slice(sealed);
        let opened = config.crypto().open(ALGORITHM, &keys.encryption, &nonce, &header, body, tag);
        opened.map_err(|_| Error::InvalidImage)?;

        let mut r = Reader::new(body);
        let fingerprint: [u8; FINGERPRINT_LEN] = r.array().map_err(invalid)?;
        let session = Session::load(&mut r).map_err(invalid)?;
        r.finish().map_err(invalid)?;
        let mut is_same = false;
        psk(&session, &mut |key| {
            is_same = crypto::equal(&self.fingerprint(key), &fingerprint);
        });
        if is_same { Ok(session) } else { Err(Error::IdentityRevoked) }
    }
}
