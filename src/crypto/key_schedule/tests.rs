//! The schedule against values that others published: those of TLS 1.3, which differs from that of DTLS 1.3 by the start of its labels
//! alone (RFC 9147 §5.9). With the labels of DTLS, wolfSSL's connections are read in `handshake/pending13/tests.rs`.

use super::*;
use crate::test_vectors::{hex, lines};

fn secret(text: &str) -> Secret {
    Secret::new(hex(text).try_into().unwrap())
}

/// RFC 8448 §3 and §4.
#[test]
fn of_tls13() {
    let mut tried = [0; 3];
    for words in lines(include_str!("../../../tests/vectors/tls13_schedule.txt")) {
        match words[..] {
            ["extract", salt, input, expected] => {
                let mut out = no_secret();
                extract(&hex(salt), &hex(input), &mut out);
                assert_eq!(out, secret(expected));
                if salt == "-" {
                    early_secret(&hex(input), &mut out);
                    assert_eq!(out, secret(expected));
                }
                tried[0] += 1;
            }
            ["expand", label, from, context, expected] => {
                let label = label.replace('_', " ");
                let mut out = std::vec![0; hex(expected).len()];
                expand_prefixed(b"tls13 ", &secret(from), label.as_bytes(), &hex(context), &mut out);
                assert_eq!(out, hex(expected), "{label}");
                // DTLS has other keys.
                expand_label(&secret(from), label.as_bytes(), &hex(context), &mut out);
                assert_ne!(out, hex(expected), "{label}");
                tried[1] += 1;
            }
            ["finished", base_key, transcript, expected] => {
                let mut finished_key = no_secret();
                expand_prefixed(b"tls13 ", &secret(base_key), b"finished", &[], finished_key.as_mut());
                assert_eq!(HmacKey::new(finished_key.as_ref()).mac([&*hex(transcript)])[..], hex(expected));
                tried[2] += 1;
            }
            _ => panic!("{words:?}"),
        }
    }
    assert_eq!(tried, [6, 44, 1]);
}

/// RFC 8446 §7.1 and RFC 9258 §5.2: each kind of key has binders of its own.
#[test]
fn binder_keys_differ() {
    let early = secret("33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a");
    let keys = [PskKind::External, PskKind::Imported, PskKind::Resumption].map(|kind| {
        let mut key = no_secret();
        binder_key(&early, kind, &mut key);
        key
    });
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
}

/// The longest and the shortest that can be exported.
#[test]
#[cfg(feature = "exporter")]
fn limits_of_exporters() {
    let master = [7; 32];
    assert_eq!(export(&master, b"", &[], &mut []), Ok(()));
    let mut out = [0; 8_160];
    assert_eq!(export(&master, &[b'x'; 249], &[0; 1_000], &mut out), Ok(()));
    assert!(out[8_100..].iter().any(|byte| *byte != 0));
    assert_eq!(export(&master, &[b'x'; 250], &[], &mut out), Err(Error::PayloadTooLong { max: 249 }));
    assert_eq!(export(&master, b"x", &[], &mut [0; 8_161]), Err(Error::PayloadTooLong { max: 8_160 }));
}
