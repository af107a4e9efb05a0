//! The known attacks, row by row: what broke other stacks, and which tests try it on this one. Each row is also a seed of
//! the fuzzers, `fuzz/corpus/*/attack-NN-*`.
//!
//! Whatever is tried is dropped, or answered with the RFC's alert. Nothing panics, no session is harmed, no slot leaks, and
//! a good peer gets through afterwards.

use std::path::Path;

/// The row's number, where it was seen and what it is, and its tests.
type Row = (u32, &'static str, &'static [&'static str]);

const ROWS: [Row; 32] = [
    (
        1,
        "tinydtls CVE-2017-7243: a bare ChangeCipherSpec without any state",
        &["attacks::row_01_bare_change_cipher_spec"],
    ),
    (
        2,
        "tinydtls CVE-2021-42141: plaintext handshake messages in records of epoch 1",
        &[
            "attacks13_server::row_02_hello_in_an_encrypted_epoch",
            "attacks::row_02_plaintext_in_epoch_1",
            "attacks_connection_id::records_for_a_handshake",
        ],
    ),
    (
        3,
        "tinydtls CVE-2021-42142: an early record with a huge epoch",
        &["attacks::row_03_huge_epochs_and_numbers", "attacks_connection_id::forged_records_for_a_session"],
    ),
    (
        4,
        "tinydtls CVE-2021-42143: cipher_suites of an odd length",
        &["attacks_messages::row_04_cipher_suite_lengths"],
    ),
    (
        5,
        "tinydtls CVE-2021-42144: an AEAD record shorter than nonce and tag",
        &[
            "attacks13_server::row_05_15_and_16_forged_records",
            "attacks13_client::row_05_15_and_16_forged_records",
            "attacks::row_05_and_16_short_and_forged_records",
            "attacks_connection_id::forged_records_for_a_session",
        ],
    ),
    (
        6,
        "tinydtls CVE-2021-42145: an assertion reachable from the network",
        &[
            "attacks13_server::row_06_08_and_31_in_the_place_of_the_finished",
            "attacks13_client::row_06_and_31_every_message_type_in_every_state",
            "attacks_messages::row_06_every_message_type_in_every_state",
            "attacks_random::datagrams_to_a_server_in_each_state",
            "attacks_random::datagrams_to_a_client_in_each_state",
            "attacks_random::authentic_nonsense",
        ],
    ),
    (
        7,
        "tinydtls CVE-2021-42147: a fragment_length larger than the record",
        &["attacks13_server::fragmented_hellos", "attacks_messages::row_07_fragment_lengths_that_lie"],
    ),
    (
        8,
        "tinydtls CVE-2026-9267: bodies shorter than their fixed part",
        &[
            "attacks13_server::pre_shared_key_extensions_that_are_wrong",
            "attacks13_server::hellos_that_cannot_be_read",
            "attacks13_client::row_08_server_hellos_of_every_length",
            "attacks13_client::row_08_wrong_finished",
            "attacks_messages::row_08_bodies_of_every_wrong_length",
        ],
    ),
    (
        9,
        "tinydtls #72, #248: a wrong message_seq accepted",
        &[
            "attacks13_server::row_09_wrong_message_numbers",
            "attacks_messages::row_09_wrong_message_numbers",
            "attacks_messages::a_recorded_hello_under_another_number",
        ],
    ),
    (
        10,
        "tinydtls #79: Finished before ChangeCipherSpec",
        &[
            "attacks13_server::row_10_and_20_in_the_clear_and_early",
            "attacks13_client::row_10_and_20_in_the_clear_and_early",
            "attacks::row_10_finished_before_change_cipher_spec",
            "attacks_resumption::finished_before_change_cipher_spec",
        ],
    ),
    (
        11,
        "OpenSSL CVE-2009-1377: a flood of records of a future epoch",
        &["attacks::row_11_flood_of_future_epochs", "attacks_connection_id::records_for_a_handshake"],
    ),
    (
        12,
        "OpenSSL CVE-2014-0195: a second fragment of a longer message",
        &[
            "attacks13_client::row_12_and_24_fragments_after_the_handshake",
            "attacks_messages::row_12_and_13_growing_messages",
            "attacks_resumption::fragments_of_tickets",
        ],
    ),
    (
        13,
        "OpenSSL CVE-2016-6308: a message of 16 MB in a header of 12 bytes",
        &["attacks_messages::row_12_and_13_growing_messages", "attacks_resumption::fragments_of_tickets"],
    ),
    (
        14,
        "OpenSSL CVE-2013-6450: a retransmission under the wrong epoch",
        &["attacks::row_14_retransmission_under_the_wrong_epoch"],
    ),
    (
        15,
        "OpenSSL CVE-2016-2181: the replay window moved before authentication",
        &[
            "attacks13_server::row_05_15_and_16_forged_records",
            "attacks13_client::row_05_15_and_16_forged_records",
            "attacks::row_15_the_replay_window_moves_after_authentication",
            "attacks_connection_id::forged_records_for_a_session",
        ],
    ),
    (
        16,
        "OpenSSL CVE-2026-75806: one short forged record ends a session",
        &[
            "attacks13_server::row_05_15_and_16_forged_records",
            "attacks13_client::row_05_15_and_16_forged_records",
            "attacks::row_05_and_16_short_and_forged_records",
            "attacks_connection_id::forged_records_for_a_session",
        ],
    ),
    (
        17,
        "GnuTLS CVE-2026-33846: fragments matched by type only, lengths that disagree",
        &["attacks_messages::row_17_fragments_that_disagree"],
    ),
    (
        18,
        "GnuTLS CVE-2026-1584: a wrong binder; a second ClientHello without a PSK",
        &[
            "attacks13_server::row_18_and_22_wrong_binders",
            "attacks13_server::row_18_second_hello_without_a_key",
            "attacks13_server::binders_of_several_keys",
        ],
    ),
    (19, "GnuTLS SA-2020-03-31: a client random of zeros", &["attacks::row_19_zero_randoms"]),
    (
        20,
        "wolfSSL CVE-2020-24585, pion CVE-2019-20786: application data in epoch 0 delivered",
        &[
            "attacks13_server::row_10_and_20_in_the_clear_and_early",
            "attacks13_client::row_10_and_20_in_the_clear_and_early",
            "attacks::row_20_application_data_in_the_clear",
            "attacks_connection_id::sealed_records_without_a_place",
            "attacks_resumption::finished_before_change_cipher_spec",
        ],
    ),
    (
        21,
        "wolfSSL CVE-2022-34293: the cookie check skipped",
        &["attacks13_server::row_21_cookies", "attacks::row_21_no_way_round_the_cookie"],
    ),
    (
        22,
        "wolfSSL CVE-2025-11932: a binder compared in variable time",
        &["attacks13_server::row_18_and_22_wrong_binders"],
    ),
    (
        23,
        "pion CVE-2026-26014: a random explicit nonce, used again",
        &["attacks::row_23_nonces_never_repeat", "attacker_on_path::replays_and_reflections"],
    ),
    (
        24,
        "pion CVE-2022-29189, CVE-2022-29190: unbounded buffers; fragments of length zero in a loop",
        &[
            "attacks13_client::row_12_and_24_fragments_after_the_handshake",
            "attacks13_server::key_update_storms",
            "attacks13_client::post_handshake_storms",
            "attacks_messages::row_24_floods_of_fragments",
            "attacks_resumption::fragments_of_tickets",
        ],
    ),
    (
        25,
        "Mbed TLS 2.14, 2.4: bounds of hint and HelloVerifyRequest",
        &["attacks_messages::row_25_bounds_of_hint_and_cookie"],
    ),
    (
        26,
        "Scandium CVE-2022-39368: failed handshakes leak their counters and slots",
        &[
            "attacks13_server::row_26_failed_handshakes_leave_nothing",
            "attacks::row_26_failed_handshakes_leak_nothing",
            "attacks_connection_id::failed_handshakes_leak_no_ids",
            "attacks_resumption::failed_resumptions_leak_nothing",
        ],
    ),
    (
        27,
        "dimpl #149: a forged fragment of another message_seq freezes the reassembly",
        &[
            "attacks_messages::row_27_forged_fragments_do_not_freeze",
            "attacks_resumption::fragments_of_tickets",
        ],
    ),
    (
        28,
        "dimpl #36: coalesced messages; the version of a HelloVerifyRequest",
        &["attacks_messages::row_28_coalesced_messages_and_versions"],
    ),
    (
        29,
        "webrtc-rs #614: one stuck handshake blocks every later client",
        &[
            "attacks::row_29_a_stuck_handshake_blocks_nobody",
            "attacks_resumption::failed_resumptions_leak_nothing",
            "flood::half_open_handshakes",
        ],
    ),
    (
        30,
        "OpenThread #13078: session memory taken before the cookie came back",
        &[
            "attacks::row_30_no_memory_before_the_proof",
            "attacks_resumption::nothing_is_kept_before_the_proof",
            "flood::spoofed_sources",
        ],
    ),
    (
        31,
        "state machine studies: messages early, repeated, missing and out of place",
        &[
            "attacks13_server::second_hello_that_changed",
            "attacks13_client::hello_retry_requests",
            "state_machine::a_server_in_every_order",
            "state_machine::a_client_in_every_order",
            "state_machine::a_server_in_random_orders",
            "state_machine::a_client_in_random_orders",
            "state_machine::a_server_of_dtls13_in_every_order",
            "state_machine::a_client_of_dtls13_in_every_order",
            "state_machine::a_server_of_dtls13_in_random_orders",
            "state_machine::a_client_of_dtls13_in_random_orders",
            "state_machine::resumption_in_every_order",
            "state_machine::connection_ids_in_every_order",
        ],
    ),
    (
        32,
        "RFC 9257 §4.1: a peer reflected onto itself",
        &[
            "attacks13_server::row_32_reflection",
            "attacks13_client::row_32_reflection",
            "attacks::row_32_selfie",
            "attacks::row_32_reflections",
            "attacks_connection_id::reflected_records",
        ],
    ),
];

/// Every row has its tests and its seed.
#[test]
fn every_row_is_tried() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let targets =
        ["server", "client", "record", "handshake"].map(|target| root.join("fuzz/corpus").join(target));
    let seeds: Vec<String> = targets
        .iter()
        // The packaged crate comes without them.
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    for ((number, what, tests), expected) in ROWS.into_iter().zip(1..) {
        assert_eq!(number, expected, "{what}");
        for test in tests {
            let (file, function) = test.split_once("::").unwrap();
            let file = root.join("tests").join(file);
            let source = std::fs::read_to_string(file.with_extension("rs"))
                .or_else(|_| std::fs::read_to_string(file.join("main.rs")))
                .unwrap();
            assert!(source.contains(&format!("#[test]\nfn {function}() {{")), "row {number}: no test {test}");
        }
        assert!(!tests.is_empty(), "row {number}: {what}");
        let seed = format!("attack-{number:02}-");
        let has_seed = seeds.iter().any(|name| name.starts_with(&seed));
        assert!(has_seed || seeds.is_empty(), "row {number}: no seed");
    }
}
