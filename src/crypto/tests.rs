//! The primitives against vectors that others published.

use super::hmac::HmacKey;
#[cfg(feature = "dtls12")]
use super::prf::Prf;
use super::provider::{AeadError, CryptoProvider, RustCrypto};
use crate::AeadAlgorithm;
use crate::test_vectors::{hex, lines};

const ALGORITHMS: &[AeadAlgorithm] = &[
    AeadAlgorithm::Aes128Ccm8,
    AeadAlgorithm::Aes128Ccm,
    #[cfg(feature = "aes-gcm")]
    AeadAlgorithm::Aes128Gcm,
];

/// RFC 4231 §4.
#[test]
fn hmac_sha256() {
    let mut tried = 0;
    for words in lines(include_str!("../../tests/vectors/hmac_sha256.txt")) {
        let [case, key, data, mac] = words[..] else { panic!("{words:?}") };
        let (key, data, mac) = (HmacKey::new(&hex(key)), hex(data), hex(mac));
        assert_eq!(key.mac([data.as_slice()])[..], mac, "test case {case}");
        // The same in two parts, under the same prepared key.
        let (head, tail) = data.split_at(data.len() / 3);
        assert_eq!(key.mac([head, tail])[..], mac, "test case {case}");
        tried += 1;
    }
    assert_eq!(tried, 6);
}

/// The vector for `P_SHA256` that was posted to the IETF's TLS mailing list
/// (<https://mailarchive.ietf.org/arch/msg/tls/fzVCzk-z3FShgGJ6DOXqM1ydxms/>), and that OpenSSL 3.0 confirms:
/// `openssl kdf -keylen 100 -kdfopt digest:SHA256 -kdfopt hexsecret:… -kdfopt hexseed:… TLS1-PRF`.
#[test]
#[cfg(feature = "dtls12")]
fn prf_of_tls12() {
    let prf = Prf::new(&hex("9bbe436ba940f017b17652849a71db35"));
    let seed = hex("a0ba9f936cda311827a6f796ffd5198c");
    let expected = hex("e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a\
         6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17abfd3797c0564bab\
         4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff701\
         87347b66");
    // Whatever the length: the blocks of the output do not depend on how many are asked for.
    for len in 0..=expected.len() {
        let mut out = std::vec![0; len];
        let (head, tail) = seed.split_at(len % seed.len());
        prf.expand(b"test label", &[head, tail], &mut out);
        assert_eq!(out, expected[..len]);
    }
}

/// NIST's and Wycheproof's vectors, each of which names itself. Those that must open are sealed as well.
#[test]
fn aead() {
    let mut tried = [0; 3];
    for words in lines(include_str!("../../tests/vectors/aead.txt")) {
        let [name, algorithm, key, nonce, aad, plain, cipher, tag, valid] = words[..] else {
            panic!("{words:?}")
        };
        let algorithm = match algorithm {
            "CCM_8" => AeadAlgorithm::Aes128Ccm8,
            "CCM" => AeadAlgorithm::Aes128Ccm,
            #[cfg(feature = "aes-gcm")]
            "GCM" => AeadAlgorithm::Aes128Gcm,
            _ => continue,
        };
        tried[ALGORITHMS.iter().position(|known| *known == algorithm).unwrap()] += 1;
        let key = hex(key).try_into().unwrap();
        let nonce = hex(nonce).try_into().unwrap();
        let [aad, plain, cipher, tag] = [aad, plain, cipher, tag].map(hex);

        let mut data = cipher.clone();
        let opened = RustCrypto.open(algorithm, &key, &nonce, &aad, &mut data, &tag);
        if valid != "valid" {
            assert_eq!(opened, Err(AeadError), "{name}");
            assert!(data != plain || plain.is_empty(), "{name} leaves the plaintext");
            continue;
        }
        assert_eq!(opened, Ok(()), "{name}");
        assert_eq!(data, plain, "{name}");

        let mut sealed_tag = std::vec![0; algorithm.tag_len()];
        RustCrypto.seal(algorithm, &key, &nonce, &aad, &mut data, &mut sealed_tag).unwrap();
        assert_eq!((data, sealed_tag), (cipher.clone(), tag.clone()), "{name}");

        // Every bit of the tag counts, and so does its length.
        for bit in 0..8 * tag.len() {
            let mut forged = tag.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let opened = RustCrypto.open(algorithm, &key, &nonce, &aad, &mut cipher.clone(), &forged);
            assert_eq!(opened, Err(AeadError), "{name}, bit {bit}");
        }
        for len in [0, tag.len() - 1] {
            let opened = RustCrypto.open(algorithm, &key, &nonce, &aad, &mut cipher.clone(), &tag[..len]);
            assert_eq!(opened, Err(AeadError), "{name}, tag of {len} bytes");
        }
    }
    assert!(tried.iter().take(ALGORITHMS.len()).all(|tried| *tried >= 8), "{tried:?}");
}

/// FIPS 197, appendix C.1; and appendix B.
#[test]
#[cfg(feature = "dtls13")]
fn single_blocks() {
    for [key, plain, cipher] in [
        [
            "000102030405060708090a0b0c0d0e0f",
            "00112233445566778899aabbccddeeff",
            "69c4e0d86a7b0430d8cdb78070b4c55a",
        ],
        [
            "2b7e151628aed2a6abf7158809cf4f3c",
            "3243f6a8885a308d313198a2e0370734",
            "3925841d02dc09fbdc118597196a0b32",
        ],
    ] {
        let mut block = hex(plain).try_into().unwrap();
        RustCrypto.encrypt_block(&hex(key).try_into().unwrap(), &mut block).unwrap();
        assert_eq!(block[..], hex(cipher));
    }
}
