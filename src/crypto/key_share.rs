//! The ephemeral keys of ECDHE_PSK suites, on Curve25519 (RFC 7748, RFC 8422 §5.10), behind the feature `x25519`: without it,
//! nothing is drawn or kept.

use rand_core::TryCryptoRng;
use zeroize::Zeroize;

use crate::error::{Error, PeerMisbehaved};

/// Length in bytes of a public key, of a secret one, and of what both sides compute.
pub const POINT_LEN: usize = if cfg!(feature = "x25519") { 32 } else { 0 };

/// A public key.
pub type Point = [u8; POINT_LEN];

/// A secret key, or what both sides compute.
#[cfg(feature = "x25519")]
pub type Secret = zeroize::Zeroizing<[u8; POINT_LEN]>;

/// Nothing, with nothing to do when it is dropped.
#[cfg(not(feature = "x25519"))]
pub type Secret = [u8; POINT_LEN];

/// One side's key of one handshake. The secret is wiped once it has been used, or is not needed after all; the public key may
/// have to be sent again.
pub struct KeyShare {
    secret: Secret,
    public: Point,
}

impl KeyShare {
    /// Draws the secret key, if it is `wanted`. The public one is computed when it is [needed](Self::begin).
    pub fn draw<R: TryCryptoRng + ?Sized>(wanted: bool, rng: &mut R) -> Result<Self, Error> {
        let mut secret = Secret::from([0; POINT_LEN]);
        if wanted {
            rng.try_fill_bytes(secret.as_mut()).map_err(|_| Error::RandomFailed)?;
        }
        Ok(Self { secret, public: [0; POINT_LEN] })
    }

    /// Computes the public key, which is sent from here on.
    pub fn begin(&mut self) {
        self.public = multiply(&self.secret, &BASE_POINT);
    }

    /// The public key.
    pub const fn public(&self) -> &Point {
        &self.public
    }

    /// What both sides compute, from the peer's public key. Wipes the secret key.
    ///
    /// # Errors
    /// A public key of small order, with which anyone could compute it (RFC 8422 §5.11).
    pub fn agree(&mut self, peer: &Point) -> Result<Secret, Error> {
        let shared = Secret::from(multiply(&self.secret, peer));
        self.wipe();
        if crate::crypto::equal(shared.as_ref(), &[0; POINT_LEN]) {
            return Err(PeerMisbehaved::WeakKeyShare.into());
        }
        Ok(shared)
    }

    /// Wipes the secret key, where none is needed.
    pub fn wipe(&mut self) {
        if cfg!(feature = "x25519") {
            self.secret.zeroize();
        }
    }
}

#[cfg(feature = "x25519")]
use x25519_dalek::{X25519_BASEPOINT_BYTES as BASE_POINT, x25519};

#[cfg(feature = "x25519")]
fn multiply(secret: &[u8; POINT_LEN], point: &Point) -> Point {
    x25519(*secret, *point)
}

#[cfg(not(feature = "x25519"))]
const BASE_POINT: Point = [];

#[cfg(not(feature = "x25519"))]
const fn multiply(_: &[u8; POINT_LEN], _: &Point) -> Point {
    []
}

#[cfg(all(test, feature = "x25519"))]
pub(crate) mod tests {
    use super::*;
    use crate::test_vectors::hex;

    pub(crate) fn key(text: &str) -> [u8; 32] {
        hex(text).try_into().unwrap()
    }

    /// The secret keys of RFC 7748 §6.1, with their public ones.
    pub(crate) fn alice_and_bob() -> [KeyShare; 2] {
        [
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        ]
        .map(|secret| {
            let mut share = KeyShare { secret: Secret::from(key(secret)), public: [0; 32] };
            share.begin();
            share
        })
    }

    /// RFC 7748 §5.2; the second point has a bit set that does not count.
    #[test]
    fn multiplication() {
        for [secret, point, product] in [
            [
                "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
                "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
                "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
            ],
            [
                "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
                "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
                "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
            ],
        ] {
            assert_eq!(multiply(&key(secret), &key(point)), key(product));
        }
        let (mut secret, mut point) = (BASE_POINT, BASE_POINT);
        for round in 1..=1_000 {
            (secret, point) = (multiply(&secret, &point), secret);
            if round == 1 {
                assert_eq!(secret, key("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"));
            }
        }
        assert_eq!(secret, key("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"));
    }

    /// RFC 7748 §6.1.
    #[test]
    fn diffie_hellman() {
        let [mut alice, mut bob] = alice_and_bob();
        assert_eq!(*alice.public(), key("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
        assert_eq!(*bob.public(), key("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
        let shared = key("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        assert_eq!(*alice.agree(bob.public()).unwrap(), shared);
        assert_eq!(*bob.agree(alice.public()).unwrap(), shared);
        assert_eq!(*alice.secret, [0; 32], "wiped");
    }

    /// Points of small order (RFC 7748 §6.1: all-zero output has to be refused), in every form that they can be written in.
    #[test]
    fn small_order() {
        let mut one = [0; 32];
        one[0] = 1;
        for point in [
            [0; 32],
            one,
            key("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
            key("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
            key("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
            key("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
            key("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        ] {
            for top_bit in [0, 0x80] {
                let mut point = point;
                point[31] |= top_bit;
                let mut share = KeyShare { secret: Secret::from([0x42; 32]), public: [0; 32] };
                assert_eq!(share.agree(&point).err(), Some(PeerMisbehaved::WeakKeyShare.into()), "{point:?}");
                assert_eq!(*share.secret, [0; 32], "wiped");
            }
        }
    }
}
